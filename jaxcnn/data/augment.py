"""Pixels to network input, and random changes on the way: pure functions that run on the device.

An image is uint8 in 0..255 or float32 as it is meant to be; uint8 becomes float32 in 0..1 where it first meets
arithmetic. Every function here takes both, so augmentation and preprocessing compose in either presence.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.config import Augment, Data
from jaxcnn.errors import InputError


def make_preprocess(data: Data) -> Callable[[jax.Array], jax.Array]:
    """A function from images [n, height, width, channels] to network input, float32 of the same shape.

    uint8 is divided by 255, float data is taken as it is; then `data.mean` is subtracted and `data.std` divides.

    Raises:
        InputError: when the function meets images whose channels `data.mean` or `data.std` do not match.
    """

    def preprocess(images: jax.Array) -> jax.Array:
        channels = images.shape[-1]
        for name, values in (("mean", data.mean), ("std", data.std)):
            if len(values) not in (1, channels):
                raise InputError(
                    f"Data.{name} is {values}; it must have 1 value, or {channels}, one for each channel of the images."
                )
        mean, std = (jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (data.mean, data.std))
        return (_to_float(images) - mean) / std

    return preprocess


def make_augment(augment: Augment) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """A function `(key, images) -> images` that changes every image on its own, or None where nothing is on.

    Each image is turned by an angle uniform in ±`rotation`, sized by a factor uniform in 1 ± `scale`, moved by
    uniform ±`shift` pixels along each axis (fractions included), all in one bilinear `warp`; then mirrored with
    probability one half. The result depends on the key alone, not on how the batch lies on devices.

    Images are [n, height, width, channels], uint8 or float; what comes back is float32, with uint8 scaled to 0..1.
    """
    moves = augment.shift > 0 or augment.rotation > 0 or augment.scale > 0
    if not moves and not augment.flip:
        return None

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        n = images.shape[0]
        shift_key, rotation_key, scale_key, flip_key = jax.random.split(key, 4)
        images = _to_float(images)
        if moves:
            shift = augment.shift * jax.random.uniform(shift_key, (n, 2), minval=-1.0)
            angle = jnp.deg2rad(augment.rotation) * jax.random.uniform(rotation_key, (n,), minval=-1.0)
            scale = 1 + augment.scale * jax.random.uniform(scale_key, (n,), minval=-1.0)
            images = warp(images, shift, angle, scale)
        if augment.flip:
            mirrored = jax.random.bernoulli(flip_key, shape=(n, 1, 1, 1))
            images = jnp.where(mirrored, images[:, :, ::-1], images)
        return images

    return change


def warp(images: jax.Array, shift: jax.Array, angle: jax.Array, scale: jax.Array) -> jax.Array:
    """Turn, size and move every image about its centre; bilinear, zeros outside.

    The pixel at offset p from the centre of the result is taken from R(angle)·(p - shift) / scale in the source, with
    R the matrix [[cos, sin], [-sin, cos]] over (row, column).

    Args:
        images: float32 [n, height, width, channels].
        shift: [n, 2], pixels down and right.
        angle: [n], radians, counter-clockwise as displayed.
        scale: [n], above 0; 2 doubles what is seen.

    Returns:
        float32 of the same shape.
    """
    n, height, width, channels = images.shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=jnp.float32)[None, :, None] - centre_y - shift[:, 0, None, None]
    x = jnp.arange(width, dtype=jnp.float32)[None, None, :] - centre_x - shift[:, 1, None, None]
    cos, sin = (f(angle)[:, None, None] / scale[:, None, None] for f in (jnp.cos, jnp.sin))
    # In the image with a border of one zero, every sample that matters has its four neighbours inside.
    y, x = cos * y + sin * x + centre_y + 1, cos * x - sin * y + centre_x + 1
    y, x = jnp.clip(y, 0, height + 1), jnp.clip(x, 0, width + 1)
    top, left = jnp.minimum(jnp.floor(y), height), jnp.minimum(jnp.floor(x), width)
    down, right = (y - top)[..., None], (x - left)[..., None]
    stride = width + 2
    pixels = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(n, -1, channels)
    corner = (top * stride + left).astype(jnp.int32).reshape(n, -1, 1)

    # Four gathers of scalars along one axis: on a CPU 2 to 10 times faster than gathering 2x2 windows, and the batch
    # axis stays apart, so a sharded batch needs no communication.
    def neighbour(offset: int) -> jax.Array:
        return jnp.take_along_axis(pixels, corner + offset, axis=1, mode="promise_in_bounds").reshape(images.shape)

    upper = neighbour(0) * (1 - right) + neighbour(1) * right
    lower = neighbour(stride) * (1 - right) + neighbour(stride + 1) * right
    return upper * (1 - down) + lower * down


def _to_float(images: jax.Array) -> jax.Array:
    """float32; uint8 in 0..255 becomes 0..1."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)
