"""Means with intervals over seeds, and comparisons of two arms by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxcnn.evaluation.multiple_tests import holm
from jaxcnn.sweep.comparisons import paired_difference, t_interval


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


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean of two or more independent values, and its interval by Student's t."""
    return Estimate(statistics.fmean(values), *t_interval(values))


def differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a - b for each seed."""
    return [x - y for x, y in zip(a, b, strict=True)]


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return the mean of a - b, paired by seed, and its interval by Student's t."""
    return mean_interval(differences(a, b))


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


def ratio(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return the geometric mean of a / b, paired by seed, and its interval; all values are above 0."""
    return Estimate(*map(math.exp, difference([math.log(x) for x in a], [math.log(x) for x in b])))


def holm_p_values(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, float]:
    """Return the p-values of paired t-tests between two arms, corrected by Holm's procedure over all of them.

    If all differences of a pair are equal, where the test is undefined, its p-value is 0, or 1 if they are all 0.

    Args:
        pairs: values of two arms by seed, by name of the comparison.
    """
    tests = {name: paired_difference(dict(enumerate(a)), dict(enumerate(b))) for name, (a, b) in pairs.items()}
    p_values = [float(test.mean == 0) if test.p is None else test.p for test in tests.values()]
    return dict(zip(tests, holm(p_values), strict=True))
