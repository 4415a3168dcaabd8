"""The base of AlexNet and VGG: convolutions with an activation and a normalization of configurable kind and place."""

import dataclasses
from typing import Literal

from flax import linen as nn

from jaxcnn.layers import Activation, ActivationName, Conv, Layer, Norm
from jaxcnn.models.convnet import ConvNet

NormPlace = Literal["pre_activation", "post_activation", "post_pool"]


class NormalizedConvNet(ConvNet):
    """A network whose convolutions may be normalized.

    Attributes:
        activation: the activation after every convolution and hidden dense layer.
        norm_place: pre_activation, between convolution and activation (Ioffe & Szegedy 2015, section 3.2);
            post_activation, after it (Krizhevsky et al. 2012, section 3.3); post_pool, after the pooling that follows,
            if any (CaffeNet). None: post_activation for local response normalization, else pre_activation.
    """

    activation: ActivationName = dataclasses.field(default="relu", kw_only=True)
    norm_place: NormPlace | None = dataclasses.field(default=None, kw_only=True)

    @nn.nowrap
    def _block(self, conv: Conv, norm: Norm | Literal["none"], *pool: Layer) -> tuple[Layer, ...]:
        """Return a convolution with its activation, its norm in the configured place, and the pooling layers."""
        number = conv.name.removeprefix("conv")
        act = Activation(self.activation, name=f"act{number}")
        if not isinstance(norm, Norm):
            return (conv, act, *pool)
        norm = dataclasses.replace(norm, name=f"norm{number}")
        place = self.norm_place or norm.usual_place
        if place == "pre_activation":
            return (conv, norm, act, *pool)
        return (conv, act, norm, *pool) if place == "post_activation" else (conv, act, *pool, norm)
