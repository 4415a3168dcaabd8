"""One step of a network, ready to be timed: what is asked for, and what every library gives."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxcnn.bench.cases import Mode
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet
from jaxcnn.xla_flags import set_xla_flags

Library = Literal["jaxcnn", "flax", "torch"]

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
"""Of the update rule, PyTorch's SGD in all libraries; the rate is low because the labels are random."""

# Side of the square matrices whose product shows what a machine can do; a GPU needs larger ones to be busy.
_SIDE, _GPU_SIDE, _PEAK_SECONDS = 2048, 8192, 0.5


@dataclass(frozen=True)
class Job:
    """What a program is to do.

    Attributes:
        library: whose layers run.
        model: our network, in its dtype.
        shape: (height, width, channels) of an image.
        batch_size: images a step.
        mode: a training step, or a forward pass as evaluation takes it.
        threads: of a CPU.
        platform: where PyTorch runs, as JAX names it; JAX runs on its default.
    """

    library: Library
    model: ConvNet
    shape: Shape
    batch_size: int
    mode: Mode
    threads: int
    platform: str = "cpu"


class Program(Protocol):
    """A step on random images that stay on the device, the same ones every time.

    Attributes:
        facts: `platform`, `device`, `versions`, and of the compiled step `compile_seconds` and `temporary_bytes`, None
            where the library does not compile.
    """

    facts: dict[str, Any]

    def step(self) -> None:
        """Run one; return when it is done."""

    def product(self, side: int) -> Callable[[], None]:
        """What runs a product of two matrices of that side in the dtype of the network, and returns when it is done."""

    def device_bytes(self) -> int | None:
        """Most memory that was in use on the device since the start; None on a CPU."""


def make_program(job: Job) -> Program:
    """The program of a job.

    Raises:
        InputError: the library lacks a layer of the network, or the images do not fit it.
    """
    if job.library == "torch":
        from jaxcnn.bench.torch_program import TorchProgram

        return TorchProgram(job)
    from jaxcnn.bench.jax_program import JaxProgram

    if job.library == "jaxcnn":  # Plain flax has what XLA chooses, as its users do.
        set_xla_flags()
    return JaxProgram(job)


def peak_gflops(program: Program) -> float:
    """Billions of operations a second in the fastest of some square matrix products, 2 for each multiply-add."""
    side = _SIDE if program.facts["platform"] == "cpu" else _GPU_SIDE
    product, times = program.product(side), []
    product()
    while not times or sum(times) < _PEAK_SECONDS:
        begun = time.perf_counter()
        product()
        times.append(time.perf_counter() - begun)
    return 2e-9 * side**3 / min(times)
