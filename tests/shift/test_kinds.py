import numpy as np
import pytest
from scipy import stats

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.kinds import MEANINGS, kind_of_shift, thin
from jaxcnn.shift.label_shift import estimate_class_shares
from tests.shift.samples import drawn, outputs

SKEWED = (0.7, 0.2, 0.1)
CASES = {
    "none": {},
    "label": {"shares": SKEWED},
    "covariate": {"move": 1.5},
    "both": {"shares": SKEWED, "move": 1.5},
}


def pair(seed, *, shares=(1 / 3, 1 / 3, 1 / 3), move=0.0, labelled=True, n=300):
    source = outputs(drawn(n, seed=seed), seed=seed)
    return source, outputs(drawn(n, shares, seed=seed + 500), seed=seed + 500, move=move, labelled=labelled)


@pytest.mark.parametrize("kind", CASES)
def test_with_labels_the_kinds_are_told_apart(kind):
    found = [kind_of_shift(*pair(seed, **CASES[kind])) for seed in range(20)]
    assert sum(each.verdict == kind for each in found) >= 18
    counts, within = found[0].tests
    assert (counts.features, within.features) == ("labels", "penultimate, within classes")
    assert all("p(y | x)" in " ".join(each.limits) for each in found)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("none", "none"), ("label", "label"), ("covariate", "not label alone"), ("both", "not label alone")],
)
def test_without_labels_other_class_shares_either_explain_the_shift_or_not(kind, verdict):
    found = [kind_of_shift(*pair(seed, labelled=False, n=600, **CASES[kind])) for seed in range(20)]
    assert sum(each.verdict == verdict for each in found) >= 18
    assert "condition number" in found[0].limits[-1]


def test_every_verdict_has_its_meaning_in_words():
    assert {*CASES, "not label alone"} == {*MEANINGS}


def test_classes_with_few_images_are_left_out_and_named():
    labels = np.repeat([0, 1, 2], [60, 60, 4])
    found = kind_of_shift(outputs(labels), outputs(labels, seed=1, move=2))
    assert found.verdict == "covariate"
    assert found.limits[-1] == "The classes 2 have fewer than 10 images and were not compared."


def test_the_p_value_within_classes_is_corrected_for_the_classes():
    source, target = pair(3)
    within = kind_of_shift(source, target).tests[1]
    each = [
        stats.ks_2samp(source.features[source.labels == c], target.features[target.labels == c], method="asymp")
        for c in range(3)
    ]
    assert within.p == pytest.approx(min(1, 9 * min(found.pvalue.min() for found in each)))
    assert within.part == int(np.argmin([found.pvalue.min() for found in each]))


def test_missing_labels_and_images_are_refused_with_the_reason():
    source, target = pair(0)
    with pytest.raises(InputError, match="source has no labels; the kind of a shift needs them"):
        kind_of_shift(outputs(drawn(50), labelled=False), target)
    with pytest.raises(InputError, match="no class has 10 images both in source and in target"):
        kind_of_shift(source, outputs(np.repeat([0, 1, 2], 4)))
    with pytest.raises(InputError, match="source has no image with label 2; the estimate of class shares needs every"):
        kind_of_shift(outputs(np.repeat([0, 1], 40)), outputs(drawn(50, seed=3), labelled=False))


def test_class_shares_are_the_solution_of_the_linear_equations():
    """Confusions of 2 classes: 90 % and 80 % right. Of a target with shares 0.25 and 0.75, 37.5 % are predicted 0."""
    labels = np.repeat([0, 1], 100)
    predictions = np.concatenate([np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [20, 80])])
    found = estimate_class_shares(labels, predictions, np.repeat([0, 1], [375, 625]))
    np.testing.assert_allclose(found.target, [0.25, 0.75])
    np.testing.assert_allclose(found.weights, [0.5, 1.5])
    assert found.condition == pytest.approx(np.linalg.cond([[0.45, 0.1], [0.05, 0.4]]))


def test_negative_shares_become_zero():
    labels = np.repeat([0, 1], 100)
    predictions = np.concatenate([np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [20, 80])])
    assert estimate_class_shares(labels, predictions, np.zeros(50, int)).target.tolist() == [1, 0]


def test_predictions_that_do_not_tell_classes_apart_are_refused():
    with pytest.raises(InputError, match="do not tell all classes apart"):
        estimate_class_shares(np.repeat([0, 1], 20), np.zeros(40, int), np.zeros(10, int))


def test_thinning_keeps_as_many_images_as_the_shares_allow_and_repeats_none():
    labels = np.repeat([0, 1, 2], [50, 40, 10])
    rows = thin(labels, np.array([0.5, 0.25, 0.25]), np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [20, 10, 10] and len({*rows}) == 40
    assert thin(labels, np.array([0.0, 1.0, 0.0]), np.random.default_rng(0)).tolist() == [*range(50, 90)]
