from dataclasses import replace

import numpy as np
import pytest

from jaxcnn import shift
from jaxcnn.layers import Dense, Flatten, LayerNorm
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.repairs import repairing
from jaxcnn.shift.repairs.label_correction import correct_shares
from jaxcnn.shift.repairs.tent import Adapted
from tests.shift.networks import network
from tests.shift.samples import drawn, outputs
from tests.shift.trained import trained

BY_STATISTICS = ("prediction_time_bn", "blended_bn_16", "blended_bn_64", "blended_bn_256", "adabn", "tent")


@pytest.fixture(scope="module")
def digits():
    """The network, outputs for a source, and images and labels of which targets are made."""
    net, x, y = trained()
    return net, shift.read(net, x[:180], y[:180]), x[180:], y[180:]


def by_name(results):
    return {each.name: each for each in results}


def test_a_covariate_shift_is_repaired(digits):
    """Less contrast and more brightness, which statistics correct exactly."""
    net, source, x, y = digits
    dull = (140 + x / 4).astype(np.uint8)
    target = shift.read(net, dull, y)
    polls = []
    results = shift.repair(net, source, target, poll=lambda: polls.append(1))
    assert [each.name for each in results] == [*shift.REPAIRS] and polls
    found = by_name(results)
    for name in ("prediction_time_bn", "adabn", "tent"):
        scores = found[name].scores(y)
        assert scores.before.accuracy < 0.5 and scores.after.accuracy > 0.85, name
        assert scores.interval[0] > 0.2 and found[name].seconds > 0
        assert found[name].log_probabilities.shape == (180, 10)
    assert found["tent"].seeds == (0, 1, 2) and len(found["tent"].scores(y).accuracies) == 3
    assert "hardly overlap" in found["importance_weighting"].refused
    assert found["importance_weighting"].details["auc"] > 0.95
    assert found["label_shift_correction"].refused
    assert found["label_shift_correction"].details["condition"] > 1
    assert all(np.array_equal(each.before, target.log_probabilities) and each.about.endswith(".") for each in results)


def test_labels_of_the_target_are_not_used(digits):
    net, source, x, y = digits
    results = [
        shift.repair(net, source, replace(shift.read(net, x), labels=labels), repairs=("adabn", "last_layer"))
        for labels in (y, 9 - y, None)
    ]
    for one, two, three in zip(*results, strict=True):
        assert one.details == two.details == three.details
        assert np.array_equal(one.log_probabilities, two.log_probabilities)
        assert np.array_equal(one.log_probabilities, three.log_probabilities)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_target_of_one_class_is_refused(digits, noisy):
    """Without a change of the images by the test of the class shares, with one by the confidence that is lost."""
    net, source, x, y = digits
    three = x[y == 3].astype(int)
    if noisy:
        three = np.clip(three + np.random.default_rng(0).integers(-40, 41, three.shape), 0, 255)
    target = shift.read(net, three.astype(np.uint8))
    for result in shift.repair(net, source, target, repairs=("prediction_time_bn", "adabn", "tent")):
        assert result.log_probabilities is None
        assert "other shares than in the source" in result.refused and result.details["tilt_before"] > 0.7


def test_a_network_without_batch_norm_is_refused_with_one_message(digits):
    layers = (Flatten(name="flatten"), Dense(5, name="f1"), LayerNorm(name="norm1"), Dense(4, name="output"))
    net, random = network(layers), np.random.default_rng(0)
    source, target = (
        shift.read(net, random.integers(0, 256, (60, 6, 6, 1), np.uint8), np.arange(60) % 4) for _ in range(2)
    )
    found = by_name(shift.repair(net, source, target))
    assert {found[name].refused for name in BY_STATISTICS} == {
        "Chain has no batch normalization (jaxcnn.norms.BatchNorm) whose statistics could be adapted. Train a network "
        "with norm=batch."
    }
    assert found["last_layer"].refused is None


def test_a_shift_of_the_class_shares_is_corrected():
    source, shares = outputs(drawn(3000)), (0.8, 0.15, 0.05)
    target = outputs(drawn(2000, shares, seed=1), seed=1)
    (found,) = shift.repair(None, source, target, repairs=("label_shift_correction",))
    scores = found.scores(target.labels)
    assert scores.interval[0] > 0 and found.details["condition"] < 10
    truth = correct_shares(target.log_probabilities, 3 * np.array(shares))
    np.testing.assert_allclose(np.exp(found.log_probabilities), np.exp(truth), atol=0.1)


def test_moved_images_are_no_shift_of_the_class_shares():
    source, target = outputs(drawn(3000)), outputs(drawn(2000, seed=1), seed=1, move=1.5)
    (found,) = shift.repair(None, source, target, repairs=("label_shift_correction",))
    assert "class shares are corrected only where they alone have changed" in found.refused
    assert found.details["condition"] < 10


def test_uncertain_class_shares_are_not_used():
    """Predictions that hardly tell two classes apart: half of both, but for 1 %."""
    labels = np.repeat([0, 1, 2], 1000)
    source = outputs(labels)
    predicted = np.repeat([0, 1, 0, 1, 2], [500, 500, 490, 510, 1000])
    logits = np.log(np.where(np.eye(3)[predicted] > 0, 0.9, 0.05))
    found = by_name(
        shift.repair(
            None,
            replace(source, log_probabilities=logits),
            outputs(drawn(500, seed=1), seed=1),
            repairs=("label_shift_correction",),
        )
    )["label_shift_correction"]
    joint = np.array([[500, 490, 0], [500, 510, 0], [0, 0, 1000]]) / 3000
    assert found.details["condition"] == pytest.approx(np.linalg.cond(joint)) and found.details["condition"] > 100
    assert "the condition number of the estimate is" in found.refused


def test_importance_weights_estimate_the_accuracy_without_repair():
    source, target = outputs(drawn(3000)), outputs(drawn(2000, seed=1), seed=1, move=0.3)
    (found,) = shift.repair(None, source, target, repairs=("importance_weighting",))
    details = found.details
    assert details["estimate_low"] < details["estimated_accuracy_before"] < details["estimate_high"]
    assert details["effective_share"] == pytest.approx(details["effective"] / 3000)
    assert found.scores(target.labels).after.accuracy > 0.6


def test_a_collapse_is_refused(digits, monkeypatch):
    net, source, x, _ = digits
    one_class = np.log(np.full((180, 10), 0.01) + 0.9 * np.eye(10)[3]).astype(np.float32)

    def collapsing(network, images, *, seed, poll):
        return Adapted(shift.predict_by_batch(network, images) if seed < 2 else one_class, network)

    monkeypatch.setattr(repairing, "minimize_entropy", collapsing)
    (found,) = shift.repair(net, source, shift.read(net, x), repairs=("tent",))
    assert "collapsed with 1 of 3 orders" in found.refused and found.log_probabilities is None
    assert found.details["effective_classes_after"] == 1 and found.details["top_class_share"] == 1


def test_a_result_that_is_not_finite_is_refused(digits, monkeypatch):
    net, source, x, _ = digits
    broken = np.full((180, 10), np.nan, np.float32)
    monkeypatch.setattr(repairing, "refit_last_layer", lambda *_: broken)
    (found,) = shift.repair(net, source, shift.read(net, x), repairs=("last_layer",))
    assert "not finite for 180 images" in found.refused and found.log_probabilities is None
    monkeypatch.setattr(repairing, "predict_by_batch", lambda *_, **options: broken)
    (found,) = shift.repair(net, source, shift.read(net, x), repairs=("prediction_time_bn",))
    assert "not finite for 180 images" in found.refused


def test_few_images_are_warned_of(digits):
    net, source, x, _ = digits
    found = by_name(
        shift.repair(net, source, shift.read(net, x[:30]), repairs=("adabn", "blended_bn_256", "prediction_time_bn"))
    )
    assert [*found] == ["prediction_time_bn", "blended_bn_256", "adabn"]
    for name, few in (("prediction_time_bn", True), ("blended_bn_256", False), ("adabn", True)):
        assert found[name].refused or few == any("30 images only" in text for text in found[name].warnings)
    assert found["prediction_time_bn"].details["batch_size"] == 30


def test_bad_input_is_refused(digits):
    net, source, x, _ = digits
    target = shift.read(net, x)
    with pytest.raises(InputError, match=r"repair 'tend' is unknown; there are .*Did you mean 'tent'"):
        shift.repair(net, source, target, repairs=("tend",))
    with pytest.raises(InputError, match="target has 1 images; repairs need at least 10"):
        shift.repair(net, source, target.take(np.array([4])))
    broken = replace(target, features=np.where(np.arange(180)[:, None] == 7, np.nan, target.features))
    with pytest.raises(InputError, match="target has 1 images with features or class probabilities that are NaN"):
        shift.repair(net, source, broken)
    with pytest.raises(InputError, match="target has images of 3x4x1 and source of 32x32x1"):
        shift.repair(net, source, outputs(drawn(60)))
    with pytest.raises(InputError, match="target has 3 classes and source has 10"):
        shift.repair(net, source, replace(outputs(drawn(60)), images=x[:60]))
