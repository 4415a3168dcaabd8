"""One step of a network, ready to be timed: what is asked for, and what every library gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxcnn.bench.cases import Mode
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet

Library = Literal["jaxcnn", "flax", "torch"]

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
"""Of the update rule, PyTorch's SGD in all libraries; the rate is low because the labels are random."""


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
