"""Architectures as linen modules: `VGG("D").init(key, x, train=False)`."""

# Imported first, so that the file of a network can import it from this package.
from jaxcnn.models.convnet import Chain, ConvNet

# isort: split
from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.lenet import LeNet5
from jaxcnn.models.plain import PlainNet
from jaxcnn.models.vgg import VGG
from jaxcnn.models.zoo import ZOO, Entry, named

__all__ = ["VGG", "ZOO", "AlexNet", "Chain", "ConvNet", "Entry", "LeNet5", "PlainNet", "named"]
