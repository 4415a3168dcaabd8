"""Layers as PyTorch modules; the only file of this package that imports PyTorch at module level."""

import torch
from torch import nn

from jaxcnn.layers.record import Layer, Shape


def sequential(layers: tuple[Layer, ...], shape: Shape) -> nn.Sequential:
    """Return modules under the names of the layers, for inputs of this shape (channels last, without the batch axis).

    Raises:
        InputError: PyTorch has no such layer.
    """
    net = nn.Sequential()
    for layer in layers:
        net.add_module(layer.name, layer.torch_module(shape))
        shape = layer.info(shape).output_shape
    return net


class Sum(nn.Module):
    """The sum of the outputs of two modules for one input."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        for module in self.modules():
            if hasattr(module, "inplace"):
                # Both branches read the input.
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + self.shortcut(x)


class PaddedIdentity(nn.Module):
    """Every `stride`-th position of the input, with channels of zeros appended up to `features`."""

    def __init__(self, features: int, stride: int) -> None:
        super().__init__()
        self.features, self.stride = features, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        extra = self.features - x.shape[1]
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, extra))


class Scale(nn.Module):
    """The input times a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor
