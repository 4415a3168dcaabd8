"""Whether the classes of a target have other shares than those of the source, which batch statistics would absorb."""

from dataclasses import dataclass, replace

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.cost import class_tilt
from jaxcnn.shift.detectors.class_counts import chi_square
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.kinds import kind_of_shift

LARGEST_TILT = 0.2
"""Difference of the shares of predicted classes (total variation) from which on a repair is doubted, if it is
significant: a fifth of the images would have to be of other classes."""


LARGEST_LOSS = 0.03
"""Mean confidence that an adaptation may cost. Statistics that fit make a network more confident, those of other class
shares less. On MNIST, an adaptation without skew lost at most 0.01, one that cost more than 0.05 of accuracy nearly
always 0.06 or more."""


@dataclass(frozen=True)
class ClassSkew:
    """What is known, before a repair, of the class shares of a target.

    Attributes:
        tilt: total variation distance of the shares of the predicted classes, as in `Cost.tilt`.
        refused: why the statistics of batch normalization must not be adapted; None if they may be.
        warnings: what remains doubtful, in sentences.
    """

    tilt: float
    refused: str | None
    warnings: tuple[str, ...]


def class_skew(source: Outputs, target: Outputs, *, seed: int = 0) -> ClassSkew:
    """Compare the shares of the predicted classes of source and target. Labels of the target are not used.

    Batch statistics are those of the images and of the class shares together, so that adapting them to other shares
    harms: a network with batch normalization in its dense layers can lose most of its accuracy on batches of one class.
    Other predictions alone are no proof of other shares, because a covariate shift can drive all images into one class,
    which is just what adaptation repairs. So it is refused only where `kind_of_shift` finds that other class shares
    alone explain the predictions; then the images of a class are as before and there is nothing to adapt to. Where the
    images have changed as well, `lost_confidence` checks the result.

    Args:
        source: outputs for images that the network was not trained on, with labels or without.
        target: outputs of the same network.
        seed: seed of the halves of `kind_of_shift`.
    """
    tilt = class_tilt(source, target)
    try:
        verdict = kind_of_shift(source, replace(target, labels=None), seed=seed).verdict
    except InputError as error:
        return ClassSkew(tilt, None, (f"Whether the class shares have changed could not be tested: {error}",))
    if verdict != "label":
        return ClassSkew(tilt, None, ())
    refused = (
        f"the predicted classes have other shares than in the source (tilt {tilt:.2f}), and other class shares alone "
        "explain that: the statistics of the target would be those of its classes. Correct the class shares instead."
    )
    return ClassSkew(tilt, refused, ())


def mean_confidence(log_probabilities: np.ndarray) -> float:
    """Return the mean probability of the predicted class, from log probabilities [n, classes]."""
    return float(np.exp(log_probabilities.max(axis=1)).mean())


def lost_confidence(before: np.ndarray, after: np.ndarray) -> str | None:
    """Return why an adaptation is refused after it was made, because it has made the network less confident on the
    images that it was adapted to; None if it has not.

    It is the check of the class shares that still works where the images of a class have changed as well. It says
    nothing about an adaptation that itself maximizes confidence.

    Args:
        before, after: log probabilities for the same images, [n, classes].
    """
    one, two = (mean_confidence(each) for each in (before, after))
    # A confidence that is not finite is another fault.
    if not one - two > LARGEST_LOSS:
        return None
    return (
        f"the mean confidence of the predictions fell from {one:.2f} to {two:.2f}, by more than {LARGEST_LOSS:g}: the "
        "statistics of the target do not fit the network, as when its classes have other shares than in the source."
    )


def remaining_skew(source: Outputs, repaired: Outputs) -> tuple[str, ...]:
    """Return a warning if the predicted classes still have other shares after a repair, otherwise nothing.

    Args:
        source: outputs before the repair.
        repaired: outputs for the target after it.
    """
    tilt = class_tilt(source, repaired)
    # A few images have other shares by chance alone.
    if tilt <= LARGEST_TILT or not chi_square(source.predictions, repaired.predictions).shifted:
        return ()
    return (
        f"After the repair the predicted classes still have other shares than in the source (tilt {tilt:.2f}): either "
        "the class shares of the target differ, which its statistics have absorbed, or the repair has failed.",
    )
