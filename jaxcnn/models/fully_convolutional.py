"""Dense evaluation: a network with dense layers as one that is convolutional throughout, for images of any size."""

from typing import Any

from flax import linen as nn

from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LocalResponseNorm,
    Row,
    Shape,
    trace,
)
from jaxcnn.models import Chain, ConvNet
from jaxcnn.runtime.errors import InputError


def densify(model: nn.Module, variables: dict[str, Any], shape: Shape) -> tuple[Chain, dict[str, Any]]:
    """Rewrite a network so that it slides its dense layers over whole images.

    `Flatten` is dropped; the first dense layer becomes a convolution whose window is as large as the maps before it are
    at the native size, later ones 1x1 convolutions; adaptive average pooling is dropped where it does nothing at the
    native size, and where all that follows is linear, for the mean over positions then comes last. All else is kept,
    and all names. The result gives a map of class scores [n, h, w, classes]; at the native size its one position (its
    mean, after average pooling) is what the network gives. Without padding before the dense layers each position of a
    larger image's map is what the network gives for one window of the image; with padding, zeros at the borders of
    windows give way to pixels. Layer, group and instance normalization take their statistics over the whole image.

    Args:
        model: a `ConvNet`.
        variables: its `params`, and `batch_stats` if it has any.
        shape: (height, width, channels) of the images that the weights were trained on.

    Returns:
        The rewritten network and its variables; kernels keep their numbers and are reshaped, [h*w*c, features] to
        [h, w, c, features].

    Raises:
        InputError: a foreign module, images that are not square, or layers that have no such form.

    Source: Simonyan and Zisserman 2015 (arXiv:1409.1556), section 3.2; Sermanet et al. 2014 (arXiv:1312.6229).
    """
    if not isinstance(model, ConvNet):
        raise _cannot(f"rewrite {type(model).__name__}; it needs a network made of layers, a ConvNet")
    if shape[0] != shape[1]:
        raise _cannot(f"take {shape[0]}x{shape[1]} as the native size; it must be square")
    rows = trace(model.layers(), shape)
    layers: list[Layer] = []
    params = dict(variables.get("params", {}))
    maps: Shape | None = None
    for number, row in enumerate(rows):
        layer = row.layer
        if isinstance(layer, Flatten):
            maps = row.given
        elif isinstance(layer, AdaptiveAveragePool):
            _check_pool(row, rows[number + 1 :])
        elif isinstance(layer, Dense):
            layers.append(_as_conv(layer, maps[0]))
            params[layer.name] = _reshaped(layer, params[layer.name], maps)
            maps = (1, 1, layer.features)
        else:
            if maps is not None:
                _check_flat(layer, maps)
            layers.append(layer)
    return Chain(tuple(layers), dtype=model.dtype, ops=model.ops), {**variables, "params": params}


def _cannot(what: str) -> InputError:
    return InputError(f"protocol dense cannot {what}. Use center, ten_crop or multi_crop.")


def _check_pool(row: Row, later: tuple[Row, ...]) -> None:
    idle = row.given[:2] == row.facts.shape[:2]
    linear = row.facts.shape[:2] == (1, 1) and all(isinstance(r.layer, Flatten | Dropout | Dense) for r in later)
    if not (idle or linear):
        height, width = row.given[:2]
        raise _cannot(
            f"do without {row.layer.name}, which shrinks {height}x{width} maps to {row.layer.size}x{row.layer.size}"
        )


def _check_flat(layer: Layer, maps: Shape) -> None:
    """What follows `Flatten` must mean the same at every position of a map."""
    kinds = (Activation, Dropout) if maps[0] > 1 else (Activation, Dropout, BatchNorm, LocalResponseNorm)
    if not isinstance(layer, kinds):
        raise _cannot(f"slide {layer.name} ({type(layer).__name__}) over maps")


def _as_conv(layer: Dense, side: int) -> Conv:
    return Conv(layer.features, kernel=side, kernel_init=layer.kernel_init, bias_init=layer.bias_init, name=layer.name)


def _reshaped(layer: Dense, weights: dict[str, Any], maps: Shape) -> dict[str, Any]:
    kernel = weights["kernel"]
    if kernel.shape[0] != maps[0] * maps[1] * maps[2]:
        raise _cannot(
            f"use {layer.name}: its weights take {kernel.shape[0]} inputs, but maps are {'x'.join(map(str, maps))}; "
            "crop must be the side of the images that the network was trained on"
        )
    return {**weights, "kernel": kernel.reshape(*maps, layer.features)}
