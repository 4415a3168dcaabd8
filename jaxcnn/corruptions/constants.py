"""The constants of a severity.

MNIST-C's (Mu and Gilmer 2019, their code for 28x28 images) are used for images with one channel, CIFAR-10-C's
(Hendrycks and Dietterich 2019, their code for 32x32 images) for images with three. Lengths are in pixels, and are the
same for images of every size, unless a docstring calls them a fraction of the side.
"""

from typing import Any

import jax
import jax.numpy as jnp


def published(image: jax.Array, mnist_c: tuple[Any, ...], cifar_c: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the table for an image [height, width, channels]: MNIST-C's for one channel, CIFAR-10-C's for three."""
    return mnist_c if image.shape[-1] == 1 else cifar_c


def at(table: Any, severity: jax.Array) -> jax.Array:
    """Return the entry of a table, [5] or [5, ...], for a severity from 1 to 5, traced or not."""
    return jnp.asarray(table, jnp.float32)[severity - 1]
