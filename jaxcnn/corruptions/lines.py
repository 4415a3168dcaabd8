"""Lines and stripes over one image float32 [height, width, channels] in 0..1, at the same places in all channels."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.corruptions.constants import at

# The largest number of lines, and half the width of a line, beyond which it is not seen, as in MNIST-C.
_MOST, _FADE = 5, 2.3
# Length and height of half a tooth of a zigzag, in pixels, and its distance from the sides of the image, as in MNIST-C.
_TOOTH, _MARGIN = 2.0, 2


def stripe(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Invert a stripe along the left and the right side.

    Width of each stripe as a fraction of the image: 3/28, 5/28, 7/28, 9/28, 11/28, for every image; severity 3 is
    MNIST-C's only one, the others are not published.
    """
    width = image.shape[1]
    stripes = jnp.round(width * at((3 / 28, 5 / 28, 7 / 28, 9 / 28, 11 / 28), severity))
    columns = np.arange(width)[None, :, None]
    return jnp.where((columns < stripes) | (columns >= width - stripes), 1 - image, image)


def dotted_line(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add white lines with gaps of two pixels, from the left to the right side, between rows drawn at random.

    Number of lines: 1, 2, 3, 4, 5, for every image; severity 1 is MNIST-C's only one, the others are not published.
    """
    height, width, _ = image.shape
    ends = jnp.floor((height - 1) * jax.random.uniform(key, (_MOST, 2)))
    lines = jax.vmap(lambda rows: _line(0.0, rows[0], width - 1.0, rows[1], height, width))(ends)
    return image + _first(lines, severity) * (np.arange(width) // 2 % 2 == 1)[None, :, None]


def zigzag(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add white zigzag lines along lines from left to right, whose ends differ by at most 5 rows.

    Number of lines: 1, 2, 3, 4, 5, for every image; severity 1 is MNIST-C's only one, the others are not published.
    """
    height, width, _ = image.shape
    place, slope = jax.random.uniform(key, (2, _MOST))
    starts, rises = jnp.floor((height - 1) * place), jnp.floor(10 * slope) - 5
    lines = jax.vmap(lambda start, rise: _zigzag(start, rise, height, width))(starts, rises)
    return image + _first(lines, severity)


def _first(lines: jax.Array, severity: jax.Array) -> jax.Array:
    """Return the sum [height, width, 1] of the first `severity` of some lines [_MOST, height, width]."""
    used = np.arange(1, _MOST + 1) <= severity
    return jnp.tensordot(used.astype(jnp.float32), lines, 1)[..., None]


def _zigzag(start: jax.Array, rise: jax.Array, height: int, width: int) -> jax.Array:
    """Return one zigzag line [height, width] from a row at the left to `rise` rows below it at the right."""
    run = max(width - 2 * _MARGIN - 1, 1)
    angle = jnp.arctan(rise / run)
    length = run / jnp.cos(angle)
    # Along the line: 0, then teeth to one side and the other, then its end.
    most = int((math.hypot(run, 5) - _TOOTH) // (2 * _TOOTH)) + 1
    number = jnp.floor((length - _TOOTH) / (2 * _TOOTH)) + 1
    teeth = np.arange(most)
    along = jnp.where(teeth < number, (2 * teeth + 1) * _TOOTH, length)
    off = jnp.where(teeth < number, _TOOTH * (-1.0) ** teeth, 0)
    along, off = (jnp.concatenate([jnp.zeros(1), x, e[None]]) for x, e in ((along, length), (off, 0 * length)))
    columns = jnp.cos(angle) * along - jnp.sin(angle) * off + _MARGIN
    rows = jnp.sin(angle) * along + jnp.cos(angle) * off + start
    parts = jax.vmap(_line, (0, 0, 0, 0, None, None))
    return parts(columns[:-1], rows[:-1], columns[1:], rows[1:], height, width).sum(0)


def _line(left: jax.Array, top: jax.Array, right: jax.Array, bottom: jax.Array, height: int, width: int) -> jax.Array:
    """Return a line [height, width] from one point (column, row) to another further right; 1 on it, fading to 0."""
    columns, rows = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    run = right - left
    middle = top + (bottom - top) / jnp.where(run > 0, run, 1) * (columns - left)
    distance = jnp.minimum(jnp.abs(rows - middle), _FADE * (1 - 1e-6))
    within = (run > 0) & (columns >= jnp.floor(left)) & (columns < jnp.ceil(right))
    return jnp.where(within, jnp.maximum(jnp.log(1 - distance / _FADE) + 1, 0), 0)
