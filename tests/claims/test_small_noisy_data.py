"""Wrong labels are as described, every seed has its own images, and the verdict follows from hand-made errors."""

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.claims.small_noisy_data import ARMS, LABELS, decide, draw, images, network, with_wrong_labels
from jaxcnn.claims.study import Study
from jaxcnn.layers import trace

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(right, wrong, nll_gain=0.0):
    errors = {
        f"{labels}, {arm}": value
        for labels, row in zip(LABELS, (right, wrong), strict=True)
        for arm, value in zip(ARMS, row, strict=True)
    }
    values = {
        arm: [value + i + NOISE[(i + place) % 5] for i in range(5)] for place, (arm, value) in enumerate(errors.items())
    }
    nll = {arm: [1 + x / 100 - nll_gain * ("l2" in arm) for x in NOISE] for arm in values}
    return {"test_errors": values, "nll": nll}


@pytest.mark.parametrize(
    ("right", "wrong", "verdict"),
    [
        # Neither, L2, dropout, both.
        ((12, 10, 10, 10), (20, 17, 17, 16), "holds"),
        ((12, 12, 12, 12), (20, 17, 17, 16), "holds if only L2 on wrong labels and dropout on wrong labels are meant"),
        ((12, 12, 12, 10), (20, 20, 17, 20), "holds if only dropout on wrong labels is meant"),
        ((12, 14, 14, 12), (20, 20, 20, 16), "does not hold"),
    ],
)
def test_all_four_comparisons_must_show_a_gain(right, wrong, verdict):
    decided = decide(measured(right, wrong))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(wrong[0] - wrong[3])


def test_conditions_have_errors_and_likelihoods(tmp_path):
    found = measured((12, 10, 10, 10), (20, 17, 17, 16), nll_gain=0.3)
    text = decide(found).conditions
    assert "are on right labels 14.0 % and 1.00 with neither; 12.0 % and 0.70 with L2" in text
    assert text.endswith("The likelihood is better with L2 on right labels, L2 on wrong labels.")
    assert decide(measured((1,) * 4, (1,) * 4)).conditions.endswith("better with no regularizer.")
    assert draw(found, tmp_path / "a.png").is_file()


def test_a_fifth_of_the_labels_are_others_of_all_classes():
    labels = np.arange(5000, dtype=np.int32) % 10
    changed = with_wrong_labels(labels, 0.2)
    shift = (changed - labels) % 10
    assert np.mean(shift != 0) == 0.2 and changed.dtype == labels.dtype
    # Each of the other nine with a share of 1/9 of 1,000, five standard deviations at most from it.
    counts = np.bincount(shift[shift != 0], minlength=10)
    assert np.abs(counts[1:] - 1000 / 9).max() < 5 * np.sqrt(1000 / 9)
    assert np.abs(np.bincount(labels[shift != 0]) - 100).max() < 5 * np.sqrt(100)
    np.testing.assert_array_equal(with_wrong_labels(labels, 0.0), labels)


def test_every_seed_trains_on_its_own_quarter_of_the_pool(tmp_path):
    study = Study(tmp_path / "claim", seeds=2, scale="tiny")
    right, wrong = (images(study, share) for share in LABELS.values())
    a, b, noisy = data.load(right, 0), data.load(right, 1), data.load(wrong, 0)
    assert (len(a.train), len(a.validation), len(a.test)) == (20, 60, 32)
    assert not np.array_equal(a.train.images, b.train.images)
    np.testing.assert_array_equal(a.train.images, noisy.train.images)
    np.testing.assert_array_equal(a.test.labels, noisy.test.labels)
    differing = [np.sum(x.labels != y.labels) for x, y in ((a.train, noisy.train), (a.validation, noisy.validation))]
    assert sum(differing) == 16
    written = (tmp_path / "claim" / "0.2 wrong.npz").stat().st_mtime_ns
    assert images(study, 0.2) == wrong and (tmp_path / "claim" / "0.2 wrong.npz").stat().st_mtime_ns == written


def test_dropout_follows_both_hidden_layers():
    names = [row.path for row in trace(network(5, 0.5).layers(), (28, 28, 1))]
    assert names == ["flatten", "fc1", "act1", "drop1", "fc2", "act2", "drop2", "output"]
    assert [row.path for row in trace(network(5, 0).layers(), (28, 28, 1))] == [n for n in names if "drop" not in n]
