"""The measured cases: networks with an image shape and a batch size, and the number of operations of their steps."""

from dataclasses import dataclass
from typing import Literal

from jaxcnn.layers import Shape, trace_image
from jaxcnn.models import VGG, ZOO, AlexNet, ConvNet, LeNet5
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean

Mode = Literal["train", "forward"]

# Images per step of a network of the zoo that is not a case.
_BATCH = 32


@dataclass(frozen=True)
class Case:
    """A network to measure.

    Attributes:
        name: name in tables.
        model: the network.
        shape: (height, width, channels) of an image.
        batch_size: images per step.
    """

    name: str
    model: ConvNet
    shape: Shape
    batch_size: int


CASES = {
    case.name: case
    for case in (
        Case("lenet5", LeNet5(), (32, 32, 1), 256),
        Case("vgg_d_bn_32", VGG("D", 10, norm="batch", head="cifar"), (32, 32, 3), 64),
        Case("alexnet", AlexNet(), (224, 224, 3), 32),
        Case("vgg_d", VGG(), (224, 224, 3), 8),
    )
}
"""The cases by name."""


def named(name: str) -> Case:
    """Return the case of that name, or the network of the zoo with 32 images per step.

    Raises:
        InputError: the name is unknown; the message lists the known ones.
    """
    if name in CASES:
        return CASES[name]
    if name in ZOO:
        return Case(name, ZOO[name].model, ZOO[name].shape, _BATCH)
    known = list(dict.fromkeys((*CASES, *ZOO)))
    raise InputError(f"case {name!r} is unknown; there are {', '.join(known)}.{did_you_mean(name, known)}")


def operations(model: ConvNet, shape: Shape, mode: Mode) -> int:
    """Return the floating point operations per image, two for each multiply-add of a product with weights.

    A forward pass has one product per layer. Training has two more per layer, for the gradients of its weights and of
    its input, except that no gradient of the images is computed. Norms, activations, pooling and the update rule are
    left out.

    Args:
        model: network whose layers are counted.
        shape: (height, width, channels) of the image.
        mode: train or forward.
    """
    products = [row.info.multiply_adds for row in trace_image(model.layers(), shape) if row.info.multiply_adds]
    return 2 * sum(products) if mode == "forward" else 2 * (3 * sum(products) - products[0])
