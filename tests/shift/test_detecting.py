from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.evaluation.multiple_tests import holm
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.detecting import TESTS, components, detect, detect_by_class, detect_by_layer, make_samples
from jaxcnn.shift.detectors.detection import EFFECTS
from tests.shift.samples import drawn, outputs

SOURCE, SAME = outputs(drawn(100)), outputs(drawn(120, seed=1), seed=1)
MOVED = outputs(drawn(120, seed=1), seed=1, move=2)


def test_every_test_finds_a_large_shift_and_none_finds_one_without():
    found, none = detect(SOURCE, MOVED), detect(SOURCE, SAME)
    assert found.shifted and all(each.shifted for each in found.detections) and not found.refused
    assert not none.shifted and len(none.detections) == len(TESTS) + 1
    assert {each.detector for each in found.detections} == {*EFFECTS} - {"diagonal_frechet"}
    assert all(each.features for each in found.detections)


def test_the_verdicts_are_corrected_for_all_tests():
    found = detect(SOURCE, SAME).detections
    assert [each.p_holm for each in found] == holm([each.p for each in found])


def test_a_test_that_needs_more_images_is_refused_with_its_reason_and_the_others_are_made():
    random = np.random.default_rng(0)
    wide = [replace(each, features=random.normal(size=(len(each), 40))) for each in (SOURCE, SAME)]
    found = detect(*wide)
    reason = "source has 100 images; this test needs at least 200 (5 for each of 40 features). Give more images."
    assert found.refused == {"Fréchet on features": reason} and len(found.detections) == len(TESTS)


def test_images_that_no_test_can_compare_are_refused():
    with pytest.raises(InputError, match="target has 5 images; this test needs at least 10"):
        detect(SOURCE, outputs(drawn(5)))
    with pytest.raises(InputError, match=r"target has images of 2x4x1 and source of 3x4x1\. Resize or pad the target"):
        detect(SOURCE, replace(SAME, images=SAME.images[:, :2]))


def test_a_target_identical_to_the_source_is_refused():
    with pytest.raises(InputError, match="target is identical to source"):
        detect(SOURCE, outputs(drawn(100)))


def test_the_layer_where_a_shift_starts_is_the_first_that_is_shifted():
    """The moved axis is the first, the only one that the imagined input shows."""
    turned = replace(MOVED, layers={**MOVED.layers, "input": SAME.layers["input"]})
    by_layer = {each.features: each.shifted for each in detect_by_layer(SOURCE, turned)}
    assert by_layer == {"input": False, "f1": True}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_class_that_changed_is_the_one_that_is_shifted(labelled):
    labels = np.repeat([0, 1, 2], [40, 40, 5])
    source = outputs(labels)
    other = outputs(labels, seed=2, labelled=labelled)
    moved = np.where((other.labels if labelled else other.predictions)[:, None] == 1, [0, 0, 4.0], 0)
    target = replace(other, features=other.features + moved)
    found = detect_by_class(source, target)
    assert {each.part: each.shifted for each in found if each.part < 2} == {0: False, 1: True}
    # Class 2 has too few labels.
    assert not labelled or len(found) == 2
    with pytest.raises(InputError, match="no class has 10 images both in source and in target"):
        detect_by_class(source, outputs(np.repeat([0, 1, 2], 3)))


def test_features_are_reduced_to_principal_components_of_both_samples_together():
    random = np.random.default_rng(1)
    wide = [replace(each, features=random.normal(size=(len(each), 200))) for each in (SOURCE, SAME)]
    a, b = make_samples(*wide)
    assert a.penultimate.shape == (100, 32) and b.pixels.shape == (120, 12)
    both = np.concatenate([a.penultimate, b.penultimate])
    assert np.abs(both.mean(0)).max() < 1e-4 < np.abs(a.penultimate.mean(0)).max()
    covariance = np.cov(both.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)


def test_constant_features_have_a_component_of_their_own():
    assert components(np.ones((20, 5))).tolist() == [[1.0]] * 20
