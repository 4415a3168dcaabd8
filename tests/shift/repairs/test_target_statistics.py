import jax
import numpy as np
import pytest

from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import read
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from jaxcnn.shift.repairs.target_statistics import adapt_statistics
from tests.shift.networks import images, network

LAYERS = (
    Conv(3, kernel=3, name="conv1"),
    BatchNorm(momentum=0.7, unbiased=False, name="norm1"),
    Activation("relu", name="relu1"),
    Flatten(name="flatten"),
    Dense(5, name="f2"),
    BatchNorm(momentum=0.9, unbiased=False, name="norm2"),
    Activation("tanh", name="tanh2"),
    Dense(4, name="output"),
)


def test_it_equals_a_pass_in_training_mode():
    """Flax's running averages, from zero, are (1 - momentum) times the statistics of the batch."""
    net, x = network(LAYERS), images(23)
    zeros = jax.tree.map(np.zeros_like, net.variables["batch_stats"])
    variables = {"params": net.variables["params"], "batch_stats": zeros}
    _, new = net.model.apply(variables, net.preprocess(x), train=True, mutable=["batch_stats"])
    expected = {
        name: jax.tree.map(lambda value, share=share: value / share, new["batch_stats"][name])
        for name, share in (("norm1", 0.3), ("norm2", 0.1))
    }
    found = adapt_statistics(net, x, batch_size=10)
    for name, statistics in expected.items():
        for part, value in statistics.items():
            np.testing.assert_allclose(found.variables["batch_stats"][name][part], value, rtol=1e-4, atol=1e-5)
    assert found.variables["params"] is net.variables["params"]


@pytest.mark.parametrize("prior", [0, 16])
def test_with_a_prior_it_equals_one_batch_of_all_images(prior):
    net, x = network(LAYERS), images(23)
    found = read(adapt_statistics(net, x, prior=prior, batch_size=10), x).log_probabilities
    np.testing.assert_allclose(found, predict_by_batch(net, x, prior=prior), atol=1e-4)


def test_order_and_dropout_change_nothing():
    net, x = network((*LAYERS[:3], Dropout(0.9, name="drop"), *LAYERS[3:])), images(20)
    a, b = (adapt_statistics(net, rows, batch_size=7).variables["batch_stats"] for rows in (x, x[::-1]))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5), a, b)


def test_every_batch_is_polled():
    polls = []
    adapt_statistics(network(LAYERS), images(23), batch_size=10, poll=lambda: polls.append(1))
    assert len(polls) >= 2 * 3


def test_a_negative_prior_is_refused():
    with pytest.raises(InputError, match="prior is -1"):
        adapt_statistics(network(LAYERS), images(3), prior=-1)
