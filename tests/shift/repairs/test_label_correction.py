import numpy as np

from jaxcnn.shift.repairs.label_correction import correct_shares
from tests.shift.samples import CENTRES, drawn, outputs


def test_it_gives_the_class_probabilities_under_other_shares():
    """By Bayes' rule from the densities themselves."""
    shares = np.array([0.7, 0.2, 0.1])
    target = outputs(drawn(50, shares))
    squares = np.square(target.features[:, None] - CENTRES).sum(axis=2)
    joint = np.exp(-squares / 2) * shares
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(correct_shares(target.log_probabilities, shares * 3)), expected, atol=1e-5)


def test_probabilities_near_zero_stay_finite():
    log_probabilities = np.array([[0.0, -2000.0, -3000.0]], np.float32)
    found = correct_shares(log_probabilities, np.array([1e-3, 1.0, 1e3]))
    assert np.isfinite(found).all() and found.dtype == np.float32 and found[0, 0] == 0


def test_equal_weights_change_nothing():
    target = outputs(drawn(20))
    np.testing.assert_allclose(
        correct_shares(target.log_probabilities, np.ones(3)), target.log_probabilities, atol=1e-6
    )
