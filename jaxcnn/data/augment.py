"""Preprocessing and random augmentation of images: pure functions that run on the device.

An image is uint8 in 0..255, or float32 in a scale that is left unchanged; uint8 becomes float32 in 0..1 at the first
arithmetic operation. Every function here accepts both, so preprocessing works with and without augmentation.
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

# Images, and pixels per image, from which `color_axes` estimates a covariance: eigenvalues are accurate to about 3 %.
_COLOR_IMAGES, _COLOR_PIXELS = 2000, 1000


def make_preprocess(data: Data) -> Callable[[jax.Array], jax.Array]:
    """Return a function from images [n, height, width, channels] to network input, float32 of the same shape.

    uint8 is divided by 255, float data is unchanged; channels are reversed for the order "bgr"; then `data.mean` is
    subtracted and the result is divided by `data.std`, both in the channel order of the network.

    Raises:
        InputError: raised by the returned function if the channels of the images do not match `data.mean`, `data.std`
            or `data.channel_order`.
    """
    return _preprocess(data.channel_order, data.mean, data.std)


@functools.lru_cache(maxsize=32)
def _preprocess(order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[jax.Array], jax.Array]:
    """Return the same function for equal settings, so that compiled programs that use it are found in the cache."""

    def preprocess(images: jax.Array) -> jax.Array:
        channels = images.shape[-1]
        if order == "bgr":
            if channels != 3:
                raise InputError(f"Data.channel_order is 'bgr'; images with {channels} channel(s) need 'rgb'.")
            images = images[..., ::-1]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                more = (
                    f", or {channels}, one for each channel of the images"
                    if channels > 1
                    else ", because the images have 1 channel"
                )
                raise InputError(f"Data.{name} is {values}; it must have 1 value{more}.")
        shift, divisor = (jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (mean, std))
        return (to_float(images) - shift) / divisor

    return preprocess


def make_augment(
    augment: Augment, colors: np.ndarray | jax.Array | None = None
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """Return a function `(key, images) -> images` that changes each image independently, or None if nothing is on.

    A square window of side `crop` is cut out at random: with `scale_jitter`, from the image resized to a randomly drawn
    short side (`resized_crop`); otherwise, from the image padded with `crop_pad` zeros on each side. Then each image is
    rotated by an angle uniform in ±`rotation`, scaled by a factor uniform in 1 ± `scale` and shifted by a distance
    uniform in ±`shift` pixels along each axis (fractions included), all in one bilinear `warp`; and mirrored with
    probability one half. Finally, with c being `colors` and a drawn from N(0, `pca_color`²) for each component of each
    image, a_i c_i is added to its pixels (Krizhevsky et al. 2012, section 4.1). The result depends only on the key, not
    on how the batch is distributed over devices.

    Images are [n, height, width, channels], uint8 or float; the result is float32, with uint8 scaled to 0..1.

    Args:
        augment: the changes to make.
        colors: from `color_axes`, traced or not; needed by `pca_color`.

    Raises:
        InputError: `pca_color` without `colors`. Raised by the returned function if images are smaller than the crop,
            even where padding makes up for it, because evaluation takes the central window without padding.
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
        images = to_float(images)
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
    """Return the central square of images, on which a network trained on random windows is evaluated.

    Args:
        images: [n, height, width, channels].
        size: side in pixels; the margin is rounded to even, as torchvision's CenterCrop does; None: the whole image.

    Returns:
        [n, size, size, channels], of the same dtype.

    Raises:
        InputError: the images are smaller than `size`.
    """
    if size is None:
        return images
    height, width = _check_crop(images, size)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[:, top : top + size, left : left + size]


def resized_crop(images: jax.Array, short_side: jax.Array, corner: jax.Array, size: int) -> jax.Array:
    """Return a square window of every resized image; only the window is computed.

    Resizing is bilinear, as in PIL and torchvision: when shrinking, the triangle filter is widened by the ratio
    (antialiased), and weights at the border of the image are normalized.

    Args:
        images: [n, height, width, channels], uint8 or float.
        short_side: [n], short side of the resized image in pixels, at least `size`; the aspect ratio is kept.
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

    return jax.vmap(window)(to_float(images), short_side, corner)


def color_axes(images: np.ndarray | Rows) -> np.ndarray:
    """Return the principal components of the colours of images, each multiplied by its eigenvalue (Krizhevsky et al.
    2012, section 4.1).

    The eigenvectors and eigenvalues belong to the covariance of pixels in 0..1 (float images: unscaled), the scale in
    which `make_augment` adds them; the product depends on the scale. The covariance is estimated from at most 1000
    pixels of each of at most 2000 images, the same selection for every experiment.

    Args:
        images: [n, height, width, channels], uint8 or float; the training images.

    Returns:
        float32 [channels, channels]; columns are components, the largest eigenvalue first. The sign of a component
        (irrelevant, because the random factor is symmetric) is chosen so that its entries sum to 0 or more.
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
    """Rotate, scale and shift every image about its centre; bilinear, zeros outside.

    The pixel at offset p from the centre of the result is read at R(angle)·(p - shift) / scale in the source, with
    R the matrix [[cos, sin], [-sin, cos]] over (row, column).

    Args:
        images: float32 [n, height, width, channels].
        shift: [n, 2], in pixels, down and right.
        angle: [n], in radians, counter-clockwise as displayed.
        scale: [n], above 0; 2 doubles the size of objects.

    Returns:
        float32 of the same shape.
    """
    n, height, width, channels = images.shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=jnp.float32)[None, :, None] - centre_y - shift[:, 0, None, None]
    x = jnp.arange(width, dtype=jnp.float32)[None, None, :] - centre_x - shift[:, 1, None, None]
    cos, sin = (f(angle)[:, None, None] / scale[:, None, None] for f in (jnp.cos, jnp.sin))
    # The image is padded with one zero on each side, so that the four neighbours of every sample lie inside.
    y, x = cos * y + sin * x + centre_y + 1, cos * x - sin * y + centre_x + 1
    y, x = jnp.clip(y, 0, height + 1), jnp.clip(x, 0, width + 1)
    top, left = jnp.minimum(jnp.floor(y), height), jnp.minimum(jnp.floor(x), width)
    down, right = (y - top)[..., None], (x - left)[..., None]
    stride = width + 2
    pixels = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(n, -1, channels)
    corner = (top * stride + left).astype(jnp.int32).reshape(n, -1, 1)

    # Four gathers of scalars along one axis: on a CPU 2 to 10 times faster than gathering 2x2 windows, and the batch
    # axis is not gathered over, so a sharded batch needs no communication.
    def neighbour(offset: int) -> jax.Array:
        return jnp.take_along_axis(pixels, corner + offset, axis=1, mode="promise_in_bounds").reshape(images.shape)

    upper = neighbour(0) * (1 - right) + neighbour(1) * right
    lower = neighbour(stride) * (1 - right) + neighbour(stride + 1) * right
    return upper * (1 - down) + lower * down


def _random_crop(augment: Augment, place_key: jax.Array, side_key: jax.Array, images: jax.Array) -> jax.Array:
    """Return a window of every image; all whole-pixel positions in the padded or resized image are equally likely."""
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
    """Return height and width of the images; InputError if they are smaller than the crop."""
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise InputError(
            f"Augment.crop is {size}; images are {height}x{width}, so it must be at most {min(height, width)}. Lower "
            "config.augment.crop or raise config.data.image_size."
        )
    return height, width


def to_float(images: jax.Array) -> jax.Array:
    """Convert to float32; uint8 in 0..255 becomes 0..1."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)
