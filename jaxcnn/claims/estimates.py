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

    def __neg__(self) -> "Estimate":
        """Return the estimate of the opposite."""
        return Estimate(-self.mean, -self.high, -self.low)

    def __format__(self, spec: str) -> str:
        """Return the mean and the interval, each formatted by `spec`, as in `1.2 (0.8 to 1.6)`."""
        return f"{self.mean:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


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


def differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a - b for each seed."""
    return [x - y for x, y in zip(a, b, strict=True)]


def difference(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return the mean of a - b, paired by seed, and its interval by Student's t."""
    return mean_interval(differences(a, b), level=level)


def negligible(effect: Estimate, margin: float, what: str) -> str:
    """Return the verdict on the statement that an effect, in points, is not above 0 by more than a margin.

    Args:
        effect: the effect.
        margin: a smaller effect is negligible.
        what: name of a positive effect, such as "a gain".

    Returns:
        "holds" if the whole interval lies below the margin, "does not hold" if it lies above 0, and otherwise "holds
        if" with the largest effect that the runs do not exclude.
    """
    if effect.high < margin:
        return "holds"
    if effect.low > 0:
        return "does not hold"
    return f"holds if {what} of up to {effect.high:.1f} points does not count"


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
