from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.shift.features import read
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from jaxcnn.shift.repairs.class_skew import class_skew, lost_confidence, mean_confidence, remaining_skew
from tests.shift.samples import drawn, outputs
from tests.shift.trained import trained


def test_other_class_shares_alone_are_refused():
    source, target = outputs(drawn(600)), outputs(drawn(400, (0.7, 0.2, 0.1), seed=1), seed=1)
    found = class_skew(source, target)
    share = [np.bincount(each.predictions, minlength=3) / len(each) for each in (source, target)]
    assert found.tilt == pytest.approx(np.abs(share[0] - share[1]).sum() / 2)
    assert "other class shares alone explain that" in found.refused and found.warnings == ()


def test_no_shift_and_moved_images_may_be_adapted_to():
    """Moved images are predicted as other classes too, which is no reason to refuse."""
    source = outputs(drawn(600))
    for move, tilted in ((0.0, False), (3.0, True)):
        found = class_skew(source, outputs(drawn(600, seed=1), seed=1, move=move))
        assert found.refused is None and (found.tilt > 0.2) == tilted and found.warnings == ()


def test_labels_of_the_target_are_not_used():
    source, target = outputs(drawn(600)), outputs(drawn(400, (0.7, 0.2, 0.1), seed=1), seed=1)
    wrong = replace(target, labels=np.zeros(400, int))
    assert class_skew(source, wrong) == class_skew(source, replace(target, labels=None)) == class_skew(source, target)


def test_what_cannot_be_tested_is_said():
    source = outputs(drawn(600), labelled=False)
    found = class_skew(source, outputs(drawn(400, seed=1), seed=1))
    assert found.refused is None and "could not be tested: source has no labels" in found.warnings[0]


def test_a_skew_that_remains_is_told():
    source = outputs(drawn(600))
    assert remaining_skew(source, outputs(drawn(600, seed=1), seed=1)) == ()
    assert remaining_skew(source, outputs(np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2]), seed=1)) == ()
    (text,) = remaining_skew(source, outputs(np.zeros(300, int), seed=1))
    assert "still have other shares" in text


def test_the_statistics_of_one_class_cost_confidence():
    """The network is right about nearly all images of one class; by their own statistics it is wrong and unsure."""
    net, x, y = trained()
    one = x[y == 3]
    before, after = read(net, one).log_probabilities, predict_by_batch(net, one)
    assert (before.argmax(1) == 3).mean() > 0.9 and (after.argmax(1) == 3).mean() < 0.6
    assert f"fell from {mean_confidence(before):.2f}" in lost_confidence(before, after)
    assert lost_confidence(read(net, x).log_probabilities, predict_by_batch(net, x)) is None
    assert lost_confidence(before, np.full_like(before, np.nan)) is None
