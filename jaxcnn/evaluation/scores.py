"""Scores of class probabilities: top-1 and top-5 error, negative log-likelihood, expected calibration error."""

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.training.non_finite import NonFinite


def score(log_probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float | int | None]:
    """Compute means over examples, summed in double precision.

    Args:
        log_probabilities: [n, classes], natural logarithms.
        labels: [n], integers from 0.

    Returns:
        `top1_error` and `top5_error`, fractions of examples whose label is not the most probable class, or not among
        the five most probable; of equally probable classes the first ranks higher. `top5_error` is None for 5 classes
        or fewer, where it is meaningless. `nll`, in nats. `ece`, the expected calibration error. `n`.

    Raises:
        InputError: there are no examples.
        NonFinite: a probability is NaN, or the probability of a label is 0, which makes the mean logarithm infinite.
    """
    n, classes = log_probabilities.shape
    if not n:
        raise InputError("log_probabilities is empty; a score needs at least one example.")
    own = np.take_along_axis(log_probabilities, labels[:, None], -1)
    if broken := int((np.isnan(log_probabilities).any(-1) | ~np.isfinite(own[:, 0])).sum()):
        raise NonFinite(
            f"the network's scores are not finite for {broken} of {n} images. Check its weights and statistics."
        )
    ahead = (log_probabilities > own) | ((log_probabilities == own) & (np.arange(classes) < labels[:, None]))
    rank = ahead.sum(-1)
    confidence = np.exp(log_probabilities.max(-1).astype(np.float64))
    return {
        "top1_error": float(np.mean(rank >= 1)),
        "top5_error": float(np.mean(rank >= 5)) if classes > 5 else None,
        "nll": float(-np.mean(own, dtype=np.float64)),
        "ece": expected_calibration_error(confidence, rank == 0),
        "n": n,
    }


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> float:
    """Compute the mean distance between confidence and accuracy. Examples are sorted by confidence into bins of equal
    width; each bin is weighted by its number of examples.

    Args:
        confidence: [n], the probability of the predicted class, in 0..1.
        correct: [n], whether the predicted class is correct.
        bins: number of intervals (0, 1/bins], ... of confidence; 15 as in the paper.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
