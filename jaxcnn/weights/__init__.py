"""Conversion to and from torchvision's, Keras' and plain arrays: `weights.load("vgg16.pth").variables()`."""

from jaxcnn.weights.command import convert
from jaxcnn.weights.conversion import Conversion, load
from jaxcnn.weights.file import PREPROCESSING, Layout, Preprocessing, WeightFile, read, write
from jaxcnn.weights.match import Pair, match
from jaxcnn.weights.run import export, write_run

__all__ = [
    "PREPROCESSING",
    "Conversion",
    "Layout",
    "Pair",
    "Preprocessing",
    "WeightFile",
    "convert",
    "export",
    "load",
    "match",
    "read",
    "write",
    "write_run",
]
