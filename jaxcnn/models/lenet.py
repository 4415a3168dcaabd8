"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition)."""

import dataclasses
from typing import Literal

from flax import linen as nn

from jaxcnn.layers import (
    Activation,
    ActivationName,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    Norm,
    NormName,
    RadialBasis,
    TrainableSubsampling,
)
from jaxcnn.models.convnet import ConvNet
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt

# Table I: the S2 maps that each C3 map is connected to.
_C3 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# The target outputs of F6 for the classes 0 to 9, 7 pixels wide and 12 high; the shapes are ours.
_BITMAPS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ####### ##...## ##...##
##...## .####.. ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. ##..##. ##...## ######. ....##. ..###.. ##...##
##...## ...##.. ...##.. ..####. ##..##. .....## ##...## ...##.. .##.##. .######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
"""


def _codes() -> tuple[tuple[float, ...], ...]:
    """Return the bitmaps, flattened row by row, with ink 1 and paper -1."""
    lines = [line.split() for line in _BITMAPS.split("\n") if line]
    return tuple(tuple(1.0 if dot == "#" else -1.0 for dot in "".join(rows)) for rows in zip(*lines, strict=True))


class LeNet5(ConvNet):
    """LeNet-5 in two variants. `modern`, as it is usually taught: every S2 map is connected to every C3 map, pooling
    has no parameters, and one more dense layer computes the class scores; 61,706 parameters for 32x32x1 images and 10
    classes. `1998`, as published (section II.B): 60,000 parameters and 340,908 connections.

    Layers are named as in the paper's figure 2: C1 and C3 extract features with 5x5 windows, S2 and S4 halve the
    resolution so that exact position matters less, C5 is a convolution that sees the whole of S4, F6 is a dense layer.
    On images larger than 32x32, C5 has more than one position and F6 more inputs.

    In the 1998 variant a C3 map is connected to three, four or all six of the S2 maps (table I), which limits the
    number of connections and makes the maps differ. S2 and S4 have a trained coefficient and bias per map, followed by
    the activation. F6 has 84 units because the class scores are its distances to 7x12 bitmaps of the digits, with
    values -1 and 1, where the curvature of the scaled tanh is largest; similar classes have similar bitmaps. Weights
    are initialized uniformly within 2.4 / fan-in of 0 (appendix A); biases, which it does not mention, to 0. Train it
    with loss "map" or "mse" (section II.C), on inputs at -0.1 (background) and 1.175 (ink).

    Attributes:
        num_classes: number of classes; the 1998 variant has 10.
        activation: after C1, C3, C5, F6 and trainable pooling. None: the variant's own, tanh in modern, scaled_tanh in
            1998 (appendix A).
        pooling: in S2 and S4; trainable is sum, coefficient, bias and activation. None: the variant's own, average in
            modern, trainable in 1998.
        norm: after C1 and C3: before the activation (Ioffe & Szegedy 2015, section 3.2), except that local response
            normalization comes after it (Krizhevsky et al. 2012, section 3.3); a name, or a record of `jaxcnn.layers`
            such as `BatchNorm(momentum=0.99)`. The paper has none. The maps of C5 are single pixels, which instance
            normalization cannot normalize.
        variant: modern or 1998.
    """

    num_classes: PositiveInt = 10
    activation: ActivationName | None = None
    pooling: Literal["average", "max", "trainable"] | None = None
    norm: NormName | Norm = "none"
    variant: Literal["modern", "1998"] = "modern"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant == "1998" and self.num_classes != 10:
            raise InputError(
                f"LeNet5.num_classes is {self.num_classes}; variant '1998' has bitmaps of 10 digits, so it must be "
                "10; variant 'modern' takes any number."
            )

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return C1, S2, C3, S4, C5, F6 and the output."""
        modern = self.variant == "modern"
        init = "lecun_normal" if modern else "lecun_1998"
        return (
            *self._normalized(Conv(6, kernel=5, kernel_init=init, name="c1")),
            *self._pooled("2"),
            *self._normalized(Conv(16, kernel=5, kernel_init=init, connections=None if modern else _C3, name="c3")),
            *self._pooled("4"),
            Conv(120, kernel=5, kernel_init=init, name="c5"),
            self._activation("5"),
            Flatten(name="flatten"),
            Dense(84, kernel_init=init, name="f6"),
            self._activation("6"),
            Dense(self.num_classes, name="output") if modern else RadialBasis(_codes(), name="output"),
        )

    @nn.nowrap
    def _activation(self, number: str) -> Layer:
        return Activation(
            self.activation or ("tanh" if self.variant == "modern" else "scaled_tanh"), name=f"act{number}"
        )

    @nn.nowrap
    def _pooled(self, number: str) -> tuple[Layer, ...]:
        kinds = {"average": AveragePool, "max": MaxPool, "trainable": TrainableSubsampling}
        kind = self.pooling or ("average" if self.variant == "modern" else "trainable")
        pool = kinds[kind](name=f"s{number}")
        return (pool, self._activation(number)) if kind == "trainable" else (pool,)

    @nn.nowrap
    def _normalized(self, conv: Conv) -> tuple[Layer, ...]:
        number = conv.name[1:]
        activation = self._activation(number)
        if not isinstance(self.norm, Norm):
            return conv, activation
        norm = dataclasses.replace(self.norm, name=f"norm{number}")
        return (conv, norm, activation) if norm.usual_place == "pre_activation" else (conv, activation, norm)
