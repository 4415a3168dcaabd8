"""The shares of the classes in a target without labels, estimated from what a network predicts there."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True, eq=False)
class ClassShares:
    """Shares of the classes in the source and, estimated, in the target.

    Attributes:
        source: shares of the labels, [classes].
        target: estimated shares, [classes], 0 or more with sum 1.
        condition: condition number of the matrix that was inverted; errors of the predicted shares grow up to so much.
    """

    source: np.ndarray
    target: np.ndarray
    condition: float

    @property
    def weights(self) -> np.ndarray:
        """Importance weight of each class, [classes]: target share / source share."""
        return self.target / self.source


def estimate_class_shares(source_labels: Any, source_predictions: Any, target_predictions: Any) -> ClassShares:
    """Estimate the class shares of the target by black-box shift estimation (BBSE).

    It solves C w = m, where C[i, j] is the share of source images with prediction i and label j, and m[i] the share of
    target images with prediction i; negative weights become 0. It is right under label shift only: when p(x | y) has
    changed, the weights mean nothing. `kind_of_shift` tests that.

    Args:
        source_labels: int [n].
        source_predictions: int [n], on images that the network was not trained on.
        target_predictions: int [m].

    Raises:
        InputError: a class is predicted or occurs in one sample only, so that the source says nothing about it.

    Source: Lipton et al. 2018 (arXiv:1802.03916), section 4.
    """
    labels, predictions, target = map(np.asarray, (source_labels, source_predictions, target_predictions))
    classes = 1 + max(labels.max(), predictions.max(), target.max())
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise InputError(
            f"source has no image with label {int(counts.argmin())}; the estimate of class shares needs every class. "
            "Give more source images."
        )
    joint = np.bincount(predictions * classes + labels, minlength=classes**2).reshape(classes, classes) / len(labels)
    condition = float(np.linalg.cond(joint))
    if not np.isfinite(condition) or condition > 1 / np.finfo(float).eps:
        raise InputError(
            "the network's predictions on the source do not tell all classes apart, so that class shares cannot be "
            "estimated from them. Give a network that predicts every class, or a target with labels."
        )
    weights = np.maximum(np.linalg.solve(joint, np.bincount(target, minlength=classes) / len(target)), 0)
    shares = weights * counts / len(labels)
    return ClassShares(counts / len(labels), shares / shares.sum(), condition)
