"""Image corruptions: the families of MNIST-C and CIFAR-10-C, without frost."""

from jaxcnn.shift.corruptions.catalogue import CORRUPTIONS, FAMILIES, HOST
from jaxcnn.shift.corruptions.corrupting import corrupt

__all__ = ["CORRUPTIONS", "FAMILIES", "HOST", "corrupt"]
