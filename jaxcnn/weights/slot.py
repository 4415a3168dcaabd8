"""What foreign weights call the layers of a network and how their arrays lie, read from the tuple of layers."""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxcnn.layers import Layer, Role, Shape, TracedLayer
from jaxcnn.models import Chain
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class Slot:
    """One array of ours and its place in PyTorch's sequence of modules.

    Attributes:
        path: ours, `params/conv1_1/kernel`.
        shape: ours.
        role: of the layer.
        module: torchvision's name of the layer, `features.0`; of one inside another, `features.0.conv1`.
        array: torchvision's name of the array in it, `weight`.
        maps: (height, width, channels) that a first dense layer sees flattened; None for all other arrays.
        epsilon: what is added to a running variance here; None for all other arrays.
    """

    path: str
    shape: Shape
    role: Role
    module: str
    array: str
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


def slots(rows: tuple[TracedLayer, ...]) -> tuple[Slot, ...]:
    """The arrays of a traced network, layer by layer.

    torchvision numbers all that lies before the dense layers as `features` and what follows the flattening as
    `classifier`, parameter-free layers too; so do we.

    Raises:
        InputError: a layer has parameters for which torchvision's networks have no place.
    """
    found: list[Slot] = []
    part, number, maps = "features", 0, None
    for row in rows:
        layer, inside = row.layer, row.path.split("/")[1:]
        if layer.role == "flatten":
            part, number, maps = "classifier", 0, row.input_shape
            continue
        arrays = layer.torch_arrays()
        if row.info.parameters and arrays is None:
            raise InputError(
                f"{row.path} ({type(layer).__name__}) has no place among torchvision's or Keras' weights, which know "
                "convolutions, batch norms and dense layers; use the layout jaxcnn."
            )
        shapes = _shapes(dataclasses.replace(layer, name="layer"), row.input_shape) if arrays else {}
        for array, ours in (arrays or {}).items():
            collection, _, leaf = ours.partition("/")
            shape = shapes[f"{collection}/layer/{leaf}"]
            found.append(
                Slot(
                    path=f"{collection}/{row.path}/{leaf}",
                    shape=shape,
                    role=layer.role,
                    module=".".join((part, str(number), *inside)),
                    array=array,
                    maps=maps if len(shape) == 2 else None,
                    epsilon=getattr(layer, "epsilon", None) if leaf == "var" else None,
                )
            )
        if layer.role == "dense":
            maps = None
        if not inside:
            number += 1
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def _shapes(layer: Layer, input_shape: Shape) -> dict[str, Shape]:
    """Shapes of a layer's arrays by path."""
    images = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    init = functools.partial(Chain((layer,)).init, train=False)
    return {
        path: leaf.shape
        for path, leaf in flatten_dict(jax.eval_shape(init, jax.random.key(0), images), sep="/").items()
    }
