"""The paper's MNIST experiment: what the hook reads, and the verdict from hand-made measurements."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn.claims.batch_norm_mnist import ARMS, _percentiles, decide, drift, network
from jaxcnn.layers import trace
from jaxcnn.training.state import TrainState


def measured(errors, drifts, seeds=5):
    return {
        "learning_rates": {"none": 0.3, "batch": 1.0},
        "test_errors": {arm: [errors[arm] + 0.01 * i for i in range(seeds)] for arm in ARMS},
        "drift": {arm: [drifts[arm] * 1.01**i for i in range(seeds)] for arm in ARMS},
        "steps": [800, 1600],
        "accuracies": {arm: [[0.5, 0.9]] * seeds for arm in ARMS},
    }


@pytest.mark.parametrize(
    ("plain_error", "plain_drift", "verdict"),
    [
        (3.0, 1.0, "holds"),
        (3.0, 0.2, "holds if only the accuracy is meant, not the stability"),
        (1.0, 1.0, "holds if only the stability is meant, not the accuracy"),
        (1.0, 0.2, "does not hold"),
    ],
)
def test_the_claim_needs_both_accuracy_and_stability(plain_error, plain_drift, verdict):
    decided = decide(measured({"none": plain_error, "batch": 2.0}, {"none": plain_drift, "batch": 0.5}))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(plain_error - 2)
    assert f"move {2 * plain_drift:.2f} (" in decided.conditions


def test_drift_is_the_deviation_of_the_median_in_units_of_the_spread():
    # The medians of the first unit are -1 and 1, of the second 0; the spreads are 4 and 2.
    percentiles = np.array([[[-3.0, -1.0], [-1.0, 0.0], [1.0, 1.0]], [[-1.0, -1.0], [1.0, 0.0], [3.0, 1.0]]])
    assert drift(percentiles) == pytest.approx((1 / 4 + 0) / 2)


def test_the_network_is_the_papers():
    rows = trace(network(True, 100).layers(), (28, 28, 1))
    assert sum(row.info.parameters for row in rows) == 784 * 100 + 2 * 100 * 100 + 100 * 10 + 310 + 3 * 200


def test_percentiles_are_those_of_the_normalized_input_of_the_last_sigmoid():
    model = network(True, 5)
    rng = np.random.default_rng(0)
    images = rng.random((64, 6, 6, 1), np.float32)
    shapes = jax.eval_shape(partial(model.init, train=True), jax.random.key(0), images)
    variables = jax.tree.map(lambda x: rng.normal(1, 1, x.shape).astype(np.float32), shapes)
    state = TrainState(0, None, {}, variables["params"], {"batch_stats": variables["batch_stats"]}, None)
    low, median, high = jax.jit(_percentiles(model))(state, {"image": images}, None, None)
    x = (images.reshape(64, -1) > 0.5).astype(np.float64)
    for i in (1, 2, 3):
        dense, norm = (variables["params"][f"{name}{i}"] for name in ("fc", "norm"))
        x = x @ dense["kernel"] + dense["bias"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * norm["scale"] + norm["bias"]
        inputs, x = x, 1 / (1 + np.exp(-x))
    np.testing.assert_allclose([low, median, high], np.percentile(inputs, (15, 50, 85), axis=0), atol=1e-4)
