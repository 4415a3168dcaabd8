"""Image corruptions: the families of MNIST-C and CIFAR-10-C, without frost."""

from jaxcnn.corruptions.catalogue import CORRUPTIONS, FAMILIES, HOST
from jaxcnn.corruptions.corrupting import corrupt

__all__ = ["CORRUPTIONS", "FAMILIES", "HOST", "corrupt"]
