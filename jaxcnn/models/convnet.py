"""The base of every architecture: a module that applies its layers in order."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers import Layer, apply, template
from jaxcnn.ops import choose
from jaxcnn.runtime import fields


class ConvNet(nn.Module):
    """A network that is one tuple of layers.

    Subclasses declare their published choices as fields and return the tuple from `layers`. Parameters are named by
    layer, `conv1/kernel`, without deeper nesting.

    Attributes:
        dtype: type of activations and products; parameters, statistics and logits stay in float32.
        ops: auto, convolution and pooling in the formulation that runs fastest on the platform; lax, XLA's own.
    """

    dtype: Literal["float32", "bfloat16"] = dataclasses.field(default="float32", kw_only=True)
    ops: Literal["auto", "lax"] = dataclasses.field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        if hasattr(self, "norm"):
            # A name is shorthand for a record, whose options can then be changed like any field.
            object.__setattr__(self, "norm", template(self.norm))
        fields.check(self, [f.name for f in dataclasses.fields(self) if f.name not in ("parent", "name")])
        super().__post_init__()

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in order; everything else about the network is derived from them."""
        raise NotImplementedError

    @nn.nowrap
    def takes_from(self, other: nn.Module) -> tuple[str, ...] | None:
        """Return the names of the layers that are initialized from another trained network, the others from the seed.

        None: no such selection; either all layers are initialized from it or none.
        """
        return None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return the logits [n, num_classes], float32, of images [n, height, width, channels].

        Args:
            x: preprocessed images.
            train: True: use batch statistics and dropout (needs `rngs={"dropout": key}` if the network has dropout).

        Raises:
            InputError: the images are smaller than the network allows; the message names the minimum size.
        """
        with choose(self.ops):
            return apply(self.layers(), x.astype(self.dtype), train=train).astype(jnp.float32)


class Chain(ConvNet):
    """Any tuple of layers as a network; it returns the output of the last layer, which may be maps.

    Attributes:
        records: the layers, in order.
    """

    records: tuple[Layer, ...]

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return `records`."""
        return self.records
