"""Convolution, with the semantics of `lax.conv_general_dilated`."""

import jax
import jax.numpy as jnp
from jax import lax

# LeNet-5's layers are within; from three channels at 32 pixels on, XLA's own convolution is faster.
_WIDEST_BAND = 90


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, groups: int = 1) -> jax.Array:
    """Convolution of images [n, height, width, channels] with a kernel [height, width, channels / groups, features].

    GPU and TPU run `lax.conv_general_dilated`. XLA's CPU backend is slow at the gradients of convolutions with few
    channels, at maps smaller than the window and at groups, so there the first two are written as matrix products and
    groups as convolutions of their own. Results agree to float32 rounding.

    Args:
        x: images or feature maps.
        kernel: one window for each feature.
        stride: step of the window along both axes.
        padding: zeros on each side.
        groups: independent parts that channels and features are split into.
    """
    if jax.default_backend() == "cpu" and groups > 1:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        return jnp.concatenate([conv(a, b, stride=stride, padding=padding) for a, b in parts], axis=-1)
    if jax.default_backend() == "cpu" and stride == 1:
        height, width = x.shape[1] + 2 * padding, x.shape[2] + 2 * padding
        if (height, width) == kernel.shape[:2]:
            return _covering(_padded(x, padding), kernel)
        if width * x.shape[3] <= _WIDEST_BAND:
            return _banded(_padded(x, padding), kernel)
        if min(x.shape[1:3]) < max(kernel.shape[:2]):
            return _patches(_padded(x, padding), kernel)
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _padded(x: jax.Array, padding: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _covering(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A window as large as its input has one position: a product."""
    return (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[-1]))[:, None, None, :]


def _banded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The rows under a window, side by side, times a matrix that has the kernel once for every horizontal position."""
    n, height, width, channels = x.shape
    rows, columns, _, features = kernel.shape
    out_height, out_width = height - rows + 1, width - columns + 1
    # Kernel rows padded to width + 1 and laid end to end, read in rows of width: each is the last moved by one pixel.
    padded = jnp.pad(kernel.transpose(0, 2, 3, 1), ((0, 0), (0, 0), (0, 0), (0, width + 1 - columns)))
    band = jnp.tile(padded, (1, 1, 1, out_width))[..., : out_width * width]
    band = band.reshape(rows, channels, features, out_width, width).transpose(0, 4, 1, 3, 2)
    strips = x.reshape(n, height, width * channels)
    strips = jnp.concatenate([strips[:, i : i + out_height] for i in range(rows)], axis=-1)
    product = strips @ band.reshape(rows * width * channels, out_width * features)
    return product.reshape(n, out_height, out_width, features)


def _patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What lies under the window at every position, side by side, times the kernel."""
    rows, columns, _, features = kernel.shape
    out_height, out_width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    shifted = [x[:, i : i + out_height, j : j + out_width] for i in range(rows) for j in range(columns)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, features)
