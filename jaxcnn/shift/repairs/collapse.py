"""Whether an adaptation without labels has collapsed: whether it predicts few classes only."""

import numpy as np

COLLAPSED = 0.5
"""Share of the effective number of predicted classes below which an adaptation counts as collapsed."""


def effective_classes(predictions: np.ndarray) -> float:
    """Return exp(entropy) of the histogram of predicted classes, int [n]: k if k classes are equally frequent."""
    shares = np.bincount(predictions) / len(predictions)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def has_collapsed(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether more than half of the effective number of classes is gone.

    What class shares the target has is unknown, but predictions for the same images without the adaptation show which
    concentration they allow: a target of two classes has two effective classes before and after.

    Args:
        before: classes predicted without the adaptation, int [n].
        after: classes predicted with it for the same images.
    """
    return effective_classes(after) < COLLAPSED * effective_classes(before)
