"""Noise that is independent for every pixel and channel of one image float32 [height, width, channels] in 0..1."""

import jax
import jax.numpy as jnp

from jaxcnn.corruptions.constants import at, published


def gaussian_noise(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add Gaussian noise, as of a sensor in low light.

    Standard deviation: MNIST-C 0.08, 0.12, 0.18, 0.26, 0.38; CIFAR-10-C 0.04, 0.06, 0.08, 0.09, 0.10.
    """
    deviations = published(image, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10))
    return image + at(deviations, severity) * jax.random.normal(key, image.shape)


def shot_noise(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Count photons: a pixel becomes a Poisson number, divided by the number of photons at full brightness.

    Photons: MNIST-C 60, 25, 12, 5, 3 (its files: severity 5); CIFAR-10-C 500, 250, 100, 75, 50.
    """
    photons = at(published(image, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50)), severity)
    return jax.random.poisson(key, image * photons).astype(jnp.float32) / photons


def impulse_noise(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Replace values by 0 or by 1, both with the same probability (salt and pepper).

    Share of values: MNIST-C 0.03, 0.06, 0.09, 0.17, 0.27 (its files: severity 4); CIFAR-10-C 0.01, 0.02, 0.03, 0.05,
    0.07.
    """
    share = at(published(image, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)), severity)
    drawn = jax.random.uniform(key, image.shape)
    return jnp.where(drawn < share, (drawn < share / 2).astype(jnp.float32), image)


def speckle_noise(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add Gaussian noise in proportion to the value of a pixel.

    Standard deviation, relative to the value: MNIST-C 0.15, 0.2, 0.35, 0.45, 0.6; CIFAR-10-C 0.06, 0.1, 0.12, 0.16,
    0.2.
    """
    deviations = published(image, (0.15, 0.2, 0.35, 0.45, 0.6), (0.06, 0.1, 0.12, 0.16, 0.2))
    return image * (1 + at(deviations, severity) * jax.random.normal(key, image.shape))
