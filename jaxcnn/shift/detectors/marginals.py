"""The univariate Kolmogorov-Smirnov test of every feature, with Bonferroni's correction."""

from typing import Any

import numpy as np

from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.samples import LEAST, check_samples


def kolmogorov_smirnov(source: Any, target: Any, *, least: int = LEAST) -> Detection:
    """Test each feature by itself, and correct the smallest p-value for the number of features.

    It sees a change of any feature, but no change of their correlations alone. On the class probabilities of a
    network it is black-box shift detection with softmax outputs (BBSDs).

    Args:
        source: features [n, d].
        target: features [m, d].
        least: smallest n and m.

    Returns:
        `statistic` and `effect`: the largest difference of the two empirical distribution functions, over all features;
        `part`: the feature that has it; `p`: d times its asymptotic p-value, at most 1. With ties, as after a ReLU, the
        test is conservative.

    Raises:
        InputError: as in `check_samples`.

    Source: Rabanser et al. 2019 (arXiv:1810.11953), sections 3.2 and 3.3.
    """
    from scipy import stats

    source, target = check_samples(source, target, least=least)
    distances = distribution_distances(source, target)
    part = int(distances.argmax())
    # All features have the same n and m, so that the largest distance has the smallest p-value.
    found = stats.ks_2samp(source[:, part], target[:, part], method="asymp")
    p, distance = min(1.0, len(distances) * float(found.pvalue)), float(found.statistic)
    return Detection("kolmogorov_smirnov", distance, p, distance, len(source), len(target), part=part)


def distribution_distances(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the largest difference of the empirical distribution functions of each feature, [d].

    Args:
        source: features [n, d].
        target: features [m, d].
    """
    n, m = len(source), len(target)
    # Sorting is fastest along the last axis.
    pooled = np.ascontiguousarray(np.concatenate([source, target]).T)
    order = np.argsort(pooled, axis=1)
    difference = np.cumsum(np.where(order < n, 1 / n, -1 / m), axis=1)
    ordered = np.take_along_axis(pooled, order, axis=1)
    # Between equal values there is no point at which the functions could be compared.
    last = np.concatenate([ordered[:, 1:] != ordered[:, :-1], np.ones((len(pooled), 1), bool)], axis=1)
    return np.abs(np.where(last, difference, 0)).max(axis=1)
