"""Instruments within a training step: the same readings as their functions, and the same update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.config import Optimizer, Probes
from jaxcnn.data.streams import StepStream
from jaxcnn.probes import (
    Instruments,
    gradient_step,
    hessian_eigenvalue,
    input_drift,
    instruments,
    internal_covariate_shift,
    loss_along_step,
    network_loss,
    through_time,
)
from jaxcnn.training.optim import hyperparameters, make_optimizer
from jaxcnn.training.state import IMPLEMENTATION, create_state
from jaxcnn.training.steps import make_train_step
from tests.probes.probed_networks import batch_of, run


class Network(nn.Module):
    """Dropout, batch normalization and, if wanted, a recurrent layer."""

    recurrent: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.RNN(nn.SimpleCell(4, name="cell"), name="rnn")(x) if self.recurrent else x
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x[:, -1])
        x = nn.tanh(nn.Dense(5, name="dense")(nn.Dropout(0.3, deterministic=not train)(x)))
        return nn.Dense(3, name="output")(x)


EVERY = ("gradients", "ics", "drift", "landscape", "hessian", "lags")
BATCH = batch_of(8, (5, 2))


def start_of(model):
    """Return a network, a state before a step, and the optimizer."""
    variables = run(lambda key: model.init(key, BATCH["image"], train=False), jax.random.key(0))
    settings = Optimizer()
    optimizer = make_optimizer(settings, variables["params"], steps_per_epoch=10, total_steps=100)
    return model, create_state(variables, optimizer, hyper=hyperparameters(settings)), optimizer


@pytest.fixture(scope="module")
def start():
    return start_of(Network())


def taken(start, *instruments):
    """Return the state after a step, its metrics and the readings."""
    model, state, optimizer = start
    probes = Instruments(Probes(instruments=instruments, activations=("dense=tanh",))) if instruments else None
    options = {"readings": probes, "tap": probes.tap} if probes else {}
    return run(make_train_step(model, optimizer, **options), state, BATCH)


def loss_of_step(model, state):
    root = jax.random.wrap_key_data(state.key, impl=IMPLEMENTATION)
    key = jax.random.fold_in(root, 2 * state.step + StepStream.DROPOUT)
    return network_loss(model, state.variables, BATCH, key=key)


@pytest.mark.slow
def test_a_step_with_instruments_makes_the_same_update(start):
    *expected, nothing = taken(start)
    *found, readings = taken(start, "gradients")
    assert nothing == {} and readings.keys() == {"gradients"}
    assert list(readings["gradients"]) == ["norm", "dense", "output"]
    assert "saturated" in readings["gradients"]["dense"]
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)
    model, state, _ = start
    before, (after, metrics) = state.params["dense"]["kernel"], expected
    parameter = readings["gradients"]["dense"]["parameters"]["kernel"]
    moved = np.linalg.norm(after.params["dense"]["kernel"] - before)
    assert parameter["update_norm"] == pytest.approx(moved, rel=1e-4)
    assert parameter["update_ratio"] == pytest.approx(moved / np.linalg.norm(before), rel=1e-4)
    assert metrics["loss"] / 8 == pytest.approx(float(loss_of_step(model, state)(state.params)), rel=1e-5)


def test_functions_get_the_loss_of_the_step_with_its_dropout(start, monkeypatch):
    model, state, _ = start
    loss = loss_of_step(model, state)

    def shows(loss, params, *rest):
        return {"loss": loss(params), "rest": rest}

    for name in ("internal_covariate_shift", "input_drift", "loss_along_step", "hessian_eigenvalue", "through_time"):
        monkeypatch.setattr(instruments, name, shows)
    after, _, readings = taken(start, *EVERY[1:])
    assert readings.keys() == set(EVERY[1:])
    for found in readings.values():
        assert found["loss"] == pytest.approx(float(loss(state.params)), rel=1e-5)
    updates = jax.tree.map(jnp.subtract, after.params, state.params)
    step = gradient_step(run(jax.grad(loss), state.params), updates)
    for name, expected in (("ics", updates), ("drift", updates), ("landscape", step)):
        for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(readings[name]["rest"]), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_all_readings_are_those_of_the_functions():
    model, state, _ = start = start_of(Network(recurrent=True))
    after, _, readings = taken(start, *EVERY)

    def separately(params, new):
        loss = loss_of_step(model, state)
        updates, gradients = jax.tree.map(jnp.subtract, new, params), jax.grad(loss)(params)
        return {
            "ics": internal_covariate_shift(loss, params, updates),
            "drift": input_drift(loss, params, updates),
            "landscape": loss_along_step(loss, params, gradient_step(gradients, updates)),
            "hessian": hessian_eigenvalue(loss, params, jax.random.key(0)),
            "lags": through_time(loss, params),
        }

    found = dict(jax.tree.leaves_with_path(readings))
    for path, value in jax.tree.leaves_with_path(run(separately, state.params, after.params)):
        np.testing.assert_allclose(found[path], value, rtol=2e-2, atol=1e-4, err_msg=jax.tree_util.keystr(path))


def test_instruments_are_equal_whatever_their_interval():
    one, other = (Instruments(Probes(every=n)) for n in (10, 20))
    assert one == other and hash(one) == hash(other)
    assert one != Instruments(Probes(layers=("conv*",)))
