"""The names that a network's `kernel_init` field takes."""

from typing import Annotated, Literal

from jaxcnn.layers import InitName
from jaxcnn.runtime.fields import Synonyms

_LAYERS: dict[str, InitName] = {
    "glorot": "glorot_uniform",
    "he": "he_normal",
    "lecun": "lecun_normal",
    "orthogonal": "orthogonal",
}
_ELSEWHERE = {"glorot": ("xavier", "glorot"), "he": ("kaiming", "he"), "lecun": ("lecun",)}

KernelInit = Annotated[
    Literal["gaussian", "glorot", "he", "lecun", "orthogonal"],
    Synonyms(
        (
            ("normal", "gaussian"),
            *((who, ours) for ours, names in _ELSEWHERE.items() for who in names if who != ours),
            *(
                (f"{who}_{k}", ours)
                for ours, names in _ELSEWHERE.items()
                for who in names
                for k in ("normal", "uniform")
            ),
        )
    ),
]
"""gaussian, a normal distribution with a standard deviation that the network sets; or one that depends on the layer's
inputs and outputs: glorot (Glorot & Bengio 2010, uniform), he (He et al. 2015, normal), lecun (LeCun et al. 1998,
normal) or orthogonal (Saxe et al. 2014)."""


def initial(init: KernelInit, std: float) -> InitName | float:
    """Return the kernel initializer of layers that a `kernel_init` field names; `std` is the standard deviation of
    gaussian."""
    return std if init == "gaussian" else _LAYERS[init]
