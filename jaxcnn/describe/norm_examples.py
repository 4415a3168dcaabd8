"""Worked examples of batch normalization and local response normalization on real images."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import norms
from jaxcnn.config import Data
from jaxcnn.data import Dataset, make_preprocess
from jaxcnn.data.sources import shuffled
from jaxcnn.describe.digits_program import digits, run_once
from jaxcnn.layers import Layer, trace
from jaxcnn.models import Chain, LeNet5

_BATCH = 32


class BatchNormExample(NamedTuple):
    """A batch of digits and each step of its batch normalization after C1 of an untrained LeNet-5.

    Attributes:
        images: uint8 [n, 32, 32, 1].
        kernel: kernel of C1, [5, 5, 1, 6].
        x: output of C1, [n, 28, 28, 6].
        batch: statistics of x.
        normalised: x normalized with `batch`.
        scale, shift: [6], set by hand, because the initial values 1 and 0 would change nothing.
        y: x normalized, scaled and shifted, as in training.
        restored: x normalized, scaled by the standard deviation of the batch and shifted by its mean, which is x.
        batches: statistics of random training batches of n images, [batches, 6] each.
        population: population statistics from `batches`, by the paper's algorithm 2.
        running: moving average of `batches`.
        inferred: y with the population statistics instead of the batch statistics.
    """

    images: np.ndarray
    kernel: np.ndarray
    x: np.ndarray
    batch: norms.Statistics
    normalised: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    y: np.ndarray
    restored: np.ndarray
    batches: norms.Statistics
    population: norms.Statistics
    running: norms.Statistics
    inferred: np.ndarray


@functools.cache
def batch_norm_example() -> BatchNormExample:
    """Return the example for the first test images of scikit-learn's digits; the population is the training images."""
    scans, init, outputs = _on_digits(LeNet5().layers()[:1], mean=0.08, std=0.78)
    train, images = scans.train.images, scans.test.images[:_BATCH]
    order = shuffled(len(train), 0)[: len(train) // _BATCH * _BATCH].reshape(-1, _BATCH)
    scale, shift = jnp.array([1.5, 0.5, 1.0, 2.0, 0.75, 1.25]), jnp.array([-1.0, 1.0, 0.0, 0.5, -0.5, 1.5])

    def example(key: jax.Array, images: jax.Array, train: jax.Array) -> dict[str, Any]:
        variables = init(key)
        x = outputs(variables, images)
        channels, count = x.shape[-1], x.size // x.shape[-1]
        batch = norms.batch_statistics(x)
        batches = jax.lax.map(lambda images: norms.batch_statistics(outputs(variables, images)), train)
        population = norms.population_statistics("algorithm2", *batches, [count] * len(train))

        def update(running: norms.Statistics, batch: norms.Statistics) -> tuple[norms.Statistics, None]:
            unbiased = norms.Statistics(batch.mean, norms.unbiased_variance(batch.var, count))
            return norms.update_running(running, unbiased, momentum=norms.BatchNorm.momentum), None

        running, _ = jax.lax.scan(update, norms.Statistics(jnp.zeros(channels), jnp.ones(channels)), batches)
        deviation = jnp.sqrt(batch.var + norms.BatchNorm.epsilon)
        return {
            "kernel": variables["params"]["c1"]["kernel"],
            "x": x,
            "batch": batch,
            "normalised": norms.batch_norm(x, *batch, jnp.ones(channels), jnp.zeros(channels)),
            "scale": scale,
            "shift": shift,
            "y": norms.batch_norm(x, *batch, scale, shift),
            "restored": norms.batch_norm(x, *batch, deviation, batch.mean),
            "batches": batches,
            "population": population,
            "running": running,
            "inferred": norms.batch_norm(x, *population, scale, shift),
        }

    return BatchNormExample(images=images, **run_once(example, jax.random.key(0), images, train[order]))


class LocalResponseExample(NamedTuple):
    """The responses of C3 of an untrained LeNet-5 with ReLU at one position of a digit, before and after the norm.

    Attributes:
        image: uint8 [32, 32, 1].
        corner: row and column of the first pixel of the position's receptive field.
        side: side of the receptive field, in pixels.
        size, k, alpha, beta: the paper's constants.
        channel: the map with the largest response.
        raw: responses to pixels in 0..255, [16].
        raw_normalised: `raw`, normalized.
        unit: responses to the same pixels in 0..1, [16].
        unit_normalised: `unit`, normalized.
    """

    image: np.ndarray
    corner: tuple[int, int]
    side: int
    size: int
    k: float
    alpha: float
    beta: float
    channel: int
    raw: np.ndarray
    raw_normalised: np.ndarray
    unit: np.ndarray
    unit_normalised: np.ndarray

    def window(self, channel: int) -> range:
        """Return the maps whose squares are summed for a map, including the map itself."""
        low, high = channel - self.size // 2, channel + (self.size - 1) // 2
        return range(max(low, 0), min(high + 1, len(self.raw)))


@functools.cache
def local_response_example() -> LocalResponseExample:
    """Return the example for a position in the first test images of scikit-learn's digits where many maps respond."""
    layers = LeNet5(activation="relu").layers()
    layers = layers[: [layer.name for layer in layers].index("act3") + 1]
    scans, init, outputs = _on_digits(layers, mean=0.0, std=1.0)
    images, paper = scans.test.images[:_BATCH], norms.LRN_PRESETS["paper"]

    def example(key: jax.Array, images: jax.Array) -> tuple[jax.Array, ...]:
        # Without biases, rectified responses scale linearly with the pixels.
        unit = outputs(init(key), images)
        raw = 255 * unit
        return raw, unit, *(norms.local_response_norm(x, **paper) for x in (raw, unit))

    raw, unit, raw_normalised, unit_normalised = run_once(example, jax.random.key(0), images)
    share = response_share(raw, raw_normalised)
    place = _most_active(raw, share)
    rows = trace(layers, images.shape[1:])
    step = math.prod(row.info.stride for row in rows)
    return LocalResponseExample(
        image=images[place[0]],
        corner=(int(place[1]) * step, int(place[2]) * step),
        side=rows[-1].receptive_field,
        size=paper["size"],
        k=paper["k"],
        alpha=paper["alpha"],
        beta=paper["beta"],
        channel=int(raw[place].argmax()),
        raw=raw[place],
        raw_normalised=raw_normalised[place],
        unit=unit[place],
        unit_normalised=unit_normalised[place],
    )


def _most_active(raw: np.ndarray, share: np.ndarray) -> tuple[int, ...]:
    """Return the position with the most active maps and, among several, the one whose shares differ most."""
    active = np.sum(raw > 0, axis=-1)
    spread = np.max(share, axis=-1, initial=0, where=raw > 0) - np.min(share, axis=-1, initial=1, where=raw > 0)
    return np.unravel_index(np.argmax(active + spread), active.shape)


def response_share(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the share of each response that a norm leaves, after / before; NaN where the response was 0."""
    return np.divide(after, before, out=np.full_like(before, np.nan), where=before > 0)


def _on_digits(
    layers: tuple[Layer, ...], mean: float, std: float
) -> tuple[Dataset, Callable[[jax.Array], Any], Callable[[Any, jax.Array], jax.Array]]:
    """Return the digits, a function that initializes the layers, and one that applies them to images."""
    data = Data(source="digits", mean=(mean,), std=(std,))
    # XLA compiles its own convolution faster than the other formulations.
    preprocess, net = make_preprocess(data), Chain(layers, ops="lax")
    image = jnp.zeros((1, *digits().test.images.shape[1:]))
    return (
        digits(),
        lambda key: net.init(key, image, train=False),
        lambda variables, images: net.apply(variables, preprocess(images), train=False),
    )
