"""Pixels to network input, and random changes on the way: pure functions that run on the device.

An image is uint8 in 0..255 or float32 as it is meant to be; uint8 becomes float32 in 0..1 where it first meets
arithmetic. Every function here takes both, so augmentation and preprocessing compose in either presence.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import Augment, Data
from jaxcnn.data.dataset import Rows
from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.runtime.errors import InputError

# Images, and pixels of each, from which `color_axes` estimates a covariance: eigenvalues come out right to some 3 %.
_COLOR_IMAGES, _COLOR_PIXELS = 2000, 1000


def make_preprocess(data: Data) -> Callable[[jax.Array], jax.Array]:
    """A function from images [n, height, width, channels] to network input, float32 of the same shape.

    uint8 is divided by 255, float data is taken as it is; channels are reversed for the order "bgr"; then `data.mean`
    is subtracted and `data.std` divides, both in the order of the network.

    Raises:
        InputError: when the function meets images whose channels `data.mean`, `data.std` or `data.channel_order` do not
            match.
    """
    return _preprocess(data.channel_order, data.mean, data.std)


@functools.lru_cache(maxsize=32)
def _preprocess(order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[jax.Array], jax.Array]:
    """One function for equal settings, so that what is compiled with it is found again."""

    def preprocess(images: jax.Array) -> jax.Array:
        channels = images.shape[-1]
        if order == "bgr":
            if channels != 3:
                raise InputError(f"Data.channel_order is 'bgr'; images with {channels} channel(s) need 'rgb'.")
            images = images[..., ::-1]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise InputError(
                    f"Data.{name} is {values}; it must have 1 value, or {channels}, one for each channel of the images."
                )
        shift, divisor = (jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (mean, std))
        return (_to_float(images) - shift) / divisor

    return preprocess


def make_augment(
    augment: Augment, colors: np.ndarray | jax.Array | None = None
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """A function `(key, images) -> images` that changes every image on its own, or None where nothing is on.

    A square window of side `crop` is cut out at random, with `scale_jitter` from the image resized to a short side
    drawn for it (`resized_crop`), else from the image with `crop_pad` zeros around. Then each image is turned by an
    angle uniform in ±`rotation`, sized by a factor uniform in 1 ± `scale`, moved by uniform ±`shift` pixels along each
    axis (fractions included), all in one bilinear `warp`; mirrored with probability one half; and, c being `colors`
    and a a draw from N(0, `pca_color`²) for each component of each image, a_i c_i is added to its pixels (Krizhevsky et
    al. 2012, section 4.1). The result depends on the key alone, not on how the batch lies on devices.

    Images are [n, height, width, channels], uint8 or float; what comes back is float32, with uint8 scaled to 0..1.

    Args:
        augment: which changes.
        colors: from `color_axes`, traced or not; needed by `pca_color`.

    Raises:
        InputError: `pca_color` without `colors`; or, when the function meets them, images smaller than the crop (of
            which evaluation, without padding, could not take the central window).
    """
    if augment.pca_color and colors is None:
        raise InputError(f"Augment.pca_color is {augment.pca_color}; make_augment needs colors=color_axes(images).")
    moves = augment.shift > 0 or augment.rotation > 0 or augment.scale > 0
    if not moves and not augment.flip and augment.crop is None and not augment.pca_color:
        return None

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        n = images.shape[0]
        keys = jax.random.split(key, 7)
        shift_key, rotation_key, scale_key, flip_key, place_key, side_key, color_key = keys
        if augment.crop is not None:
            images = _random_crop(augment, place_key, side_key, images)
        images = _to_float(images)
        if moves:
            shift = augment.shift * jax.random.uniform(shift_key, (n, 2), minval=-1.0)
            angle = jnp.deg2rad(augment.rotation) * jax.random.uniform(rotation_key, (n,), minval=-1.0)
            scale = 1 + augment.scale * jax.random.uniform(scale_key, (n,), minval=-1.0)
            images = warp(images, shift, angle, scale)
        if augment.flip:
            mirrored = jax.random.bernoulli(flip_key, shape=(n, 1, 1, 1))
            images = jnp.where(mirrored, images[:, :, ::-1], images)
        if augment.pca_color:
            share = augment.pca_color * jax.random.normal(color_key, (n, 1, len(colors)))
            images += jnp.sum(share * jnp.asarray(colors)[None], axis=-1)[:, None, None, :]
        return images

    return change


def center_crop(images: jax.Array, size: int | None) -> jax.Array:
    """The central square of images: what evaluation sees of a network trained on random windows.

    Args:
        images: [n, height, width, channels].
        size: side in pixels; the margin is rounded to even, as torchvision's CenterCrop does; None: the whole image.

    Returns:
        [n, size, size, channels], of the same dtype.

    Raises:
        InputError: the images are smaller.
    """
    if size is None:
        return images
    height, width = _check_crop(images, size)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[:, top : top + size, left : left + size]


def resized_crop(images: jax.Array, short_side: jax.Array, corner: jax.Array, size: int) -> jax.Array:
    """A square window of every image after the image is resized: only the window is computed.

    Resizing is bilinear, as PIL's and torchvision's: where it shrinks, the triangle is widened by the ratio
    (antialiased), and weights at the border of the image are normalized.

    Args:
        images: [n, height, width, channels], uint8 or float.
        short_side: [n], of the resized image, in pixels, `size` or more; both axes have one ratio.
        corner: [n, 2], row and column of the window's first pixel in the resized image.
        size: side of the window in pixels.

    Returns:
        float32 [n, size, size, channels], with uint8 scaled to 0..1.
    """
    short, channels = min(images.shape[1:3]), images.shape[3]

    def window(image: jax.Array, side: jax.Array, corner: jax.Array) -> jax.Array:
        ratio = jnp.full(2, side / short, jnp.float32)
        start = -corner.astype(jnp.float32)
        return jax.image.scale_and_translate(image, (size, size, channels), (0, 1), ratio, start, "linear")

    return jax.vmap(window)(_to_float(images), short_side, corner)


def color_axes(images: np.ndarray | Rows) -> np.ndarray:
    """Principal components of the colours of images, each times its eigenvalue (Krizhevsky et al. 2012, section 4.1).

    The eigenvectors and eigenvalues are those of the covariance of pixels in 0..1 (float images: as they are), the
    scale in which `make_augment` adds them; the product depends on it. They are taken from at most 1000
    pixels of each of at most 2000 images, drawn alike for every experiment.

    Args:
        images: [n, height, width, channels], uint8 or float; the training part.

    Returns:
        float32 [channels, channels]; columns are components, the largest eigenvalue first. The sign of a component,
        which its draw makes irrelevant, is such that its entries sum to 0 or more.
    """
    n, height, width, channels = images.shape
    rows = np.sort(shuffled(n, 0, Stream.COLOR_IMAGES)[:_COLOR_IMAGES])
    places = np.sort(shuffled(height * width, 0, Stream.COLOR_PIXELS)[:_COLOR_PIXELS])
    some = (images[rows[i : i + 100]] for i in range(0, len(rows), 100))
    pixels = np.concatenate([x.reshape(-1, height * width, channels)[:, places] for x in some]).reshape(-1, channels)
    pixels = pixels / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False, bias=True).reshape(channels, channels))
    vectors *= np.where(vectors.sum(0) < 0, -1, 1)
    return (vectors * values)[:, ::-1].astype(np.float32)


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


def _random_crop(augment: Augment, place_key: jax.Array, side_key: jax.Array, images: jax.Array) -> jax.Array:
    """A window of every image; every place that is a whole pixel of the padded or resized image is as likely."""
    size, n = augment.crop, images.shape[0]
    height, width = _check_crop(images, size)
    if augment.scale_jitter is None:
        pad = augment.crop_pad
        images = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        room = jnp.array([[height, width]]) + 2 * pad - size
        corner = jax.random.randint(place_key, (n, 2), 0, room + 1)
        shape = (size, size, images.shape[3])
        return jax.vmap(lambda image, c: jax.lax.dynamic_slice(image, (c[0], c[1], 0), shape))(images, corner)
    low, high = augment.scale_jitter
    short_side = jax.random.randint(side_key, (n,), low, high + 1)
    room = short_side[:, None] * jnp.array([[height, width]]) // min(height, width) - size
    corner = jax.random.randint(place_key, (n, 2), 0, room + 1)
    return resized_crop(images, short_side, corner, size)


def _check_crop(images: jax.Array, size: int) -> tuple[int, int]:
    """Height and width of the images, unless they are smaller than the crop."""
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise InputError(
            f"Augment.crop is {size}; images are {height}x{width}, so it must be at most {min(height, width)}. Lower "
            "config.augment.crop or raise config.data.image_size."
        )
    return height, width


def _to_float(images: jax.Array) -> jax.Array:
    """float32; uint8 in 0..255 becomes 0..1."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)
