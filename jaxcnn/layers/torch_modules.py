"""Layers as PyTorch's modules; the only file here that imports it."""

import torch
from torch import nn

from jaxcnn.layers.record import Layer, Shape


def sequential(layers: tuple[Layer, ...], shape: Shape) -> nn.Sequential:
    """Modules under the names of the layers, for inputs of this shape (ours, without the batch).

    Raises:
        InputError: PyTorch has no such layer.
    """
    net = nn.Sequential()
    for layer in layers:
        net.add_module(layer.name, layer.torch_module(shape))
        shape = layer.info(shape).output_shape
    return net


class Sum(nn.Module):
    """The sum of what two modules make of one input."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        for module in self.modules():
            if hasattr(module, "inplace"):
                # Both ways read the input.
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + self.shortcut(x)
