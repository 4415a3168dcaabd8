"""Gradients by time lag, against gradients with respect to perturbed states and against powers of a matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import InputError
from jaxcnn.probes import network_loss, through_time
from tests.probes.probed_networks import Plain, batch_of, run, variables_of

STEPS, FEATURES, HIDDEN = 7, 2, 4


class Recurrent(nn.Module):
    """A recurrent layer and an output from its last step."""

    cell: type = nn.SimpleCell
    options: tuple = ()

    @nn.compact
    def __call__(self, x):
        y = nn.RNN(self.cell(HIDDEN, name="cell"), name="rnn", **dict(self.options))(x)
        y = y[1] if isinstance(y, tuple) else y
        return nn.Dense(3, name="output")(y[:, -1])


def setting(model):
    batch = batch_of(5, (STEPS, FEATURES))
    variables = run(model.init, jax.random.key(0), batch["image"])
    return network_loss(model, variables, batch), variables["params"], batch


def read(loss, params):
    found = run(functools.partial(through_time, loss), params)
    assert found["gradient_evaluations"] == 1
    return found["layers"]


@pytest.mark.parametrize("kind", [nn.SimpleCell, nn.LSTMCell, pytest.param(nn.GRUCell, marks=pytest.mark.slow)])
def test_norms_equal_those_with_respect_to_perturbed_states(kind):
    loss, params, batch = setting(Recurrent(kind))
    cell = kind(HIDDEN)
    start = cell.initialize_carry(jax.random.key(0), (5, FEATURES))

    def explicit(perturbations):
        state = start
        for t in range(STEPS):
            state = jax.tree.map(lambda s, e, t=t: s + e[t], state, perturbations)
            state, y = cell.apply({"params": params["cell"]}, state, batch["image"][:, t])
        logits = y @ params["output"]["kernel"] + params["output"]["bias"][None]
        return jnp.mean(jax.nn.logsumexp(logits, 1) - logits[jnp.arange(5), batch["label"]])

    zeros = jax.tree.map(lambda s: jnp.zeros((STEPS, *s.shape)), start)
    gradients = jax.tree.leaves(run(jax.grad(explicit), zeros))
    expected = np.sqrt(sum(np.sum(np.square(g), axis=(1, 2)) for g in gradients))
    found = read(loss, params)
    assert list(found) == ["rnn"]
    np.testing.assert_allclose(found["rnn"], expected, rtol=1e-4)


def test_a_linear_recurrence_has_the_powers_of_its_factor():
    """With h_t = 0.5 Q h_(t-1) + ..., Q orthogonal, the gradient halves with each step back."""

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x):
            half = nn.initializers.orthogonal(scale=0.5)
            cell = nn.SimpleCell(HIDDEN, activation_fn=lambda x: x, recurrent_kernel_init=half, name="cell")
            return nn.Dense(3, name="output")(nn.RNN(cell, name="rnn")(x)[:, -1])

    norms = read(*setting(Linear())[:2])["rnn"]
    np.testing.assert_allclose(norms[:-1] / norms[1:], 0.5, rtol=1e-4)


def test_norms_far_below_the_smallest_square_are_measured():
    class Tiny(nn.Module):
        @nn.compact
        def __call__(self, x):
            small = nn.initializers.orthogonal(scale=1e-4)
            cell = nn.SimpleCell(HIDDEN, activation_fn=lambda x: x, recurrent_kernel_init=small, name="cell")
            return nn.Dense(3, name="output")(nn.RNN(cell, name="rnn")(x)[:, -1])

    norms = read(*setting(Tiny())[:2])["rnn"]
    np.testing.assert_allclose(norms[:-1] / norms[1:], 1e-4, rtol=1e-3)
    assert norms[0] < 1e-24


@pytest.mark.slow
def test_options_of_the_recurrent_layer_change_nothing():
    loss, params, _ = setting(Recurrent())
    other, *_ = setting(Recurrent(options=(("return_carry", True), ("unroll", 3))))
    np.testing.assert_allclose(read(other, params)["rnn"], read(loss, params)["rnn"], rtol=1e-5)


def test_steps_are_in_the_order_in_which_they_are_processed():
    loss, params, _ = setting(Recurrent(nn.SimpleCell, (("reverse", True), ("keep_order", True))))
    found = read(loss, params)["rnn"]
    # The loss reads the output at the end of the sequence, which is processed first.
    assert found[0] > 0 and np.all(found[1:] == 0)


@pytest.mark.slow
def test_every_recurrent_layer_of_a_stack_is_read():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.RNN(nn.SimpleCell(HIDDEN), name="first")(x)
            x = nn.RNN(nn.SimpleCell(HIDDEN), time_major=True, name="second")(jnp.swapaxes(x, 0, 1))
            return nn.Dense(3, name="output")(x[-1])

    loss, params, _ = setting(Stack())
    found = read(loss, params)
    assert list(found) == ["first", "second"] and all(norms.shape == (STEPS,) for norms in found.values())


def test_lengths_with_a_returned_state_are_refused():
    class Padded(nn.Module):
        @nn.compact
        def __call__(self, x):
            rnn = nn.RNN(nn.SimpleCell(HIDDEN, name="cell"), return_carry=True, name="rnn")
            return nn.Dense(3, name="output")(rnn(x, seq_lengths=jnp.full(len(x), 3))[0])

    loss, params, _ = setting(Padded())
    with pytest.raises(InputError, match=r"rnn is called with seq_lengths and return_carry"):
        through_time(loss, params)


def test_a_network_without_recurrent_layers_has_no_lags():
    batch = batch_of()
    variables = variables_of(Plain(), batch)
    with pytest.raises(InputError, match=r"the network has no flax\.linen\.RNN, so that it has no time lags\."):
        through_time(network_loss(Plain(), variables, batch), variables["params"])
