"""Changes of the values of pixels, whatever their places, of one image float32 [height, width, channels] in 0..1."""

import jax
import jax.numpy as jnp

from jaxcnn.corruptions.constants import at, published


def brightness(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add to the value of the HSV colour, the largest channel; hue and saturation stay the same.

    Addend: MNIST-C 0.1, 0.2, 0.3, 0.4, 0.5 (its files: severity 5); CIFAR-10-C 0.05, 0.1, 0.15, 0.2, 0.3.
    """
    addend = at(published(image, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)), severity)
    value = image.max(-1, keepdims=True)
    brighter = jnp.minimum(value + addend, 1)
    # Black has no hue; it becomes grey.
    return jnp.where(value > 0, image * brighter / jnp.where(value > 0, value, 1), brighter)


def contrast(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Move every channel towards its mean over the image.

    Remaining contrast: MNIST-C 0.4, 0.3, 0.2, 0.1, 0.05; CIFAR-10-C 0.75, 0.5, 0.4, 0.3, 0.15.
    """
    remaining = at(published(image, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)), severity)
    mean = image.mean((0, 1), keepdims=True)
    return mean + remaining * (image - mean)


def saturate(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Change the saturation of the HSV colour; with one channel, which has none, change the value of the pixel.

    It is multiplied, then something is added. Severities 1 and 2 make it smaller, 3 to 5 larger. MNIST-C's code also
    moves the hue of grey pixels, which reduces their value by at most 4 %, by a slip. Grey pixels of a colour image
    become reddish where something is added, because grey has the hue of red.

    Factor and addend: MNIST-C (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2); CIFAR-10-C (0.3, 0), (0.1, 0),
    (1.5, 0), (2, 0.1), (2.5, 0.2).
    """
    table = published(
        image,
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    )
    factor, addend = at(table, severity)
    if image.shape[-1] == 1:
        return image * factor + addend
    value = image.max(-1, keepdims=True)
    depth = value - image.min(-1, keepdims=True)
    saturation = depth / jnp.where(value > 0, value, 1)
    wanted = jnp.clip(saturation * factor + addend, 0, 1)
    # A channel lies below the value by value x saturation x a number in 0..1 that only depends on the hue.
    red = jnp.array([[[0.0, 1.0, 1.0]]])
    below = jnp.where(depth > 0, (value - image) / jnp.where(depth > 0, depth, 1), red)
    return value * (1 - wanted * below)


def inverse(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Invert the image, with part of its contrast about mid-grey.

    Remaining contrast: 0.2, 0.4, 0.6, 0.8, 1, for every image; severity 5 is MNIST-C's only one, the others are not
    published.
    """
    return 0.5 + at((0.2, 0.4, 0.6, 0.8, 1), severity) * (0.5 - image)


def quantize(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Round values to as many levels, from 0 to 1, as a number of bits can tell apart.

    Bits: MNIST-C 5, 4, 3, 2, 1, for every image.
    """
    steps = 2 ** at((5, 4, 3, 2, 1), severity) - 1
    return jnp.round(image * steps) / steps
