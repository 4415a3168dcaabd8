"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition)."""

from typing import Literal

from flax import linen as nn

from jaxcnn.fields import PositiveInt
from jaxcnn.layers import (
    Activation,
    ActivationName,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    NormName,
    normalization,
)
from jaxcnn.models.convnet import ConvNet


class LeNet5(ConvNet):
    """LeNet-5 in the form it has been taught in since: every S2 map feeds every C3 map, pooling without parameters,
    class scores from one more dense layer. 61,706 parameters for 32x32x1 images and 10 classes, where the network of
    1998 (section II.B) has 60,000.

    Layers and their names are those of the paper's figure 2: C1 and C3 extract features with 5x5 windows, S2 and S4
    halve the resolution so that exact position matters less, C5 is a convolution that sees the whole of S4, F6 a dense
    layer. On images larger than 32x32, C5 has more than one position and F6 more inputs.

    Attributes:
        num_classes: classes to tell apart.
        activation: after C1, C3, C5 and F6; the paper has a scaled tanh (appendix A).
        pooling: in S2 and S4; the paper averages.
        norm: after C1 and C3, before the activation (Ioffe & Szegedy 2015, section 3.2), but local response
            normalization after it (Krizhevsky et al. 2012, section 3.3). The paper has none. The maps of C5 are single
            pixels, on which instance normalization has nothing to work.
    """

    num_classes: PositiveInt = 10
    activation: ActivationName = "tanh"
    pooling: Literal["average", "max"] = "average"
    norm: NormName = "none"

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """C1 S2 C3 S4 C5 F6 and the output."""
        pool = {"average": AveragePool, "max": MaxPool}[self.pooling]
        return (
            *self._normalized(Conv(6, kernel=5, name="c1")),
            pool(name="s2"),
            *self._normalized(Conv(16, kernel=5, name="c3")),
            pool(name="s4"),
            Conv(120, kernel=5, name="c5"),
            Activation(self.activation, name="act5"),
            Flatten(name="flatten"),
            Dense(84, name="f6"),
            Activation(self.activation, name="act6"),
            Dense(self.num_classes, name="output"),
        )

    @nn.nowrap
    def _normalized(self, conv: Conv) -> tuple[Layer, ...]:
        number = conv.name[1:]
        norm = normalization(self.norm, conv.features, name=f"norm{number}")
        activation = Activation(self.activation, name=f"act{number}")
        return (conv, activation, *norm) if self.norm == "local_response" else (conv, *norm, activation)
