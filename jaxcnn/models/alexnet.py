"""AlexNet (Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks)."""

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
from jaxcnn.runtime.fields import Fraction, PositiveInt

_WIDTHS = {"2012": (96, 256, 384, 384, 256), "owt": (64, 192, 384, 256, 256)}
_STEMS = {"pad2_224": (11, 4, 2), "valid_227": (11, 4, 0), "cifar_32": (5, 1, 2)}


class AlexNet(NormalizedConvNet):
    """The network of 2012: 60,965,224 parameters and 724,406,816 multiply-adds for 224x224x3 images and 1000 classes.

    Five convolutions extract features of increasing size from maps of decreasing resolution; three dense layers
    classify them (section 3.5). A rectified linear unit follows every layer but the last. It does not saturate, so
    gradients pass: a small network reached 25 % training error six times faster with it than with tanh (section 3.1).

    Stage 1, conv1 to pool1. Windows of 11x11 pixels with stride 4 detect edges, blobs and colours and reduce 224x224
    positions to 55x55, which makes the later layers affordable. Local response normalization makes the maps compete at
    each position: large responses inhibit their neighbours (section 3.3: 1.4 points less top-1 error). Pooling windows
    of 3x3 have stride 2 and so overlap, which reduced the error by 0.4 points compared with 2x2 (section 3.4).

    Stage 2, conv2 to pool2. The same with 5x5 windows. conv2, and later conv4 and conv5, see only half of the preceding
    maps: the network was too large for one GPU and was split over two, which exchanged maps only at conv3 and at the
    dense layers (section 3.2). Here the halves are `groups`.

    Stage 3, conv3 to pool5. Three 3x3 convolutions with no pooling or normalization between them. Each matters:
    removing one of the middle layers raises top-1 error by about 2 points, although they hold few parameters
    (section 7).

    Dense layers, fc6 to fc8. They combine all positions. fc6 and fc7 hold nine tenths of the parameters and would
    overfit, so during training each of their units is dropped with probability one half and cannot rely on particular
    other units (dropout, section 4.2; training then needs about twice as many steps).

    Weights are regularized by L2 with strength 0.0005, in every layer: section 5 makes no exception, and says that
    this small weight decay also lowers the training error. It shrinks w by 0.0005 times the learning rate at each step,
    as adding 0.0005 / 2 times the sum of squared weights to the loss does (`optimizer.weight_decay_form` "krizhevsky",
    `weight_decay_scope` "all"). Notes that restrict it to the dense layers correspond to scope "dense". Random 224x224
    windows and mirroring, which give 2048 versions of each image, and random colour shifts also reduce overfitting
    (section 4.1).

    Attributes:
        num_classes: number of classes.
        variant: 2012; or owt, the network of Krizhevsky (2014, One weird trick for parallelizing convolutional neural
            networks) as implemented in torchvision: 64-192-384-256-256 maps, one group, no normalization, dropout
            before instead of after fc6 and fc7, the last maps averaged to 6x6 so that larger images fit; 61,100,840
            parameters.
        stem: conv1 and its padding. pad2_224: 55x55 maps from 224x224 images, the size in section 3.5, obtained by
            padding with 2 rows and columns of zeros; valid_227: from 227x227 images without padding (Caffe); cifar_32:
            5x5 windows, stride 1, for 32x32 images.
        groups: number of groups of conv2, conv4 and conv5. None: the variant's own, 2 for 2012 and 1 for owt.
        norm: local_response after conv1 and conv2, or another after every convolution; a name, or a record of
            `jaxcnn.layers` such as `LocalResponseNorm(alpha=1.0)`. None: the variant's own, local_response for 2012 and
            none for owt.
        pooling: overlapping, 3x3 windows with stride 2; plain, 2x2 (section 3.4).
        dropout: fraction of the units of fc6 and fc7 dropped during training (section 4.2).
        head: imagenet, dense layers of 4096, 4096 and num_classes units; cifar, num_classes alone.
        kernel_init: gaussian, standard deviation 0.01 and biases of 1 in conv2, conv4, conv5, fc6 and fc7 (section 5),
            designed for pixels in 0..255; glorot, he, lecun or orthogonal, biases 0. None: gaussian for 2012, he for
            owt.
    """

    num_classes: PositiveInt = 1000
    variant: Literal["2012", "owt"] = "2012"
    stem: Literal["pad2_224", "valid_227", "cifar_32"] = "pad2_224"
    groups: PositiveInt | None = None
    norm: NormName | Norm | None = None
    pooling: Literal["overlapping", "plain"] = "overlapping"
    dropout: Fraction = 0.5
    head: Literal["imagenet", "cifar"] = "imagenet"
    kernel_init: KernelInit | None = None

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return conv1 to conv5, then fc6 to fc8."""
        groups = self.groups or (2 if self.variant == "2012" else 1)
        c1, c2, c3, c4, c5 = _WIDTHS[self.variant]
        kernel, stride, padding = _STEMS[self.stem]
        return (
            *self._stage(self._conv("conv1", c1, kernel=kernel, stride=stride, padding=padding), pool="pool1"),
            *self._stage(self._conv("conv2", c2, kernel=5, padding=2, groups=groups), pool="pool2"),
            *self._stage(self._conv("conv3", c3, padding=1)),
            *self._stage(self._conv("conv4", c4, padding=1, groups=groups)),
            *self._stage(self._conv("conv5", c5, padding=1, groups=groups), pool="pool5"),
            *self._head(),
        )

    @nn.nowrap
    def _stage(self, conv: Conv, pool: str | None = None) -> tuple[Layer, ...]:
        norm = self.norm or (LocalResponseNorm() if self.variant == "2012" else "none")
        if isinstance(norm, LocalResponseNorm) and conv.name not in ("conv1", "conv2"):
            norm = "none"
        size = 3 if self.pooling == "overlapping" else 2
        return self._block(conv, norm, *((MaxPool(size, stride=2, name=pool),) if pool else ()))

    @nn.nowrap
    def _head(self) -> tuple[Layer, ...]:
        if self.head == "cifar":
            return (Flatten(name="flatten"), self._dense("fc8", self.num_classes))
        drop6, drop7 = (Dropout(self.dropout, name=name) for name in ("drop6", "drop7"))
        fc6 = (self._dense("fc6", 4096), Activation(self.activation, name="act6"))
        fc7 = (self._dense("fc7", 4096), Activation(self.activation, name="act7"))
        fc8 = self._dense("fc8", self.num_classes)
        if self.variant == "owt":
            return (AdaptiveAveragePool(6, name="pool6"), Flatten(name="flatten"), drop6, *fc6, drop7, *fc7, fc8)
        return (Flatten(name="flatten"), *fc6, drop6, *fc7, drop7, fc8)

    @nn.nowrap
    def _conv(self, name: str, features: int, **window: int) -> Conv:
        return Conv(features, **window, **self._initial(name), name=name)

    @nn.nowrap
    def _dense(self, name: str, features: int) -> Dense:
        return Dense(features, **self._initial(name), name=name)

    @nn.nowrap
    def _initial(self, name: str) -> dict:
        init = self.kernel_init or ("gaussian" if self.variant == "2012" else "he")
        ones = init == "gaussian" and name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        return {"kernel_init": initial(init, 0.01), "bias_init": float(ones)}
