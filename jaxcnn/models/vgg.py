"""VGG (Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale image recognition)."""

from typing import Literal

from flax import linen as nn

from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LocalResponseNorm,
    MaxPool,
    Norm,
    NormName,
)
from jaxcnn.models.kernel_init import KernelInit, initial
from jaxcnn.models.normalized import NormalizedConvNet
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, Positive, PositiveInt

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

    The paper asks how much depth alone contributes, so all else is fixed and simple (section 2.1): every convolution is
    rectified and has stride 1 and zero padding that keeps the resolution; only pooling, 2x2 windows with stride 2,
    halves it, five times.

    Stages 1 to 5, conv1_1 to pool5. 3x3 is the smallest window that distinguishes left, right, up and down. Two in a
    row see 5x5 pixels and three see 7x7, as one large window does, but they rectify two or three times instead of once
    and cost less: three 3x3 layers of C maps have 27 C^2 weights, one 7x7 layer has 49 C^2 (section 2.3). A net with
    each pair replaced by one 5x5 window was 7 points worse (section 4.1). The number of maps doubles from 64 to 512 as
    the resolution halves, which trades spatial detail for more features.

    Dense layers, fc6 to fc8. They have 4096, 4096 and num_classes units in all configurations; fc6, which sees all
    positions of the last maps, holds three quarters of the parameters. Rewritten as convolutions they can be slid over
    larger images (section 3.2).

    Configurations differ in the number of convolutions per stage: A 1-1-2-2-2, with the dense layers 11 weight layers;
    B 2-2-2-2-2, 13; C and D 2-2-3-3-3, 16; E 2-2-4-4-4, 19. The third convolutions of C are 1x1: additional
    rectification without additional context helps, since C is better than B, but context helps too, since D is better
    than C (section 4.1). A-LRN, A with local response normalization after conv1_1, was no better than A, so the others
    have none. The error decreases with depth and saturates at 19 layers.

    Against overfitting, section 3.1 names two measures: L2 with strength 0.0005 on the weights (`weight_decay` of the
    optimizer) and dropout of one half on fc6 and fc7. Notes that mention L2 alone correspond to `dropout` 0. Training
    also sees random 224x224 windows of images of random size, mirrored and with shifted colours; the random size alone
    reduces the error by 0.8 to 1.8 points (table 3). The authors suggest that depth and small windows also act as
    implicit regularization, because the network needs fewer epochs than AlexNet (section 3.1).

    Attributes:
        configuration: a column of table 1; notes19: what some teaching notes call VGG19, D with one more dense layer of
            4096 units, where E has one more convolution in each of stages 3, 4 and 5.
        num_classes: number of classes.
        norm: after every convolution; a name, or a record of `jaxcnn.layers` such as `BatchNorm(momentum=0.99)`. The
            paper has none except in A-LRN: "none" keeps the norm of A-LRN, with the paper's constants; a
            `LocalResponseNorm` replaces it.
        head: imagenet, dense layers of 4096, 4096 and num_classes units on all positions of the last maps; torchvision,
            the same after average pooling to 7x7, which has no effect on 224x224 images and lets the same weights take
            larger ones; cifar, num_classes units alone, as usual for 32x32 images; gap, the same on the mean over
            positions (Lin et al. 2014, Network in network, section 3.2).
        dropout: fraction of the units of the first two dense layers dropped during training (section 3.1).
        kernel_init: glorot, with which no pre-training is needed (section 3.1, footnote); gaussian, as in section 3.1,
            variance 1e-2; he (He et al. 2015); lecun; orthogonal. Biases are 0.
        width: factor on the number of maps and hidden dense units, for smaller networks of the same shape.
    """

    configuration: Literal["A", "A-LRN", "B", "C", "D", "E", "notes19"] = "D"
    num_classes: PositiveInt = 1000
    norm: NormName | Norm = "none"
    head: Literal["imagenet", "torchvision", "cifar", "gap"] = "imagenet"
    dropout: Fraction = 0.5
    kernel_init: KernelInit = "glorot"
    width: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.configuration == "A-LRN" and not isinstance(self.norm, LocalResponseNorm) and self.norm != "none":
            raise InputError(
                f"VGG.norm is {self.norm.shorthand or self.norm!r} with configuration 'A-LRN', which has its own norm; "
                "use norm 'none', a LocalResponseNorm, or configuration 'A'."
            )

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return conv1_1 to pool5, then the dense layers fc6, fc7, ..."""
        return (*(layer for stage in range(1, 6) for layer in self._stage(stage)), *self._head())

    @nn.nowrap
    def takes_from(self, other: nn.Module) -> tuple[str, ...] | None:
        """Deeper networks are initialized from the first four convolutions and the dense layers of A (section 3.1)."""
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
            norm = self.norm
            if self.configuration == "A-LRN":
                norm = (norm if isinstance(norm, Norm) else LocalResponseNorm()) if stage == i == 1 else "none"
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
