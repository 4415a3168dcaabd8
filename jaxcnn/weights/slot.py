"""What foreign weights call the layers of a network and how their arrays lie, read from the tuple of layers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, Layer, Row, Shape
from jaxcnn.runtime.errors import InputError
from jaxcnn.weights.variance import epsilon_of

Kind = Literal["convolution", "batch norm", "dense layer"]

_KINDS: dict[type[Layer], Kind] = {Conv: "convolution", BatchNorm: "batch norm", Dense: "dense layer"}
_KERNEL = {"weight": ("params", "kernel"), "bias": ("params", "bias")}
_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


@dataclass(frozen=True)
class Slot:
    """One array of ours and its place in PyTorch's sequence of modules.

    Attributes:
        path: ours, `params/conv1_1/kernel`.
        shape: ours.
        kind: of the layer.
        module: torchvision's name of the layer, `features.0`.
        role: torchvision's name of the array in it, `weight`.
        maps: (height, width, channels) that a first dense layer sees flattened; None for all other arrays.
        epsilon: what is added to a running variance here; None for all other arrays.
    """

    path: str
    shape: Shape
    kind: Kind
    module: str
    role: str
    maps: Shape | None = None
    epsilon: float | None = None

    @property
    def torch_shape(self) -> Shape:
        """The shape in PyTorch: [out, in, height, width] or [out, in]."""
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(self.shape), range(len(self.shape)))
        return tuple(self.shape[axis] for axis in order)

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        """PyTorch's array as ours: kernels [height, width, in, out] or [in, out], flattened maps height first."""
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if array.ndim == 2 and self.maps:
            height, width, channels = self.maps
            by_channel = array.T.reshape(channels, height, width, -1)
            return by_channel.transpose(1, 2, 0, 3).reshape(self.shape)
        return array.T

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `from_torch`."""
        if array.ndim == 4:
            return array.transpose(3, 2, 0, 1)
        if array.ndim == 2 and self.maps:
            return array.reshape(*self.maps, -1).transpose(3, 2, 0, 1).reshape(self.torch_shape)
        return array.T


def slots(rows: tuple[Row, ...]) -> tuple[Slot, ...]:
    """The arrays of a traced network, layer by layer.

    torchvision numbers all that lies before the dense layers as `features` and what follows the flattening as
    `classifier`, parameter-free layers too; so do we.

    Raises:
        InputError: a layer has parameters for which torchvision's networks have no place.
    """
    found: list[Slot] = []
    part, number, maps = "features", 0, None
    for row in rows:
        layer = row.layer
        if isinstance(layer, Flatten):
            part, number, maps = "classifier", 0, row.given
            continue
        kind = _KINDS.get(type(layer))
        if row.facts.parameters and (kind is None or getattr(layer, "connections", None)):
            raise InputError(
                f"{layer.name} ({type(layer).__name__}) has no place among torchvision's or Keras' weights, which know "
                "convolutions, batch norms and dense layers; use the layout jaxcnn."
            )
        if kind is not None:
            for role, (collection, leaf) in (_NORM if kind == "batch norm" else _KERNEL).items():
                shape = _kernel_shape(row) if leaf == "kernel" else row.facts.shape[-1:]
                path = f"{collection}/{layer.name}/{leaf}"
                seen = maps if leaf == "kernel" else None
                epsilon = epsilon_of(layer) if leaf == "var" else None
                found.append(Slot(path, shape, kind, f"{part}.{number}", role, seen, epsilon))
            if kind == "dense layer":
                maps = None
        number += 1
    return tuple(found)


def _kernel_shape(row: Row) -> Shape:
    layer = row.layer
    if isinstance(layer, Conv):
        return (layer.kernel, layer.kernel, row.given[2] // layer.groups, layer.features)
    return (*row.given, *row.facts.shape)
