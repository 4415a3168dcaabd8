"""Means with intervals, and paired differences by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxcnn.evaluation.multiple_tests import holm

Interval = tuple[float, float]

CONFIDENCE = 0.95
"""Confidence of every interval."""


@dataclass(frozen=True)
class Difference:
    """The mean difference of two arms over the seeds that both have.

    Attributes:
        mean: mean of the differences.
        interval: its t interval; None with one pair.
        p: two-sided p-value of the paired t-test; None with one pair, or if all differences are equal, where the test
            is undefined.
        p_holm: `p` after Holm's correction over the comparisons of a table.
        pairs: number of seeds that both arms have.
    """

    mean: float
    interval: Interval | None
    p: float | None
    p_holm: float | None
    pairs: int


def deviation(values: Sequence[float], magnitude: float | None = None) -> float | None:
    """Return the standard deviation with n - 1; None for fewer than two values.

    Values that differ only by rounding have deviation 0: a tiny one would make a tiny p-value.

    Args:
        values: the values.
        magnitude: size of the numbers that were rounded; None: the largest of the values.
    """
    if len(values) < 2:
        return None
    magnitude = np.abs(values).max() if magnitude is None else magnitude
    return 0.0 if np.ptp(values) <= 1e-12 * magnitude else float(np.std(values, ddof=1))


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the mean by Student's t distribution; None for fewer than two values."""
    sd = deviation(values)
    return None if sd is None else _interval(float(np.mean(values)), sd, len(values))


def _interval(mean: float, sd: float, n: int) -> Interval:
    from scipy import stats

    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return mean - half, mean + half


def paired_difference(arm: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Return the difference `arm - baseline` by seed, with `p_holm` equal to `p`; None if they share no seed.

    Args:
        arm, baseline: values by seed.
    """
    from scipy import stats

    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    differences = [arm[seed] - baseline[seed] for seed in seeds]
    largest = max(abs(values[seed]) for seed in seeds for values in (arm, baseline))
    mean, sd, n = float(np.mean(differences)), deviation(differences, largest), len(seeds)
    p = float(2 * stats.t.sf(abs(mean) * math.sqrt(n) / sd, n - 1)) if sd else None
    return Difference(mean, None if sd is None else _interval(mean, sd, n), p, p, n)


def paired_differences(arms: Sequence[Mapping[int, float]], baseline: Mapping[int, float]) -> list[Difference | None]:
    """Return the `paired_difference` of every arm, with Holm's correction over all of them."""
    found = [paired_difference(arm, baseline) for arm in arms]
    corrected = holm([None if each is None else each.p for each in found])
    return [each and replace(each, p_holm=p) for each, p in zip(found, corrected, strict=True)]
