import jax
import numpy as np
import pytest

from jaxcnn.layers import Activation, Dense, Dropout, Flatten, LayerNorm
from jaxcnn.norms.population import apply_blended
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import read
from jaxcnn.shift.repairs import batch_statistics
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from tests.shift import trained
from tests.shift.networks import images, network


def by_hand(net, x, prior):
    """The dense network in NumPy, on one batch."""
    p, old = jax.tree.map(np.float64, (net.variables["params"], net.variables["batch_stats"]["norm1"]))
    z = x.reshape(len(x), -1) / 255 @ p["f1"]["kernel"] + p["f1"]["bias"]
    n = len(x)
    mean = (prior * old["mean"] + n * z.mean(0)) / (prior + n)
    var = (prior * old["var"] + n * z.var(0)) / (prior + n)
    hidden = np.maximum((z - mean) / np.sqrt(var + 1e-5) * p["norm1"]["scale"] + p["norm1"]["bias"], 0)
    logits = hidden @ p["output"]["kernel"] + p["output"]["bias"]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("prior", [0, 16, 64.0, 1e9])
def test_a_batch_is_normalized_by_the_blend(prior):
    net, x, _ = trained.trained()
    np.testing.assert_allclose(predict_by_batch(net, x[:40], prior=prior), by_hand(net, x[:40], prior), atol=2e-3)


def test_one_program_serves_every_prior():
    net, x, _ = trained.trained()
    forward = batch_statistics._forward(net.model, net.preprocess, net.crop)
    before = forward._cache_size()
    for prior in (0, 16, 64, 256):
        predict_by_batch(net, x[:60], prior=prior, batch_size=20)
    assert forward._cache_size() <= before + 1


def test_results_are_in_the_order_of_the_images():
    """With a large prior no image depends on its batch."""
    net, x, _ = trained.trained()
    found = predict_by_batch(net, x[:50], prior=1e9, batch_size=8)
    np.testing.assert_allclose(found, read(net, x[:50]).log_probabilities, atol=1e-3)


def test_images_sorted_by_class_do_not_harm():
    """Batches of one class are normalized to the same statistics as the others, so that their difference is gone."""
    net, x, y = trained.trained()
    rows = np.argsort(y, kind="stable")
    normalized = jax.jit(lambda batch: apply_blended(net.model, net.variables, net.preprocess(batch), 0.0))
    in_order = np.concatenate([np.asarray(normalized(x[rows][i : i + 30])) for i in range(0, len(x), 30)])
    accuracy = [
        np.mean(found.argmax(1) == y[rows])
        for found in (in_order, predict_by_batch(net, x[rows], batch_size=30), read(net, x).log_probabilities[rows])
    ]
    assert accuracy[0] < 0.5 < 0.9 < accuracy[1]
    assert accuracy[1] > accuracy[2] - 0.05


def test_dropout_is_off():
    layers = trained.MODEL.layers()
    net = network((*layers[:4], Dropout(0.9, name="drop"), Dense(4, name="output")))
    assert np.array_equal(predict_by_batch(net, images(8)), predict_by_batch(net, images(8)))


def test_a_network_without_batch_norm_is_refused():
    layers = (Flatten(name="flatten"), Dense(5, name="f1"), LayerNorm(name="norm1"), Activation("relu", name="relu"))
    net = network((*layers, Dense(4, name="output")))
    with pytest.raises(InputError, match=r"Chain has no batch normalization .* Train a network with norm=batch"):
        predict_by_batch(net, images(8))


@pytest.mark.parametrize("prior", [-1, float("nan"), float("inf")])
def test_a_prior_that_is_no_number_of_images_is_refused(prior):
    net, x, _ = trained.trained()
    with pytest.raises(InputError, match=r"prior is .*; it must be a number of images, 0 or more"):
        predict_by_batch(net, x[:4], prior=prior)
