"""The network of a tuple of layer records in PyTorch."""

from torch import nn

from jaxcnn.layers import Layer, Shape, trace_image
from jaxcnn.layers.torch_modules import sequential


def torch_peer(layers: tuple[Layer, ...], shape: Shape) -> nn.Sequential:
    """Return modules under the names of the records, for images [n, channels, height, width].

    Args:
        layers: the records, in order.
        shape: (height, width, channels) of an image.

    Raises:
        InputError: PyTorch has no layer like one of the records.
    """
    trace_image(layers, shape)
    return sequential(layers, shape)
