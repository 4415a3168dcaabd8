from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.confidence import estimate_accuracy
from jaxcnn.shift.cost import measure_cost, score_outputs
from jaxcnn.shift.features import Outputs
from tests.shift.samples import drawn, outputs


def predicted(confidence, correct, classes=2):
    """Outputs of a network of two classes that predicts class 0 with this confidence, right or wrong."""
    confidence = np.asarray(confidence, np.float64)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.where(correct, 0, 1)
    features = np.arange(len(confidence), dtype=float)[:, None]
    return Outputs(np.zeros((len(confidence), 1, 1, 1)), features, np.log(probabilities), {}, labels)


def test_scores_are_those_of_a_worked_example():
    """Of 20 images predicted with 0.75, 12 are right: the gap is 0.15 in one bin."""
    found = score_outputs(predicted([0.75] * 20, np.arange(20) < 12))
    assert found.accuracy == pytest.approx(0.6) and found.n == 20
    assert found.ece == pytest.approx(0.15)
    assert found.nll == pytest.approx(-0.6 * np.log(0.75) - 0.4 * np.log(0.25))
    assert found.by_class == (1.0, 0.0)
    # Wilson's interval in closed form.
    z, p, n = 1.959964, 0.6, 20
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert found.accuracy_interval == pytest.approx(expected, abs=1e-6)


def test_the_cost_is_the_difference_of_the_scores_and_the_tilt_of_the_predictions():
    source, target = outputs(drawn(300)), outputs(drawn(200, seed=1), seed=1, move=3)
    found = measure_cost(source, target)
    accuracy = [float(np.mean(each.predictions == each.labels)) for each in (source, target)]
    assert (found.source.accuracy, found.target.accuracy) == pytest.approx(accuracy)
    assert found.accuracy_drop == pytest.approx(accuracy[0] - accuracy[1])
    assert found.drop_interval[0] < found.accuracy_drop < found.drop_interval[1]
    assert found.target.nll > found.source.nll and found.target.ece > found.source.ece
    shares = np.array([found.predicted_source, found.predicted_target])
    np.testing.assert_allclose(shares[1], np.bincount(target.predictions, minlength=3) / 200)
    assert found.tilt == pytest.approx(np.maximum(shares[1] - shares[0], 0).sum())
    assert shares[1, 0] > shares[0, 0]


def test_the_interval_of_the_drop_is_that_of_newcombes_example():
    """Newcombe (1998), table II, (a): 56/70 - 48/80 has the 95 % interval 0.0524 to 0.3339 by method 10."""
    source, target = predicted([0.9] * 70, np.arange(70) < 56), predicted([0.9] * 80, np.arange(80) < 48)
    found = measure_cost(source, target)
    assert found.accuracy_drop == pytest.approx(0.2)
    assert found.drop_interval == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_a_class_without_images_has_no_accuracy():
    assert score_outputs(outputs(np.repeat([0, 2], 20))).by_class[1] is None


def test_without_target_labels_there_is_an_estimate_and_no_drop():
    source, target = outputs(drawn(300)), outputs(drawn(200, seed=1), seed=1, labelled=False)
    found = measure_cost(source, target)
    assert found.target is None and found.accuracy_drop is None and found.drop_interval is None
    assert found.estimated_accuracy == pytest.approx(found.source.accuracy, abs=0.1)


@pytest.mark.parametrize(("wrong", "estimate"), [(3, 0.5), (4, 0.25), (1, 0.75)])
def test_average_thresholded_confidence_of_a_worked_example(wrong, estimate):
    """With 3 errors on the source the threshold is its fourth lowest confidence, 0.7; two of four target images reach
    it. Which images are wrong does not matter."""
    confidence = [0.55, 0.62, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97]
    source = predicted(confidence, np.arange(10) >= wrong)
    assert estimate_accuracy(source, predicted([0.60, 0.68, 0.72, 0.99], np.ones(4))) == estimate
    assert estimate_accuracy(predicted(confidence, np.arange(10) < 10 - wrong), source) == 1 - wrong / 10


@pytest.mark.parametrize(("correct", "estimate"), [(np.ones(10, bool), 0.75), (np.zeros(10, bool), 0.0)])
def test_a_source_that_is_all_right_or_all_wrong_has_an_estimate(correct, estimate):
    source = predicted(np.linspace(0.62, 0.9, 10), correct)
    assert estimate_accuracy(source, predicted([0.60, 0.64, 0.7, 0.99], np.ones(4))) == estimate


def test_the_estimate_is_the_truth_where_the_same_confidence_means_an_error():
    """Images are wrong exactly if the confidence is below 0.7, more often on the target."""
    random = np.random.default_rng(0)
    source, target = (predicted(c, c > 0.7) for c in (random.uniform(0.6, 1, 2000), random.uniform(0.55, 0.85, 2000)))
    truth = score_outputs(target).accuracy
    assert truth == pytest.approx(0.5, abs=0.05) and estimate_accuracy(source, target) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (outputs(drawn(20), labelled=False), outputs(drawn(20)), "source has no labels; the cost of a shift needs"),
        (outputs(drawn(20)), outputs(drawn(9)), "target has 9 images; scores need at least 10. Give more images"),
        (
            outputs(drawn(20)),
            replace(outputs(drawn(20)), log_probabilities=np.zeros((20, 2))),
            "target has 2 classes and source has 3. Give outputs of the same network",
        ),
    ],
)
def test_outputs_without_a_cost_are_refused(source, target, message):
    with pytest.raises(InputError, match=message):
        measure_cost(source, target)


def test_an_estimate_needs_source_labels():
    with pytest.raises(InputError, match="source has no labels; an estimate of accuracy needs them"):
        estimate_accuracy(outputs(drawn(20), labelled=False), outputs(drawn(20)))
