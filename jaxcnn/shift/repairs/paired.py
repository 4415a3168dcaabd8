"""The difference of two accuracies on the same images."""

import math

import numpy as np

from jaxcnn.shift.cost import Interval


def paired_difference(before: np.ndarray, after: np.ndarray) -> tuple[float, Interval]:
    """Return the change of an accuracy and its 95 % interval, for the same images before and after.

    It is narrower than the interval of two independent samples as far as the same images are right before and after.

    Args:
        before, after: bool [n], whether each image is right.

    Returns:
        Accuracy after - accuracy before, and the interval, inside -1 to 1 also where all images agree.

    Source: Newcombe 1998 (Statistics in Medicine 17:2635), method 10.
    """
    from scipy import stats

    n = len(before)
    both, gained, lost = (int(x.sum()) for x in (before & after, after & ~before, before & ~after))
    neither = n - both - gained - lost
    p, q = (both + gained) / n, (both + lost) / n
    intervals = [stats.binomtest(count, n).proportion_ci(method="wilson") for count in (both + gained, both + lost)]
    (low_p, high_p), (low_q, high_q) = intervals
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    # The correlation of the two, with a correction for continuity where it is positive.
    excess = both * neither - gained * lost
    correlation = (max(excess - n / 2, 0) if excess > 0 else excess) / math.sqrt(product) if product else 0.0

    def side(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * correlation * a * b + b * b, 0.0))

    difference = p - q
    return difference, (difference - side(p - low_p, high_q - q), difference + side(high_p - p, q - low_q))
