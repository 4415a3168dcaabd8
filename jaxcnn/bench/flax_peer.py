"""The network of a tuple of layer records in plain flax.linen, with none of our own operations."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers import Layer


class FlaxPeer(nn.Module):
    """Linen layers under the names of the records; the tree of parameters is that of our own network.

    Attributes:
        records: the layers, in order.
        dtype: dtype of activations and products.
    """

    records: tuple[Layer, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return the float32 logits of images [n, height, width, channels].

        Raises:
            InputError: flax has no layer like one of the records.
        """
        x = x.astype(self.dtype)
        for layer in self.records:
            x = layer.linen(x, train=train)
        return x.astype(jnp.float32)
