"""What AlexNet and VGG share: rectified convolutions with a normalization that can be exchanged and moved."""

import dataclasses
from typing import Literal

from flax import linen as nn

from jaxcnn.layers import Activation, ActivationName, Conv, InitName, Layer, LocalResponseNorm, NormName, normalization
from jaxcnn.models.convnet import ConvNet
from jaxcnn.runtime.fields import PositiveInt

NormPlace = Literal["pre_activation", "post_activation", "post_pool"]


class NormalizedConvNet(ConvNet):
    """A network whose convolutions may be normalized.

    Attributes:
        activation: after every convolution and hidden dense layer.
        norm_place: pre_activation, between convolution and activation (Ioffe & Szegedy 2015, section 3.2);
            post_activation, after it (Krizhevsky et al. 2012, section 3.3); post_pool, after the pooling that follows,
            where one follows (CaffeNet). None: post_activation for local response normalization, else pre_activation.
        lrn_size: channels in the window of local response normalization, n of Krizhevsky et al. (2012, section 3.3).
        lrn_alpha: its factor on the windowed sum of squares; 1e-4 presumes pixels in 0..255.
        lrn_beta: its exponent.
        lrn_k: its additive constant.
        lrn_alpha_mode: sum, as the paper; mean, alpha / n on the sum, as Caffe and PyTorch.
    """

    activation: ActivationName = dataclasses.field(default="relu", kw_only=True)
    norm_place: NormPlace | None = dataclasses.field(default=None, kw_only=True)
    lrn_size: PositiveInt = dataclasses.field(default=5, kw_only=True)
    lrn_alpha: float = dataclasses.field(default=1e-4, kw_only=True)
    lrn_beta: float = dataclasses.field(default=0.75, kw_only=True)
    lrn_k: float = dataclasses.field(default=2.0, kw_only=True)
    lrn_alpha_mode: Literal["sum", "mean"] = dataclasses.field(default="sum", kw_only=True)

    @nn.nowrap
    def _block(self, conv: Conv, norm: NormName, *pool: Layer) -> tuple[Layer, ...]:
        """A convolution with its activation, its norm where it belongs, and the pooling that follows, if one does."""
        number = conv.name.removeprefix("conv")
        norms, name = normalization(norm, conv.features, name=f"norm{number}"), f"norm{number}"
        if norm == "local_response":
            norms = (
                LocalResponseNorm(
                    size=self.lrn_size,
                    alpha=self.lrn_alpha,
                    beta=self.lrn_beta,
                    k=self.lrn_k,
                    alpha_mode=self.lrn_alpha_mode,
                    name=name,
                ),
            )
        act = Activation(self.activation, name=f"act{number}")
        place = self.norm_place or ("post_activation" if norm == "local_response" else "pre_activation")
        if place == "pre_activation":
            return (conv, *norms, act, *pool)
        return (conv, act, *norms, *pool) if place == "post_activation" else (conv, act, *pool, *norms)


def initial(init: Literal["gaussian", "glorot", "he"], std: float) -> InitName | float:
    """The kernel initializer that a network's `kernel_init` field names; `std` is that of its gaussian."""
    return {"gaussian": std, "glorot": "glorot_uniform", "he": "he_normal"}[init]
