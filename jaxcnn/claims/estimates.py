"""Means with intervals over seeds, and comparisons by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return the mean and its interval by Student's t.

    Args:
        values: independent values, two or more.
        level: probability that the interval covers the true mean.
    """
    from scipy.stats import t

    mean, n = statistics.fmean(values), len(values)
    margin = float(t.ppf((1 + level) / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - margin, mean + margin)


def difference(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return the mean of a - b, paired by seed, and its interval by Student's t."""
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], level=level)


def ratio(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return the geometric mean of a / b, paired by seed, and its interval; all values are above 0."""
    log = difference([math.log(x) for x in a], [math.log(x) for x in b], level=level)
    return Estimate(*map(math.exp, log))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for the number of comparisons (Holm 1979, A simple sequentially rejective multiple test
    procedure)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def p_value(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of Student's t-test that the mean of a - b, paired by seed, is 0."""
    from scipy.stats import t

    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, n = statistics.fmean(differences), len(differences)
    spread = statistics.stdev(differences) / math.sqrt(n)
    if not spread:
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) / spread, n - 1))
