"""What batch normalization and local response normalization make of a real batch, step by step, in numbers."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

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
        batches: statistics of random training batches of n images, [batches, 6] each.
        population: from these by the paper's algorithm 2.
        running: from these by moving average.
        inferred: y with the statistics of the population instead of its own.
    """

    images: np.ndarray
    kernel: jax.Array
    x: jax.Array
    batch: norms.Statistics
    normalised: jax.Array
    scale: jax.Array
    shift: jax.Array
    y: jax.Array
    batches: norms.Statistics
    population: norms.Statistics
    running: norms.Statistics
    inferred: jax.Array


@functools.cache
def batch_norm_example() -> BatchNormExample:
    """The first test images of scikit-learn's digits, with a population of all training images."""
    digits, kernel, outputs = _digits(LeNet5().layers()[:1], mean=0.08, std=0.78)
    train, images = digits.train.images, digits.test.images[:_BATCH]
    order = shuffled(len(train), 0)[: len(train) // _BATCH * _BATCH].reshape(-1, _BATCH)
    every = [norms.batch_statistics(outputs(train[rows])) for rows in order]
    x = outputs(images)
    channels = x.shape[-1]
    count, running = x.size // channels, norms.Statistics(jnp.zeros(channels), jnp.ones(channels))
    for mean, var in every:
        unbiased = norms.Statistics(mean, norms.unbiased_variance(var, count))
        running = norms.update_running(running, unbiased, momentum=norms.BatchNorm.momentum)
    batch = norms.batch_statistics(x)
    batches = norms.Statistics(*map(jnp.stack, zip(*every, strict=True)))
    population = norms.population_statistics("algorithm2", *batches, [count] * len(every))
    scale, shift = jnp.array([1.5, 0.5, 1.0, 2.0, 0.75, 1.25]), jnp.array([-1.0, 1.0, 0.0, 0.5, -0.5, 1.5])
    return BatchNormExample(
        images=images,
        kernel=kernel,
        x=x,
        batch=batch,
        normalised=norms.batch_norm(x, *batch, jnp.ones(channels), jnp.zeros(channels)),
        scale=scale,
        shift=shift,
        y=norms.batch_norm(x, *batch, scale, shift),
        batches=batches,
        population=population,
        running=running,
        inferred=norms.batch_norm(x, *population, scale, shift),
    )


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
    digits, _, outputs = _digits(layers, mean=0.0, std=1.0)
    images, paper = digits.test.images[:_BATCH], norms.LRN_PRESETS["paper"]
    # Rectified maps without biases grow as their pixels do.
    unit = outputs(images)
    raw = 255 * unit
    normalised = [norms.local_response_norm(x, **paper) for x in (raw, unit)]
    raw, unit, raw_normalised, unit_normalised = map(np.asarray, (raw, unit, *normalised))
    share = response_share(raw, raw_normalised)
    place = _telling(raw, share)
    rows = trace(layers, images.shape[1:])
    step = math.prod(row.facts.stride for row in rows)
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
) -> tuple[Dataset, jax.Array, Callable[[np.ndarray], jax.Array]]:
    """Scikit-learn's digits, the first kernel of freshly drawn layers, and what the layers make of images."""
    data = Data(source="digits", mean=(mean,), std=(std,))
    digits, preprocess, net = _scans(), make_preprocess(data), Chain(layers)
    image = jnp.zeros((1, *digits.test.images.shape[1:]))
    # As for a run: random numbers are slow to optimize and quick to draw on a CPU.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    variables = jax.jit(lambda key: net.init(key, image, train=False), compiler_options=options)(jax.random.key(0))
    outputs = jax.jit(lambda images: net.apply(variables, preprocess(images), train=False))
    return digits, variables["params"][layers[0].name]["kernel"], outputs
