import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from jaxcnn.evaluation.scores import expected_calibration_error, score
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.non_finite import NonFinite


def draw(n, classes, seed, scale=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n, classes))
    return log_softmax(logits, axis=-1).astype(np.float32), rng.integers(0, classes, n).astype(np.int32)


def calibration_error_by_loops(probabilities, labels, bins=15):
    """Compute the expected calibration error with a loop over the intervals."""
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.sum() / len(labels) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 5.0]))
def test_equal_to_sklearn_and_loops(n, classes, seed, scale):
    log_probabilities, labels = draw(n, classes, seed, scale)
    found = score(log_probabilities, labels)
    probabilities = np.exp(log_probabilities.astype(np.float64))
    order = np.argsort(-probabilities, -1, kind="stable")
    assert found["top1_error"] == np.mean(order[:, 0] != labels)
    top5 = np.mean([label not in row[:5] for row, label in zip(order, labels, strict=True)])
    assert found["top5_error"] == (top5 if classes > 5 else None)
    assert found["ece"] == pytest.approx(calibration_error_by_loops(probabilities, labels), abs=1e-9)
    assert found["n"] == n
    probabilities /= probabilities.sum(-1, keepdims=True)
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(classes)), rel=1e-5, abs=1e-6)
    if classes > 5:
        accuracy = top_k_accuracy_score(labels, probabilities, k=5, labels=range(classes))
        assert found["top5_error"] == pytest.approx(1 - accuracy, abs=1e-12)


def test_ties_are_resolved_in_favour_of_the_first_class():
    """As in argmax; sklearn takes the last class."""
    flat = np.log(np.full((7, 7), 1 / 7, np.float32))
    found = score(flat, np.arange(7))
    assert found["top1_error"] == pytest.approx(6 / 7) and found["top5_error"] == pytest.approx(2 / 7)


def test_calibration_error_of_perfect_calibration_and_of_no_correct_prediction():
    confidence = np.full(10, 0.7)
    assert expected_calibration_error(confidence, np.arange(10) < 7) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(confidence, np.zeros(10, bool)) == pytest.approx(0.7)


def test_a_bin_includes_its_upper_edge_and_the_bins_cover_0_and_1():
    """1/2 belongs to bin (0, 1/2]: there its error cancels with that of 0.1; in separate bins they would not cancel."""
    assert expected_calibration_error(np.array([0.5, 0.1]), np.array([0, 1]), bins=2) == pytest.approx(0.2)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0


def test_invalid_scores_raise_one_message():
    log_probabilities, labels = draw(4, 3, 0)
    log_probabilities[0, (labels[0] + 1) % 3] = -np.inf  # A probability of 0 is finite.
    assert np.isfinite(score(log_probabilities, labels)["nll"])
    log_probabilities[2, 1] = np.nan
    with pytest.raises(NonFinite, match="not finite for 1 of 4 images"):
        score(log_probabilities, labels)
    log_probabilities[0, labels[0]] = -np.inf
    with pytest.raises(NonFinite, match="not finite for 2 of 4 images"):
        score(log_probabilities, labels)
    with pytest.raises(InputError, match="is empty"):
        score(log_probabilities[:0], labels[:0])
