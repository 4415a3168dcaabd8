"""What a shift costs a network: accuracy, likelihood, calibration, and the tilt of the predicted classes."""

import math
from dataclasses import dataclass

import numpy as np

from jaxcnn.evaluation.scores import score
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.confidence import estimate_accuracy
from jaxcnn.shift.detectors.samples import LEAST
from jaxcnn.shift.features import Outputs

Interval = tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """Scores of a network on labelled images.

    Attributes:
        accuracy: share of images whose most probable class is the label.
        accuracy_interval: its 95 % interval (Wilson).
        nll: mean negative log-likelihood, in nats.
        ece: expected calibration error with 15 bins.
        by_class: accuracy on the images of each class; None for a class without images.
        n: number of images.
    """

    accuracy: float
    accuracy_interval: Interval
    nll: float
    ece: float
    by_class: tuple[float | None, ...]
    n: int


@dataclass(frozen=True)
class Cost:
    """The cost of a shift.

    Attributes:
        source: scores on the source.
        target: scores on the target; None without target labels.
        accuracy_drop: accuracy on the source - accuracy on the target; None without target labels.
        drop_interval: its 95 % interval, as if the images of source and target were different ones.
        estimated_accuracy: accuracy on the target estimated without labels, by average thresholded confidence.
        predicted_source, predicted_target: share of images with each class as prediction.
        tilt: total variation distance of these shares, 0 to 1: the share of predictions that would have to change.
    """

    source: Scores
    target: Scores | None
    accuracy_drop: float | None
    drop_interval: Interval | None
    estimated_accuracy: float
    predicted_source: tuple[float, ...]
    predicted_target: tuple[float, ...]
    tilt: float


def measure_cost(source: Outputs, target: Outputs) -> Cost:
    """Return what the shift from source to target costs.

    Args:
        source: outputs for labelled images that the network was not trained on.
        target: outputs of the same network, with labels or without.

    Raises:
        InputError: the source has no labels, a sample has fewer than `LEAST` images, or the classes differ.
        NonFinite: a score is not finite.
    """
    for name, each in (("source", source), ("target", target)):
        if len(each) < LEAST:
            raise InputError(f"{name} has {len(each)} images; scores need at least {LEAST}. Give more images.")
    if source.labels is None:
        raise InputError("source has no labels; the cost of a shift needs them. Give labelled source images.")
    classes = source.log_probabilities.shape[1]
    if (other := target.log_probabilities.shape[1]) != classes:
        raise InputError(f"target has {other} classes and source has {classes}. Give outputs of the same network.")
    scores = [None if each.labels is None else score_outputs(each) for each in (source, target)]
    shares = [np.bincount(each.predictions, minlength=classes) / len(each) for each in (source, target)]
    drop, interval = None, None
    if scores[1] is not None:
        drop = scores[0].accuracy - scores[1].accuracy
        interval = _difference_interval(*scores)
    return Cost(
        *scores,
        accuracy_drop=drop,
        drop_interval=interval,
        estimated_accuracy=estimate_accuracy(source, target),
        predicted_source=tuple(shares[0].tolist()),
        predicted_target=tuple(shares[1].tolist()),
        tilt=class_tilt(source, target),
    )


def class_tilt(source: Outputs, target: Outputs) -> float:
    """Return the total variation distance of the shares of the predicted classes, 0 to 1."""
    classes = source.log_probabilities.shape[1]
    shares = [np.bincount(each.predictions, minlength=classes) / len(each) for each in (source, target)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def score_outputs(outputs: Outputs) -> Scores:
    """Return the scores of outputs with labels.

    Raises:
        NonFinite: as in `evaluation.scores.score`.
    """
    from scipy import stats

    found = score(outputs.log_probabilities, outputs.labels)
    correct = outputs.predictions == outputs.labels
    interval = stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    by_class = [correct[outputs.labels == label] for label in range(outputs.log_probabilities.shape[1])]
    return Scores(
        accuracy=1 - found["top1_error"],
        accuracy_interval=(float(interval.low), float(interval.high)),
        nll=found["nll"],
        ece=found["ece"],
        by_class=tuple(float(own.mean()) if len(own) else None for own in by_class),
        n=found["n"],
    )


def _difference_interval(a: Scores, b: Scores) -> Interval:
    """Return the 95 % interval of the difference of two independent accuracies (Newcombe 1998, method 10)."""
    (low_a, high_a), (low_b, high_b) = a.accuracy_interval, b.accuracy_interval
    difference = a.accuracy - b.accuracy
    return (
        difference - math.hypot(a.accuracy - low_a, high_b - b.accuracy),
        difference + math.hypot(high_a - a.accuracy, b.accuracy - low_b),
    )
