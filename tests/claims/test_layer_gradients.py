"""Gradients of layers at initial weights and in a run, against explicit ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import Experiment, Optimizer
from jaxcnn.claims.layer_gradients import (
    decades,
    first_batch,
    gradients_over_training,
    initial_gradients,
    initial_variables,
)
from jaxcnn.claims.study import Study
from jaxcnn.config import Probes
from jaxcnn.layers import Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.runs.plan import make_plan

NETWORK = Chain((Flatten(name="flatten"), Dense(5, name="fc1"), Dense(4, name="fc2"), Dense(10, name="output")))


def explicit(params, batch):
    """Return the outputs of fc1 and fc2, and the gradients with respect to them, times the number of images."""
    x = batch["image"].reshape(len(batch["image"]), -1)

    def loss(added):
        first = x @ params["fc1"]["kernel"] + added[0]
        second = first @ params["fc2"]["kernel"] + added[1]
        losses = optax.softmax_cross_entropy_with_integer_labels(second @ params["output"]["kernel"], batch["label"])
        return jnp.sum(losses), (first, second)

    zeros = [jnp.zeros((len(x), n)) for n in (5, 4)]
    gradients, outputs = jax.grad(loss, has_aux=True)(zeros)
    return [np.asarray(y, np.float64) for y in outputs], [np.asarray(g, np.float64) for g in gradients]


def batch_of(count=6):
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(count, 2, 2, 1)).astype(np.float32), "label": np.arange(count) % 10}


@pytest.mark.slow
def test_initial_gradients_are_those_of_hidden_layers_with_weights():
    batch = batch_of()
    found = initial_gradients(NETWORK, batch, range(2))
    for seed in range(2):
        _, gradients = explicit(initial_variables(NETWORK, batch, seed)["params"], batch)
        np.testing.assert_allclose(found[seed], [g.std() for g in gradients], rtol=1e-4)
    assert found[0, 0] != found[1, 0]
    np.testing.assert_array_equal(initial_gradients(NETWORK, batch, [1], layers=("fc2",)), found[1:, 1:])


def test_decades_go_from_the_last_layer_to_the_first():
    assert decades(np.array([[1e-5, 3.0, 1e-2], [10.0, 1.0, 1.0]])) == pytest.approx([-3, 1])
    assert np.isfinite(decades(np.array([0.0, 1.0])))


@pytest.mark.slow
def test_gradients_over_the_training_are_times_the_deviation_of_the_outputs(tmp_path):
    study = Study(tmp_path, seeds=1, scale="tiny")
    experiment = Experiment(
        model=NETWORK,
        data=study.images("mnist", train=20, test=16, batch_size=16),
        # The weights do not move, so that all readings are of the same network.
        optimizer=Optimizer(learning_rate=1e-30, weight_decay=0.0),
        epochs=2,
        probes=Probes(every=1, layers=("fc*",)),
    )
    (record,) = study.repeat({"": experiment})[""]
    steps, found = gradients_over_training(record)
    assert steps.tolist() == [0, 1] and found.shape == (2, 2)
    images = first_batch(experiment.data, 16)
    assert images["image"].shape == (16, 28, 28, 1) and images["label"].dtype == np.int32
    # Both readings are of the 16 training images, in another order.
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    params = make_plan(record.experiment).initial_state().params
    outputs, gradients = explicit(params, images)
    expected = [y.std() * g.std() for y, g in zip(outputs, gradients, strict=True)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
