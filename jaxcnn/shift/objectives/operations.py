"""The base operations of AugMix: those of its published code, which leave out what resembles the test corruptions
(contrast, brightness, colour, sharpness).

An image is float32 [height, width, channels] with whole numbers in 0..255, as in PIL, whose results these are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
TONAL = ("autocontrast", "equalize", "posterize", "solarize")
OPERATIONS = (*GEOMETRIC, *TONAL)
"""Names of the operations; their numbers are the places in this tuple."""


def operate(image: jax.Array, number: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Return an image after one operation.

    All operations are one resampling and one table of tones, of which the other is the identity, so that the operation
    may be traced and differ between the images of a batch without computing all of them.

    Args:
        image: float32 [height, width, channels], whole numbers in 0..255.
        number: place of the operation in `OPERATIONS`.
        level: strength from 0 to 10: rotation by up to 30 degrees, shear by up to 0.3, translation by up to a third of
            the side, 4 to 0 bits (posterize), threshold of 256 to 0 (solarize); rounded down to whole degrees, pixels,
            bits and tones.
        sign: 1 or -1, the direction of geometric operations.
    """
    moved = _resampled(image, number, level, sign)
    tones = jax.vmap(lambda plane: _table(plane, number, level), in_axes=-1, out_axes=-1)(moved)
    index = moved.astype(jnp.int32)
    toned = jnp.take_along_axis(tones, index.reshape(-1, index.shape[-1]), axis=0)
    return toned.reshape(image.shape)


def _resampled(image: jax.Array, number: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Return the image whose pixel at (x, y) is read, bilinearly, where an affine map sends (x, y); 0 outside."""
    height, width, channels = image.shape
    angle = jnp.deg2rad(sign * jnp.floor(3 * level))
    shear = sign * 0.03 * level
    # A third of the width, as in the published code, and of the height in the other direction.
    right, down = (sign * jnp.floor(level * side / 30) for side in (width, height))
    cos, sin, one, zero = jnp.cos(angle), jnp.sin(angle), jnp.ones(()), jnp.zeros(())
    centre_x, centre_y = width / 2, height / 2
    maps: dict[str, tuple[jax.Array, ...]] = {
        "rotate": (
            *(cos, -sin, centre_x - cos * centre_x + sin * centre_y),
            *(sin, cos, centre_y - sin * centre_x - cos * centre_y),
        ),
        "shear_x": (one, shear, zero, zero, one, zero),
        "shear_y": (one, zero, zero, shear, one, zero),
        "translate_x": (one, zero, right, zero, one, zero),
        "translate_y": (one, zero, zero, zero, one, down),
    }
    identity = (one, zero, zero, zero, one, zero)
    table = jnp.stack([jnp.stack(maps.get(name, identity)) for name in OPERATIONS])
    a, b, c, d, e, f = table[number]
    # As in PIL: pixels have their centres at halves, and those beyond the middle of the border pixels repeat them.
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    places = [source_y - 0.5, source_x - 0.5]
    planes = [map_coordinates(image[..., i], places, 1, "nearest") for i in range(channels)]
    # The sum of weights that are not exact may fall just below a whole number.
    values = jnp.floor(jnp.stack(planes, -1) + 1e-3)
    return jnp.where((number < len(GEOMETRIC)), jnp.where(inside[..., None], values, 0), image)


def _table(plane: jax.Array, number: jax.Array, level: jax.Array) -> jax.Array:
    """Return the new tone, float32 [256], of each tone of one channel [height, width]."""
    tones = jnp.arange(256)
    whole = plane.astype(jnp.int32)
    tables: dict[str, Callable[[], jax.Array]] = {
        "autocontrast": lambda: _autocontrast(whole, tones),
        "equalize": lambda: _equalized(whole, tones),
        "posterize": lambda: _posterized(tones, jnp.floor(0.4 * level).astype(jnp.int32)),
        "solarize": lambda: jnp.where(tones < 256 - jnp.floor(25.6 * level), tones, 255 - tones),
    }
    found = jnp.stack([tones, *(tables[name]().astype(jnp.int32) for name in TONAL)])
    return found[jnp.maximum(number - len(GEOMETRIC) + 1, 0)].astype(jnp.float32)


def _autocontrast(plane: jax.Array, tones: jax.Array) -> jax.Array:
    """Stretch the tones from the darkest to the brightest to 0..255, in whole numbers; PIL's floating-point numbers
    give a tone less where they fall just below one."""
    low, high = jnp.min(plane), jnp.max(plane)
    stretched = (tones - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), tones)


def _equalized(plane: jax.Array, tones: jax.Array) -> jax.Array:
    """Spread the tones such that each is about equally frequent."""
    counts = jnp.zeros(256, jnp.int32).at[plane.reshape(-1)].add(1)
    brightest = jnp.max(jnp.where(counts > 0, tones, 0))
    step = (plane.size - counts[brightest]) // 255
    below = jnp.cumsum(counts) - counts
    spread = (step // 2 + below) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.clip(spread, 0, 255), tones)


def _posterized(tones: jax.Array, fewer: jax.Array) -> jax.Array:
    """Keep the first 4 - fewer bits of each tone."""
    return (tones >> (4 + fewer)) << (4 + fewer)
