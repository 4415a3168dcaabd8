from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.repairs.last_layer import refit_last_layer
from tests.shift.samples import drawn, outputs


def test_it_finds_the_layer_that_made_the_labels():
    """The features are normal with equal covariances, so that the true probabilities are a logistic regression."""
    source, target = outputs(drawn(6000)), outputs(drawn(200, seed=1), seed=1)
    found = np.exp(refit_last_layer(source, target))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - np.exp(target.log_probabilities)).mean() < 0.02


def test_a_weight_is_a_number_of_copies():
    source, target = outputs(drawn(60)), outputs(drawn(20, seed=1), seed=1)
    weights = np.random.default_rng(0).integers(1, 4, 60)
    copies = source.take(np.repeat(np.arange(60), weights))
    # Features are standardized without weights, so that the copies must have the same means.
    a = refit_last_layer(source, target, weights.astype(float))
    b = refit_last_layer(copies, target)
    np.testing.assert_allclose(np.exp(a), np.exp(b), atol=0.03)
    assert not np.allclose(np.exp(a), np.exp(refit_last_layer(source, target)), atol=0.01)


def test_weights_move_the_layer_to_the_target():
    """A linear layer cannot fit both halves of this line: right where it is weighted."""
    x = np.linspace(-2, 2, 400)[:, None]
    labels = ((x[:, 0] > -1) & (x[:, 0] < 1)).astype(int)
    source = Outputs(x, x, np.zeros((400, 2)), labels=labels)
    right = [
        (refit_last_layer(source, source, weights).argmax(1) == labels)[x[:, 0] > 0].mean()
        for weights in (None, np.where(x[:, 0] > 0, 1.9, 0.1))
    ]
    assert right[0] < 0.6 and right[1] > 0.95


def test_labels_of_the_target_are_not_used():
    source, target = outputs(drawn(60)), outputs(drawn(20, seed=1), seed=1)
    assert np.array_equal(refit_last_layer(source, target), refit_last_layer(source, replace(target, labels=None)))


def test_a_source_without_labels_or_without_a_class_is_refused():
    target = outputs(drawn(20))
    with pytest.raises(InputError, match="source has no labels"):
        refit_last_layer(outputs(drawn(20), labelled=False), target)
    with pytest.raises(InputError, match="source has no image with label 2"):
        refit_last_layer(outputs(np.arange(20) % 2), target)
