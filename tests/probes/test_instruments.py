"""Instruments within a training step: the same readings as their functions, and the same update."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxcnn.config import Optimizer, Probes
from jaxcnn.data.streams import StepStream
from jaxcnn.probes import (
    Instruments,
    gradient_step,
    hessian_eigenvalue,
    input_drift,
    internal_covariate_shift,
    loss_along_step,
    network_loss,
    probe,
    through_time,
)
from jaxcnn.training.optim import hyperparameters, make_optimizer
from jaxcnn.training.state import IMPLEMENTATION, create_state
from jaxcnn.training.steps import make_train_step
from tests.probes.networks import batch_of


class Network(nn.Module):
    """Dropout, batch normalization and a recurrent layer."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.RNN(nn.SimpleCell(4, name="cell"), name="rnn")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x[:, -1])
        x = nn.tanh(nn.Dense(5, name="dense")(nn.Dropout(0.3, deterministic=not train)(x)))
        return nn.Dense(3, name="output")(x)


EVERY = ("gradients", "ics", "drift", "landscape", "hessian", "lags")
SETTINGS = Probes(instruments=EVERY, activations=("dense=tanh",))


@pytest.fixture(scope="module")
def taken():
    """The state and the batch before a step, the state after it, and what was read."""
    model, batch = Network(), batch_of(8, (5, 2))
    variables = jax.jit(lambda: model.init(jax.random.key(0), batch["image"], train=False))()
    settings = Optimizer()
    optimizer = make_optimizer(settings, variables["params"], steps_per_epoch=10, total_steps=100)
    state = create_state(variables, optimizer, hyper=hyperparameters(settings))
    instruments = Instruments(SETTINGS)
    probed = jax.jit(make_train_step(model, optimizer, readings=instruments, tap=instruments.tap))
    plain = jax.jit(make_train_step(model, optimizer))
    return model, state, batch, plain(state, batch), probed(state, batch)


def test_a_step_with_instruments_makes_the_same_update(taken):
    *_, (state, metrics, nothing), (probed, same, readings) = taken
    assert nothing == {} and readings.keys() == set(EVERY)
    for one, other in zip(jax.tree.leaves((state, metrics)), jax.tree.leaves((probed, same)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)


def test_the_readings_are_those_of_the_functions_for_the_same_dropout(taken):
    model, state, batch, (after, *_), (*_, readings) = taken
    root = jax.random.wrap_key_data(state.key, impl=IMPLEMENTATION)
    key = jax.random.fold_in(root, 2 * state.step + StepStream.DROPOUT)

    @jax.jit
    def separately(params, new):
        loss = network_loss(model, state.variables, batch, key=key)
        updates, gradients = jax.tree.map(jnp.subtract, new, params), jax.grad(loss)(params)
        options = {"key": key, "updates": updates, "activations": {"dense": "tanh"}}
        return {
            "gradients": probe(model, state.variables, batch, **options),
            "ics": internal_covariate_shift(loss, params, updates),
            "drift": input_drift(loss, params, updates),
            "landscape": loss_along_step(loss, params, gradient_step(gradients, updates)),
            "hessian": hessian_eigenvalue(loss, params, jax.random.key(0)),
            "lags": through_time(loss, params),
        }

    expected = separately(state.params, after.params)
    assert list(readings["gradients"]) == list(expected["gradients"]) and "saturated" in readings["gradients"]["dense"]
    for path, value in jax.tree.leaves_with_path(expected):
        found = dict(jax.tree.leaves_with_path(readings))[path]
        np.testing.assert_allclose(found, value, rtol=2e-2, atol=1e-4, err_msg=jax.tree_util.keystr(path))


def test_instruments_without_gradients_read_no_layers(taken):
    model, state, batch, *_ = taken
    instruments = Instruments(Probes(instruments=("landscape",)))
    step = make_train_step(model, optax.sgd(0.1), readings=instruments, tap=instruments.tap)
    small = create_state(state.variables, optax.sgd(0.1))
    readings = jax.eval_shape(step, small, batch)[2]
    assert readings.keys() == {"landscape"}


def test_instruments_are_equal_whatever_their_interval():
    one, other = (Instruments(Probes(every=n)) for n in (10, 20))
    assert one == other and hash(one) == hash(other)
    assert one != Instruments(Probes(layers=("conv*",)))
