"""VGG (Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale image recognition)."""

from typing import Literal

from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.fields import Fraction, Positive, PositiveInt
from jaxcnn.layers import Activation, AdaptiveAveragePool, Conv, Dense, Dropout, Flatten, Layer, MaxPool, NormName
from jaxcnn.models.normalized import NormalizedConvNet, initial

_DEPTHS = {
    "A": (1, 1, 2, 2, 2),
    "A-LRN": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
    "notes19": (2, 2, 3, 3, 3),
}
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(NormalizedConvNet):
    """The networks of table 1. For 224x224x3 images and 1000 classes, in millions of parameters: A 132.9, B 133.0,
    C 133.6, D ("VGG16") 138.4, E ("VGG19") 143.7.

    Five stages of 3x3 convolutions with stride 1 that keep the resolution, each stage closed by 2x2 max-pooling that
    halves it (section 2.1). Two 3x3 windows see 5x5 pixels and three see 7x7, with more rectifications between and
    fewer parameters than one large window (section 2.3). The maps double from 64 to 512 as the resolution halves. The
    configurations differ in depth alone, which is the paper's question: 11 weight layers in A, 13 in B, 16 in C and D,
    19 in E; C's third convolutions are 1x1, which adds rectifications without more context. A-LRN is A with local
    response normalization after the first convolution; it did not help (section 4.1). Dropout and weight decay hold
    the dense layers back (section 3.1).

    Attributes:
        configuration: a column of table 1; notes19: what some teaching notes describe as VGG19, D with one more dense
            layer of 4096 units, where E has one more convolution in each of stages 3, 4 and 5.
        num_classes: classes to tell apart.
        norm: after every convolution; the paper has none, but for A-LRN.
        head: imagenet, dense layers of 4096, 4096 and num_classes units on all positions of the last maps; torchvision,
            the same behind average pooling to 7x7, which does nothing to 224x224 images and fits larger ones to the
            same weights; cifar, num_classes units alone, as usual for 32x32 images; gap, the same on the mean over
            positions (Lin et al. 2014, Network in network, section 3.2).
        dropout: share of the units of the first two dense layers left out while training (section 3.1).
        kernel_init: glorot, with which no pre-training is needed (section 3.1, footnote); gaussian, as printed there, variance
            1e-2; he (He et al. 2015). Biases 0.
        width: factor on the number of maps and hidden dense units, for smaller networks of the same shape.
    """

    configuration: Literal["A", "A-LRN", "B", "C", "D", "E", "notes19"] = "D"
    num_classes: PositiveInt = 1000
    norm: NormName = "none"
    head: Literal["imagenet", "torchvision", "cifar", "gap"] = "imagenet"
    dropout: Fraction = 0.5
    kernel_init: Literal["glorot", "gaussian", "he"] = "glorot"
    width: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.configuration == "A-LRN" and self.norm != "none":
            raise InputError(
                f"VGG.norm is {self.norm!r} with configuration 'A-LRN', which has its own; use norm 'none', or "
                "configuration 'A'."
            )

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """conv1_1 to pool5, then the dense layers fc6, fc7, ..."""
        return (*(layer for stage in range(1, 6) for layer in self._stage(stage)), *self._head())

    @nn.nowrap
    def takes_from(self, other: nn.Module) -> tuple[str, ...] | None:
        """Deeper networks start from the first four convolutions and the dense layers of A (section 3.1)."""
        shallow, deep = ("A", "A-LRN"), ("B", "C", "D", "E", "notes19")
        if not (isinstance(other, VGG) and other.configuration in shallow and self.configuration in deep):
            return None
        convolutions = ("1_1", "2_1", "3_1", "3_2")
        return (*(kind + number for number in convolutions for kind in ("conv", "norm")), "fc6", "fc7", "fc8")

    @nn.nowrap
    def _stage(self, stage: int) -> tuple[Layer, ...]:
        depth, layers = _DEPTHS[self.configuration][stage - 1], ()
        for i in range(1, depth + 1):
            kernel = 1 if self.configuration == "C" and i == 3 else 3
            conv = Conv(
                self._scaled(_WIDTHS[stage - 1]),
                kernel=kernel,
                padding=kernel // 2,
                kernel_init=initial(self.kernel_init, 0.1),
                name=f"conv{stage}_{i}",
            )
            norm = "local_response" if self.configuration == "A-LRN" and stage == i == 1 else self.norm
            layers += self._block(conv, norm, *((MaxPool(name=f"pool{stage}"),) if i == depth else ()))
        return layers

    @nn.nowrap
    def _head(self) -> tuple[Layer, ...]:
        side = {"torchvision": 7, "gap": 1}.get(self.head)
        flat = (*((AdaptiveAveragePool(side, name="pool6"),) if side else ()), Flatten(name="flatten"))
        hidden = 0 if self.head in ("cifar", "gap") else 3 if self.configuration == "notes19" else 2
        for number in range(6, 6 + hidden):
            flat += (self._dense(number, self._scaled(4096)), Activation(self.activation, name=f"act{number}"))
            if number < 8:
                flat += (Dropout(self.dropout, name=f"drop{number}"),)
        return (*flat, self._dense(6 + hidden, self.num_classes))

    @nn.nowrap
    def _dense(self, number: int, features: int) -> Dense:
        return Dense(features, kernel_init=initial(self.kernel_init, 0.1), name=f"fc{number}")

    @nn.nowrap
    def _scaled(self, features: int) -> int:
        return max(1, round(features * self.width))
