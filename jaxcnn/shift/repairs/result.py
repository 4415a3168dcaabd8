"""What a repair gives: predictions for the target after it, or the reason why it was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.cost import Interval, Scores, score_outputs
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.repairs.paired import paired_difference


@dataclass(frozen=True)
class RepairScores:
    """Accuracy before and after a repair, on the same images.

    Attributes:
        before: scores without repair.
        after: scores after it; None if it was refused.
        difference: accuracy after - accuracy before; None if it was refused.
        interval: its 95 % interval for the same images before and after.
        accuracies: accuracy after the repair with each of its seeds, the first being that of `after`.
    """

    before: Scores
    after: Scores | None = None
    difference: float | None = None
    interval: Interval | None = None
    accuracies: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Repair:
    """The result of one repair.

    Attributes:
        name: as in `REPAIRS`.
        about: what it does and what it needs, in a sentence.
        before: the network's log probabilities for the target without repair, float32 [n, classes].
        log_probabilities: those after it; None if it was refused, or only estimates something.
        refused: why it was not done; None if it was.
        warnings: what is doubtful about the result, in sentences.
        seconds: time it took, with compilation.
        seeds: of its random choices; empty if it makes none.
        repeats: log probabilities with the other seeds.
        details: its numbers by name, such as `prior` or `condition`.
    """

    name: str
    about: str
    before: np.ndarray
    log_probabilities: np.ndarray | None = None
    refused: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    seeds: tuple[int, ...] = ()
    repeats: tuple[np.ndarray, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    def scores(self, labels: Any) -> RepairScores:
        """Return the scores before and after the repair.

        Args:
            labels: of the target, int [n]. No repair has used them.

        Raises:
            InputError: the labels are not n classes of the network.
            NonFinite: as in `score_outputs`.
        """
        labels, (n, classes) = np.asarray(labels), self.before.shape
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"labels have shape {labels.shape} and type {labels.dtype}; they must be {n} integers.")
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"labels are from {labels.min()} to {labels.max()}; the network has the classes 0 to {classes - 1}."
            )
        before = _scores(self.before, labels)
        if self.log_probabilities is None:
            return RepairScores(before)
        right = [each.argmax(axis=1) == labels for each in (self.before, self.log_probabilities, *self.repeats)]
        difference, interval = paired_difference(*right[:2])
        accuracies = tuple(float(each.mean()) for each in right[1:])
        return RepairScores(before, _scores(self.log_probabilities, labels), difference, interval, accuracies)


def _scores(log_probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    # Scores read neither images nor features.
    return score_outputs(Outputs(labels, log_probabilities, log_probabilities, labels=labels))
