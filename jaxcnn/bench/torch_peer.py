"""The network of a tuple of layer records as PyTorch writes it."""

import functools
from typing import Any

from torch import nn

from jaxcnn import layers as records
from jaxcnn.layers import Layer, Shape, trace_image
from jaxcnn.runtime.errors import InputError

# In place, as torchvision's networks have it.
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": functools.partial(nn.ReLU, inplace=True), "sigmoid": nn.Sigmoid}


def torch_peer(layers: tuple[Layer, ...], shape: Shape) -> nn.Sequential:
    """Modules under the names of the records, for images [n, channels, height, width].

    Args:
        layers: the records, in order.
        shape: (height, width, channels) of an image.

    Raises:
        InputError: a layer that PyTorch has not.
    """
    net = nn.Sequential()
    for row in trace_image(layers, shape):
        net.add_module(row.layer.name, _module(row.layer, row.given[-1]))
    return net


def _module(layer: Layer, channels: int) -> nn.Module:
    """The module of a layer that is given so many channels or features."""
    match layer:
        case records.Conv(connections=None):
            window: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
            return nn.Conv2d(channels, layer.features, layer.kernel, **window)
        case records.Dense():
            return nn.Linear(channels, layer.features)
        case records.MaxPool():
            return nn.MaxPool2d(layer.size, layer.stride)
        case records.AveragePool():
            return nn.AvgPool2d(layer.size, layer.stride)
        case records.AdaptiveAveragePool():
            return nn.AdaptiveAvgPool2d(layer.size)
        case records.Activation() if layer.function in _ACTIVATIONS:
            return _ACTIVATIONS[layer.function]()
        case records.Flatten():
            return nn.Flatten()
        case records.Dropout():
            return nn.Dropout(layer.rate)
        case records.BatchNorm():
            return nn.BatchNorm2d(channels)
        case records.LocalResponseNorm():
            alpha = layer.alpha * (layer.size if layer.alpha_mode == "sum" else 1)
            return nn.LocalResponseNorm(layer.size, alpha, layer.beta, layer.k)
    raise InputError(f"peer torch has no layer like {layer.name} ({type(layer).__name__}); leave this peer out.")
