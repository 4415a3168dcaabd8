"""Names and axis order of a network's arrays in foreign weights, read from the tuple of layers."""

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
    """An array of a network and its place in PyTorch's sequence of modules.

    Attributes:
        path: path in the network, `params/conv1_1/kernel`.
        shape: shape in the network.
        role: role of the layer.
        module: torchvision's name of the layer, `features.0`; `features.0.conv1` for a layer inside another.
        array: torchvision's name of the array in the layer, `weight`.
        maps: (height, width, channels) of the flattened input of the first dense layer; None for all other arrays.
        epsilon: epsilon that the network adds to a running variance; None for all other arrays.
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
        """Return the shape in PyTorch: [out, in, height, width] or [out, in]."""
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(self.shape), range(len(self.shape)))
        return tuple(self.shape[axis] for axis in order)

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        """Convert PyTorch's array to ours: [height, width, in, out] or [in, out], with flattened maps height first."""
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if array.ndim == 2 and self.maps:
            height, width, channels = self.maps
            by_channel = array.T.reshape(channels, height, width, -1)
            return by_channel.transpose(1, 2, 0, 3).reshape(self.shape)
        return array.T

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Convert the network's array to PyTorch's, the inverse of `from_torch`."""
        if array.ndim == 4:
            return array.transpose(3, 2, 0, 1)
        if array.ndim == 2 and self.maps:
            return array.reshape(*self.maps, -1).transpose(3, 2, 0, 1).reshape(self.torch_shape)
        return array.T


def slots(rows: tuple[TracedLayer, ...]) -> tuple[Slot, ...]:
    """Return the slots of a traced network, layer by layer.

    As in torchvision, layers before the flattening are numbered as `features` and those after it as `classifier`,
    including parameter-free layers.

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
                f"{row.path} ({type(layer).__name__}) has no place among torchvision's or Keras' weights, which hold "
                "only convolutions, batch norms and dense layers; use the jaxcnn layout."
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
    """Return the shapes of a layer's arrays by path."""
    images = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    init = functools.partial(Chain((layer,)).init, train=False)
    return {
        path: leaf.shape
        for path, leaf in flatten_dict(jax.eval_shape(init, jax.random.key(0), images), sep="/").items()
    }
