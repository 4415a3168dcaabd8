"""Architectures as linen modules: `LeNet5().init(key, x, train=False)`."""

from jaxcnn.models.convnet import ConvNet
from jaxcnn.models.lenet import LeNet5

__all__ = ["ConvNet", "LeNet5"]
