import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.cost import score_outputs
from jaxcnn.shift.repairs.paired import paired_difference
from jaxcnn.shift.repairs.result import Repair
from tests.shift.samples import drawn, outputs

LABELS = drawn(200)
BEFORE, AFTER, AGAIN = (outputs(LABELS, seed=1, move=move) for move in (1.5, 0.0, 0.5))


def test_scores_are_those_of_the_outputs():
    result = Repair(
        "tent", "", BEFORE.log_probabilities, AFTER.log_probabilities, repeats=(AGAIN.log_probabilities,), seeds=(0, 1)
    )
    found = result.scores(LABELS)
    assert found.before == score_outputs(BEFORE) and found.after == score_outputs(AFTER)
    right = [each.predictions == LABELS for each in (BEFORE, AFTER, AGAIN)]
    assert (found.difference, found.interval) == paired_difference(right[0], right[1])
    assert found.difference == pytest.approx(found.after.accuracy - found.before.accuracy)
    assert found.accuracies == pytest.approx([right[1].mean(), right[2].mean()])


def test_a_refused_repair_has_scores_without_repair_only():
    found = Repair("tent", "", BEFORE.log_probabilities, refused="it collapsed").scores(LABELS)
    assert found.before == score_outputs(BEFORE)
    assert found.after is None and found.difference is None and found.interval is None and found.accuracies == ()


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (LABELS[:-1], "they must be 200 integers"),
        (LABELS.astype(float), "they must be 200 integers"),
        (LABELS + 1, "labels are from 1 to 3; the network has the classes 0 to 2"),
    ],
)
def test_labels_must_fit(labels, text):
    with pytest.raises(InputError, match=text):
        Repair("tent", "", BEFORE.log_probabilities).scores(labels)


def test_labels_may_be_a_list():
    assert Repair("tent", "", BEFORE.log_probabilities).scores(LABELS.tolist()).before.n == len(np.asarray(LABELS))
