"""Dense evaluation: rewrite a network with dense layers as a fully convolutional one, for images of any size."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers import Shape, convolutional, trace
from jaxcnn.models import Chain, ConvNet
from jaxcnn.runtime.errors import InputError


def densify(model: nn.Module, variables: dict[str, Any], shape: Shape) -> tuple[Chain, dict[str, Any]]:
    """Rewrite a network so that it slides its dense layers over whole images.

    `Flatten` is removed; the first dense layer becomes a convolution whose window has the size of the incoming maps at
    the native image size; later dense layers become 1x1 convolutions. Adaptive average pooling is removed where it has
    no effect at the native size; where everything after it is linear, it is moved to the end as the mean over
    positions. All other layers, and all names, are kept. The result returns a map of class scores [n, h, w, classes];
    at the native size its single position (its mean, after average pooling) equals the output of the original network.
    Without padding before the dense layers, each position of the map of a larger image equals the output of the
    original network for one window of the image; with padding, the network sees pixels where a window would have had
    zeros at its border. Layer, group and instance normalization compute their statistics over the whole image.

    Args:
        model: a `ConvNet`.
        variables: its `params`, and `batch_stats` if it has any.
        shape: (height, width, channels) of the images that the network was trained on.

    Returns:
        The rewritten network and its variables; kernels keep their values and are reshaped, [h*w*c, features] to
        [h, w, c, features].

    Raises:
        InputError: the model is not a `ConvNet`, the images are not square, or a layer has no convolutional form.

    Source: Simonyan and Zisserman 2015 (arXiv:1409.1556), section 3.2; Sermanet et al. 2014 (arXiv:1312.6229).
    """
    if not isinstance(model, ConvNet):
        raise _cannot(f"rewrite {type(model).__name__}; it needs a network made of layers, a ConvNet")
    if shape[0] != shape[1]:
        raise _cannot(f"take {shape[0]}x{shape[1]} as the native size; it must be square")
    layers = model.layers()
    try:
        trace(layers, shape)
        chain = Chain(convolutional(layers, shape), dtype=model.dtype, ops=model.ops)
    except InputError as error:
        raise _cannot(f"be used: {error}") from error
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    wanted = jax.eval_shape(functools.partial(chain.init, train=False), jax.random.key(0), images)["params"]
    return chain, {**variables, "params": jax.tree.map_with_path(_reshaped, wanted, variables["params"])}


def _cannot(what: str) -> InputError:
    return InputError(f"protocol dense cannot {what.removesuffix('.')}. Use center, ten_crop or multi_crop.")


def _reshaped(path: tuple, wanted: jax.ShapeDtypeStruct, array: jax.Array) -> jax.Array:
    if array.size != wanted.size:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        raise _cannot(
            f"use {name} of shape {array.shape}: at this size {wanted.shape} is needed; crop must be the side of the "
            "images that the network was trained on"
        )
    return array if array.shape == wanted.shape else array.reshape(wanted.shape)
