"""The network of a tuple of layer records as plain flax.linen writes it, with none of our own operations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn import layers as records
from jaxcnn.layers import Layer
from jaxcnn.runtime.errors import InputError


class FlaxPeer(nn.Module):
    """Linen layers under the names of the records; parameters lie as in our own network.

    Attributes:
        records: the layers, in order.
        dtype: of activations and products.
    """

    records: tuple[Layer, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Logits, float32, of images [n, height, width, channels].

        Raises:
            InputError: a layer that linen has not.
        """
        x = x.astype(self.dtype)
        for layer in self.records:
            x = _apply(layer, x, train)
        return x.astype(jnp.float32)


def _apply(layer: Layer, x: jax.Array, train: bool) -> jax.Array:
    own: dict[str, Any] = {"name": layer.name, "dtype": x.dtype}
    match layer:
        case records.Conv(connections=None):
            window = (layer.kernel, layer.kernel)
            return nn.Conv(
                layer.features, window, layer.stride, layer.padding, feature_group_count=layer.groups, **own
            )(x)
        case records.Dense():
            return nn.Dense(layer.features, **own)(x)
        case records.MaxPool() | records.AveragePool():
            pool = nn.max_pool if isinstance(layer, records.MaxPool) else nn.avg_pool
            return pool(x, (layer.size,) * 2, (layer.stride or layer.size,) * 2)
        case records.AdaptiveAveragePool() if not any(side % layer.size for side in x.shape[1:3]):
            window = tuple(side // layer.size for side in x.shape[1:3])
            return nn.avg_pool(x, window, window)
        case records.Activation(function="relu" | "tanh" | "sigmoid"):
            return getattr(nn, layer.function)(x)
        case records.Flatten():
            return x.reshape(x.shape[0], -1)
        case records.Dropout():
            return nn.Dropout(layer.rate, deterministic=not train)(x)
        case records.BatchNorm():
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, **own)(x)
        case records.LocalResponseNorm():
            return _local_response_norm(layer, x)
    raise InputError(f"peer flax has no layer like {layer.name} ({type(layer).__name__}); leave this peer out.")


def _local_response_norm(layer: records.LocalResponseNorm, x: jax.Array) -> jax.Array:
    window, below = (1, 1, 1, layer.size), layer.size // 2
    padding = ((0, 0), (0, 0), (0, 0), (below, layer.size - 1 - below))
    squares = lax.reduce_window(x * x, np.zeros((), x.dtype), lax.add, window, (1, 1, 1, 1), padding)
    alpha = layer.alpha if layer.alpha_mode == "sum" else layer.alpha / layer.size
    return x * (layer.k + alpha * squares) ** -layer.beta
