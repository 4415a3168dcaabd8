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

    Subclasses declare their published choices as fields and return the tuple from `layers`. Parameters lie under the
    names of the layers, `conv1/kernel`, nothing deeper.

    Attributes:
        dtype: of activations and products; parameters, statistics and logits stay in float32.
        ops: auto, convolution and pooling in the formulation that their platform runs fastest; lax, XLA's own.
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
        """The description that everything else is read from."""
        raise NotImplementedError

    @nn.nowrap
    def takes_from(self, other: nn.Module) -> tuple[str, ...] | None:
        """Names of the layers that start from another trained network's, the rest from the seed; None: all or none."""
        return None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Logits [n, num_classes], float32, of images [n, height, width, channels].

        Args:
            x: preprocessed images.
            train: batch statistics and dropout as in training (needs `rngs={"dropout": key}` where there is dropout).

        Raises:
            InputError: images smaller than the network allows, naming the least size.
        """
        with choose(self.ops):
            return apply(self.layers(), x.astype(self.dtype), train=train).astype(jnp.float32)


class Chain(ConvNet):
    """Any tuple of layers as a network; where its last layer leaves maps, they are what it returns.

    Attributes:
        records: the layers, in order.
    """

    records: tuple[Layer, ...]

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """The records."""
        return self.records
