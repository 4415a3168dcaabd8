"""The speed of the corruptions against their plain form in NumPy and SciPy."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxcnn.bench import plain_corruptions
from jaxcnn.bench.summary import quartiles
from jaxcnn.layers import Shape
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.shift import CORRUPTIONS, corrupt

# Each severity twice.
_ROUNDS = 10


@dataclass(frozen=True)
class Corruptions:
    """The specification of a measurement.

    Attributes:
        shape: (height, width, channels) of an image.
        batch_size: images that `shift.corrupt` corrupts at once; the plain form takes one at a time.
        seconds: measured time for each of the two forms, over all corruptions.
    """

    shape: Shape
    batch_size: int
    seconds: float


def measure(job: Corruptions) -> dict[str, Any]:
    """Time every corruption in both forms, in alternating rounds in one process, which go through the severities.

    Returns:
        `milliseconds` for 1000 images, by corruption, of `jaxcnn` and `plain`, medians over rounds; `ratios` of the
        plain time to ours, by corruption: `median` and `quartiles` over rounds; `total`, the ratio of the sums of
        the medians: how many times as fast the whole family is.
    """
    set_xla_flags()
    images = np.random.default_rng(0).random((job.batch_size, *job.shape)).astype(np.float32)
    milliseconds, ratios = {}, {}
    for name in CORRUPTIONS:
        forms = {"jaxcnn": _ours(name, images), "plain": _plain(name, images)}
        times: dict[str, list[float]] = {form: [] for form in forms}
        for number in range(_ROUNDS):
            for form, run in forms.items():
                times[form].append(run(1 + number % 5, job.seconds / _ROUNDS / len(CORRUPTIONS)))
        milliseconds[name] = {form: statistics.median(each) for form, each in times.items()}
        first, median, third = quartiles([b / a for a, b in zip(times["jaxcnn"], times["plain"], strict=True)])
        ratios[name] = {"median": median, "quartiles": [first, third]}
    ours, plain = (sum(each[form] for each in milliseconds.values()) for form in ("jaxcnn", "plain"))
    return {"milliseconds": milliseconds, "ratios": ratios, "total": plain / ours}


def _ours(name: str, images: np.ndarray) -> Callable[[int, float], float]:
    """Return a function of a severity that corrupts the batch for some seconds, at least once, and returns the
    milliseconds for 1000 images."""
    batch, key = jax.device_put(images), jax.random.key(0)

    def run(severity: int, seconds: float) -> float:
        count, begun = 0, time.perf_counter()
        while not count or time.perf_counter() - begun < seconds:
            jax.block_until_ready(corrupt(name, batch, severity, key=key))
            count += 1
        return 1e6 * (time.perf_counter() - begun) / (count * len(images))

    run(1, 0)
    return run


def _plain(name: str, images: np.ndarray) -> Callable[[int, float], float]:
    """Return the same for the plain form, which corrupts at least one image."""
    draws, images = plain_corruptions.Draws(np.random.PCG64(0)), images.astype(np.float64)

    def run(severity: int, seconds: float) -> float:
        count, begun = 0, time.perf_counter()
        while not count or time.perf_counter() - begun < seconds:
            plain_corruptions.corrupt(name, images[count % len(images)], severity, draws)
            count += 1
        return 1e6 * (time.perf_counter() - begun) / count

    run(1, 0)
    return run
