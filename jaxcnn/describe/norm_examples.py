"""What batch normalization and local response normalization make of a real batch, step by step, in numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import norms
from jaxcnn.config import Data
from jaxcnn.data import Dataset, load, make_preprocess
from jaxcnn.data.sources import shuffled
from jaxcnn.layers import Layer, trace
from jaxcnn.models import Chain, LeNet5

_BATCH = 32


class BatchNormExample(NamedTuple):
    """A batch of digits on its way through batch normalization, behind C1 of an untrained LeNet-5.

    Attributes:
        images: uint8 [n, 32, 32, 1].
        kernel: of C1, [5, 5, 1, 6].
        x: what C1 puts out, [n, 28, 28, 6].
        batch: its statistics.
        normalised: x with these.
        scale, shift: [6], chosen by hand: a fresh layer has 1 and 0, which would change nothing.
        y: x normalised, scaled and shifted, as in training.
        restored: x again, normalised, scaled by the batch's standard deviation and shifted by its mean.
        batches: statistics of random training batches of n images, [batches, 6] each.
        population: from these by the paper's algorithm 2.
        running: from these by moving average.
        inferred: y with the statistics of the population instead of its own.
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
    """The first test images of scikit-learn's digits, with a population of all training images."""
    digits, init, outputs = _digits(LeNet5().layers()[:1], mean=0.08, std=0.78)
    train, images = digits.train.images, digits.test.images[:_BATCH]
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

    return BatchNormExample(images=images, **_computed(example, images, train[order]))


class LocalResponseExample(NamedTuple):
    """One position of C3 of an untrained, rectified LeNet-5 on a digit, whose maps are to be normalised.

    Attributes:
        image: uint8 [32, 32, 1].
        corner: row and column of the first pixel that the position sees.
        side: of the square that it sees, in pixels.
        size, k, alpha, beta: the paper's constants.
        channel: the map that is followed, the one with the largest response.
        raw: responses to pixels in 0..255, [16].
        raw_normalised: these, normalised.
        unit: responses to the same pixels in 0..1, [16].
        unit_normalised: these, normalised.
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
        """The maps that a map is compared with, itself among them."""
        low, high = channel - self.size // 2, channel + (self.size - 1) // 2
        return range(max(low, 0), min(high + 1, len(self.raw)))


@functools.cache
def local_response_example() -> LocalResponseExample:
    """A position in the first test images of scikit-learn's digits at which many maps respond."""
    layers = LeNet5(activation="relu").layers()
    layers = layers[: [layer.name for layer in layers].index("act3") + 1]
    digits, init, outputs = _digits(layers, mean=0.0, std=1.0)
    images, paper = digits.test.images[:_BATCH], norms.LRN_PRESETS["paper"]

    def example(key: jax.Array, images: jax.Array) -> tuple[jax.Array, ...]:
        # Rectified maps without biases grow as their pixels do.
        unit = outputs(init(key), images)
        raw = 255 * unit
        return raw, unit, *(norms.local_response_norm(x, **paper) for x in (raw, unit))

    raw, unit, raw_normalised, unit_normalised = _computed(example, images)
    share = response_share(raw, raw_normalised)
    place = _telling(raw, share)
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


def _telling(raw: np.ndarray, share: np.ndarray) -> tuple[int, ...]:
    """The position with most active maps; of several the one with most difference in what is left of responses."""
    active = np.sum(raw > 0, axis=-1)
    spread = np.max(share, axis=-1, initial=0, where=raw > 0) - np.min(share, axis=-1, initial=1, where=raw > 0)
    return np.unravel_index(np.argmax(active + spread), active.shape)


def response_share(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What a norm leaves of each response, after / before; NaN where there was none."""
    return np.divide(after, before, out=np.full_like(before, np.nan), where=before > 0)


@functools.cache
def _scans() -> Dataset:
    return load(Data(source="digits"), seed=0)


def _digits(
    layers: tuple[Layer, ...], mean: float, std: float
) -> tuple[Dataset, Callable[[jax.Array], Any], Callable[[Any, jax.Array], jax.Array]]:
    """Scikit-learn's digits; the variables of the layers by key; the outputs of the layers by variables and images."""
    data = Data(source="digits", mean=(mean,), std=(std,))
    # XLA compiles its own convolution sooner than our formulations.
    digits, preprocess, net = _scans(), make_preprocess(data), Chain(layers, ops="lax")
    image = jnp.zeros((1, *digits.test.images.shape[1:]))
    return (
        digits,
        lambda key: net.init(key, image, train=False),
        lambda variables, images: net.apply(variables, preprocess(images), train=False),
    )


def _computed(example: Callable[..., Any], *images: np.ndarray) -> Any:
    """What a function of a random key and images returns, as NumPy arrays, compiled as one program."""
    # The program runs once and quickly, so optimizing it would take longer than it saves.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.device_get(jax.jit(example, compiler_options=options)(jax.random.key(0), *images))
