"""The networks by name, each with the images it was made for."""

from dataclasses import dataclass

from jaxcnn.errors import InputError
from jaxcnn.fields import did_you_mean
from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.convnet import ConvNet
from jaxcnn.models.lenet import LeNet5
from jaxcnn.models.vgg import VGG


@dataclass(frozen=True)
class Entry:
    """A network and the shape (height, width, channels) of its paper's images."""

    model: ConvNet
    shape: tuple[int, int, int]


ZOO: dict[str, Entry] = {
    "lenet5": Entry(LeNet5(), (32, 32, 1)),
    "lenet5_1998": Entry(LeNet5(variant="1998"), (32, 32, 1)),
    "alexnet": Entry(AlexNet(), (224, 224, 3)),
    "alexnet_owt": Entry(AlexNet(variant="owt"), (224, 224, 3)),
    **{
        f"vgg_{configuration.lower().replace('-', '_')}": Entry(VGG(configuration), (224, 224, 3))
        for configuration in ("A", "A-LRN", "B", "C", "D", "E", "notes19")
    },
    **{
        f"vgg_{configuration.lower()}_bn": Entry(VGG(configuration, norm="batch"), (224, 224, 3))
        for configuration in "ABDE"
    },
}
"""`lenet5`, `lenet5_1998`, `alexnet`, `alexnet_owt`, `vgg_a`, `vgg_a_lrn`, `vgg_b` … `vgg_e`, `vgg_notes19`, and with
batch normalization `vgg_a_bn`, `vgg_b_bn`, `vgg_d_bn`, `vgg_e_bn`."""


def named(name: str) -> Entry:
    """The network of that name.

    Raises:
        InputError: there is none, with the list.
    """
    if name not in ZOO:
        raise InputError(f"model {name!r} is unknown; there are {', '.join(ZOO)}.{did_you_mean(name, ZOO)}")
    return ZOO[name]
