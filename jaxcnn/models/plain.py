"""Plain and residual networks (He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition)."""

import dataclasses
import itertools
from typing import Literal

from flax import linen as nn

from jaxcnn.layers import (
    Activation,
    ActivationName,
    AdaptiveAveragePool,
    Conv,
    Dense,
    Flatten,
    InitName,
    Layer,
    Norm,
    NormName,
    PaddedIdentity,
    Residual,
    Scale,
)
from jaxcnn.models.convnet import ConvNet
from jaxcnn.models.kernel_init import KernelInit, initial
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Positive, PositiveInt


class PlainNet(ConvNet):
    """A stack of one kind of layer, plain or with skip connections, of any depth. By default it is the plain network
    with 20 weight layers for CIFAR-10; with skip "post_activation" it is ResNet-20, and with depth 56, ResNet-56
    (section 4.2).

    The networks ask what depth alone does, so every other choice is fixed. Stage 1 is one 3x3 convolution with 16 maps.
    Stages 2, 3 and 4 have 2n of them each, with 16 maps of 32x32, 32 of 16x16 and 64 of 8x8: the first convolution of a
    stage has stride 2 instead of a pooling layer, and the number of maps doubles as the resolution halves, so that all
    stages cost about the same. The mean over positions (global average pooling) and one dense layer classify. With the
    dense layer that makes 6n + 2 weight layers. Batch normalization and an activation follow each convolution, which
    has no bias, because the norm adds one.

    Depth. A deeper plain network could equal a shallower one by setting its additional layers to the identity. Instead
    even its training error is higher (figure 6): optimization fails, not generalization. The paper argues that this
    degradation is not a vanishing gradient, because batch normalization keeps the signals from vanishing in both
    directions (section 4.1).

    Skip connections. Two convolutions form a branch F, and the block computes x + F(x) (equation 1), so that the
    identity is F = 0. In the backward pass the sum copies the gradient of its output to x, and whatever the branch
    multiplies it by is added, not multiplied. Where the shape changes, the shortcut takes every second position of x
    and appends maps of zeros (section 3.3, option A), so a residual network has exactly the parameters of the plain
    one. The errors of plain networks increase with depth, those of residual ones decrease: 8.75 % for ResNet-20, 6.97 %
    for ResNet-56 (table 6).

    Order. In post_activation the activation follows the sum, so it lies on the shortcut's path from block to block. In
    pre_activation norm and activation precede the convolutions inside the branch, and nothing but sums lies on that
    path; networks of 1001 layers then train (He et al. 2016, Identity mappings in deep residual networks,
    arXiv:1603.05027, sections 2 and 4). The first block follows the activation of stage 1 and needs none of its own;
    norm and activation also follow the last sum (appendix).

    With kind "dense" the layers are dense, all of one width and without stages, the classical setting of the vanishing
    gradient.

    Attributes:
        depth: number of weight layers. For conv 6n + 2, such as 20, 32, 44, 56 or 110; for dense at least 2 without
            skips, and an even number of at least 4 with skips.
        width: conv: maps of the first stages; stages 3 and 4 have twice and four times as many. dense: units of every
            hidden layer.
        activation: after every weight layer but the last.
        kernel_init: he (He et al. 2015), as in the paper; gaussian, standard deviation 0.01; glorot; lecun; orthogonal;
            or a number, the standard deviation of a zero-mean normal distribution. Biases are 0.
        norm: after every weight layer but the last, before the activation (section 3.4), except that local response
            normalization follows it (Krizhevsky et al. 2012, section 3.3); a name, or a record of `jaxcnn.layers` such
            as `BatchNorm(momentum=0.99)`.
        skip: none; post_activation, as in the paper (figure 2); pre_activation (He et al. 2016, Identity mappings).
        kind: conv or dense.
        num_classes: number of classes.
        residual_scale: factor on every branch before the sum; below 1 it keeps sums of many branches from growing
            (Szegedy et al. 2017, arXiv:1602.07261, section 3.3). 1, as in the paper: no layer.
    """

    depth: PositiveInt = 20
    width: PositiveInt = 16
    activation: ActivationName = "relu"
    kernel_init: KernelInit | Positive = "he"
    norm: NormName | Norm = "batch"
    skip: Literal["none", "post_activation", "pre_activation"] = "none"
    kind: Literal["conv", "dense"] = "conv"
    num_classes: PositiveInt = 10
    residual_scale: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "conv" and (self.depth < 8 or self.depth % 6 != 2):
            near = max(1, round((self.depth - 2) / 6))
            raise InputError(
                f"PlainNet.depth is {self.depth}; with kind 'conv' it must be 6n + 2, such as {6 * near + 2}."
            )
        if self.kind == "dense" and self.depth < 2:
            raise InputError(f"PlainNet.depth is {self.depth}; with kind 'dense' it must be at least 2.")
        if self.kind == "dense" and self.skip != "none" and (self.depth < 4 or self.depth % 2):
            raise InputError(
                f"PlainNet.depth is {self.depth}; with kind 'dense' and skip {self.skip!r} it must be an even number "
                f"of at least 4, such as {max(4, self.depth + 1)}."
            )
        if self.residual_scale != 1 and self.skip == "none":
            raise InputError(
                f"PlainNet.residual_scale is {self.residual_scale:g} with skip 'none'; without a branch to scale it "
                "must be 1."
            )

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Return the stages conv1 to conv4_2n, or fc1, fc2, ..., and the output; with skips, two weight layers form a
        `Residual`."""
        first, *rest = self._weighted()
        net = ((Flatten(name="flatten"),) if self.kind == "dense" else ()) + (first, *self._followers(first))
        if self.skip == "none":
            net += tuple(layer for weighted in rest for layer in (weighted, *self._followers(weighted)))
        else:
            net += self._blocks(rest)
        if self.kind == "conv":
            net += (AdaptiveAveragePool(1, name="pool"), Flatten(name="flatten"))
        return (*net, Dense(self.num_classes, kernel_init=self._initial(), name="output"))

    @nn.nowrap
    def _weighted(self) -> list[Conv | Dense]:
        """Return the weight layers but the last, in order."""
        with_bias = not (isinstance(self.norm, Norm) and self.norm.adds_bias)
        initial = {"kernel_init": self._initial(), "bias_init": 0.0 if with_bias else None}
        if self.kind == "dense":
            return [Dense(self.width, **initial, name=f"fc{i}") for i in range(1, self.depth)]
        convs = [Conv(self.width, padding=1, **initial, name="conv1")]
        for stage, i in itertools.product((2, 3, 4), range(1, (self.depth - 2) // 3 + 1)):
            stride = 2 if i == 1 and stage > 2 else 1
            width = self.width * 2 ** (stage - 2)
            convs.append(Conv(width, stride=stride, padding=1, **initial, name=f"conv{stage}_{i}"))
        return convs

    @nn.nowrap
    def _followers(self, weighted: Conv | Dense) -> tuple[Layer, ...]:
        """Return the norm and the activation of a weight layer, in their order."""
        number = weighted.name.removeprefix("conv").removeprefix("fc")
        activation = Activation(self.activation, name=f"act{number}")
        if not isinstance(self.norm, Norm):
            return (activation,)
        norm = dataclasses.replace(self.norm, name=f"norm{number}")
        return (norm, activation) if norm.usual_place == "pre_activation" else (activation, norm)

    @nn.nowrap
    def _blocks(self, weighted: list[Conv | Dense]) -> tuple[Layer, ...]:
        """Return the weight layers in pairs, each the branch of a `Residual`, with their norms and activations."""
        net, before = (), ()
        for i, (a, b) in enumerate(zip(weighted[::2], weighted[1::2], strict=True)):
            blocks = (self.depth - 2) // 6
            number = f"{i // blocks + 2}_{i % blocks + 1}" if self.kind == "conv" else f"{i + 1}"
            inside, after = (a, *self._followers(a), b), self._followers(b)
            if self.skip == "pre_activation":
                inside, before, after = (*before, *inside), after, ()
            elif not isinstance(after[0], Activation):
                inside, after = (*inside, after[0]), after[1:]
            if self.residual_scale != 1:
                inside += (Scale(self.residual_scale, name=f"scale{number}"),)
            strided = isinstance(a, Conv) and a.stride > 1
            shortcut = (PaddedIdentity(a.features, a.stride, name=f"identity{number}"),) if strided else ()
            net += (Residual(inside, shortcut, name=f"res{number}"), *after)
        return net + before

    @nn.nowrap
    def _initial(self) -> InitName | float:
        return initial(self.kernel_init, 0.01) if isinstance(self.kernel_init, str) else self.kernel_init
