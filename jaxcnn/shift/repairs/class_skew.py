"""Whether the classes of a target have other shares than those of the source, which batch statistics would absorb."""

from dataclasses import dataclass, replace

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.cost import class_tilt
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.kinds import kind_of_shift

LARGEST_TILT = 0.2
"""Difference of the shares of predicted classes (total variation) from which on a repair is doubted. It is above that
of unskewed targets of 100 images, and below that of a target without a third of ten classes."""


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
    alone explain the predictions; then the images of a class are as before and there is nothing to adapt to.

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


def remaining_skew(source: Outputs, repaired: Outputs) -> tuple[str, ...]:
    """Return a warning if the predicted classes still have other shares after a repair, otherwise nothing.

    Args:
        source: outputs before the repair.
        repaired: outputs for the target after it.
    """
    tilt = class_tilt(source, repaired)
    if tilt <= LARGEST_TILT:
        return ()
    return (
        f"After the repair the predicted classes still have other shares than in the source (tilt {tilt:.2f}): either "
        "the class shares of the target differ, which its statistics have absorbed, or the repair has failed.",
    )
