"""The networks by name, each with the shape of the images it was designed for."""

from dataclasses import dataclass
from typing import Any

from jaxcnn.layers import NormName
from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.convnet import ConvNet
from jaxcnn.models.lenet import LeNet5
from jaxcnn.models.plain import PlainNet
from jaxcnn.models.vgg import VGG
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean


@dataclass(frozen=True)
class Entry:
    """A network with its published results.

    Attributes:
        model: the network.
        shape: (height, width, channels) of its paper's images.
        paper: the source of the network.
        error: test error in % as in the paper; for ImageNet top-1 / top-5.
        torchvision: top-1 / top-5 error in % of torchvision's weights on ImageNet's validation images, as published by
            torchvision.
    """

    model: ConvNet
    shape: tuple[int, int, int]
    paper: str
    error: str = ""
    torchvision: str = ""

    @property
    def for_imagenet(self) -> bool:
        """Whether the paper's images are those of ImageNet."""
        return self.shape == (224, 224, 3)


def _vgg(configuration: str, error: str, torchvision: str = "", *, norm: NormName = "none") -> Entry:
    paper = "teaching notes" if configuration == "notes19" else "VGG, table 1"
    model = VGG(configuration, norm=norm)
    return Entry(model, (224, 224, 3), paper if norm == "none" else f"{paper}, with batch norm", error, torchvision)


def _plain(depth: int, error: str = "", **options: Any) -> Entry:
    return Entry(PlainNet(depth, **options), (32, 32, 3), "He et al. 2016, section 4.2", error)


ZOO: dict[str, Entry] = {
    "lenet5": Entry(LeNet5(), (32, 32, 1), "LeNet-5 as taught since"),
    "lenet5_1998": Entry(LeNet5(variant="1998"), (32, 32, 1), "LeNet-5, section II.B", "0.95 (MNIST)"),
    "alexnet": Entry(AlexNet(), (224, 224, 3), "AlexNet, section 3.5", "40.7 / 18.2"),
    "alexnet_owt": Entry(AlexNet(variant="owt"), (224, 224, 3), "Krizhevsky 2014", "", "43.48 / 20.93"),
    "vgg_a": _vgg("A", "29.6 / 10.4", "30.98 / 11.37"),
    "vgg_a_lrn": _vgg("A-LRN", "29.7 / 10.5"),
    "vgg_b": _vgg("B", "28.7 / 9.9", "30.07 / 10.75"),
    "vgg_c": _vgg("C", "28.1 / 9.4"),
    "vgg_d": _vgg("D", "27.0 / 8.8", "28.41 / 9.62"),
    "vgg_e": _vgg("E", "27.3 / 9.0", "27.62 / 9.12"),
    "vgg_notes19": _vgg("notes19", ""),
    "vgg_a_bn": _vgg("A", "", "29.63 / 10.19", norm="batch"),
    "vgg_b_bn": _vgg("B", "", "28.41 / 9.63", norm="batch"),
    "vgg_d_bn": _vgg("D", "", "26.64 / 8.48", norm="batch"),
    "vgg_e_bn": _vgg("E", "", "25.78 / 8.16", norm="batch"),
    "plain20": _plain(20),
    "plain56": _plain(56),
    "resnet20": _plain(20, "8.75 (CIFAR-10)", skip="post_activation"),
    "resnet56": _plain(56, "6.97 (CIFAR-10)", skip="post_activation"),
}
"""Networks by name. Errors of AlexNet are for one network (table 2), of VGG for one scale, S = Q = 256 (table 3), of
residual networks on CIFAR-10 (table 6)."""


def named(name: str) -> Entry:
    """Return the entry of that name.

    Raises:
        InputError: there is none; the message lists the names.
    """
    if name not in ZOO:
        raise InputError(f"model {name!r} is unknown; it must be one of {', '.join(ZOO)}.{did_you_mean(name, ZOO)}")
    return ZOO[name]
