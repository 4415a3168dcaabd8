"""The job of timing a step of a network, and the interface of the programs that do it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxcnn.bench.cases import Mode
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet

Library = Literal["jaxcnn", "flax", "torch"]

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
"""Settings of the update rule, PyTorch's SGD in all libraries; the rate is low because the labels are random."""


@dataclass(frozen=True)
class Job:
    """The specification of a program.

    Attributes:
        library: library whose layers run.
        model: our network, in its dtype.
        shape: (height, width, channels) of an image.
        batch_size: images per step.
        mode: a training step, or a forward pass as in evaluation.
        threads: number of CPU threads.
        platform: JAX's name of the platform on which PyTorch runs; JAX runs on its default.
    """

    library: Library
    model: ConvNet
    shape: Shape
    batch_size: int
    mode: Mode
    threads: int
    platform: str = "cpu"


class Program(Protocol):
    """A step on random images, which stay on the device and are the same in every step.

    Attributes:
        facts: `platform`, `device`, `versions`, and `compile_seconds` and `temporary_bytes` of the compiled step, which
            are None if the library does not compile.
    """

    facts: dict[str, Any]

    def step(self) -> None:
        """Run one step, and return when it is done."""

    def product(self, side: int) -> Callable[[], None]:
        """Return a function that runs a product of two matrices of that side in the network's dtype to its end."""

    def device_bytes(self) -> int | None:
        """Return the peak memory in use on the device since the start; None on a CPU."""
