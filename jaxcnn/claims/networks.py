"""The small network that several claims share."""

from flax import linen as nn

from jaxcnn.layers import Activation, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Norm, NormName
from jaxcnn.models.normalized import NormalizedConvNet
from jaxcnn.runtime.fields import Fraction, NonNegativeInt, PositiveInt


class SmallConvNet(NormalizedConvNet):
    """3x3 convolutions, each with its norm, activation and 2x2 pooling, and dense layers: a VGG with one convolution
    per stage, small enough to train hundreds of times on two CPU cores.

    Attributes:
        widths: maps of each convolution.
        norm: after every convolution; a name, or a record of `jaxcnn.layers`.
        hidden: units of a dense layer before the output, 0: none. It has no norm.
        dropout: fraction of the input of the last dense layer that is dropped during training.
        num_classes: number of classes.
    """

    widths: tuple[PositiveInt, ...] = (16, 32, 64)
    norm: NormName | Norm = "none"
    hidden: NonNegativeInt = 0
    dropout: Fraction = 0.0
    num_classes: PositiveInt = 10

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return conv1, norm1, act1, pool1, ..., flatten, hidden, dropout, output."""
        stages: tuple[Layer, ...] = ()
        for i, width in enumerate(self.widths, start=1):
            conv = Conv(width, padding=1, kernel_init="he_normal", name=f"conv{i}")
            stages += self._block(conv, self.norm, MaxPool(name=f"pool{i}"))
        dense: tuple[Layer, ...] = (Flatten(name="flatten"),)
        if self.hidden:
            hidden = Dense(self.hidden, kernel_init="he_normal", name="hidden")
            dense += (hidden, Activation(self.activation, name="hidden_act"))
        if self.dropout:
            dense += (Dropout(self.dropout, name="dropout"),)
        return (*stages, *dense, Dense(self.num_classes, name="output"))
