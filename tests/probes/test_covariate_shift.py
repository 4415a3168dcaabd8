"""Both meanings of internal covariate shift, against closed forms and explicit loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import InputError
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.probes import input_drift, internal_covariate_shift, network_loss
from tests.probes.probed_networks import Plain, batch_of, run, variables_of


class Linear(nn.Module):
    """Two linear layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, use_bias=False, name="second")(nn.Dense(5, use_bias=False, name="first")(x))


def squared(apply, params, model_state, batch, key):
    y, model_state = apply(params, model_state, batch["image"], key)
    return jnp.sum(jnp.square(y)) / (2 * len(y)), (model_state, {})


def small_updates(params, seed=5, scale=0.1):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(scale=scale, size=x.shape).astype(np.float32)), params)


def jitted(function, loss, *trees, **options):
    return run(functools.partial(function, loss, **options), *trees)


def test_a_linear_network_of_two_layers_has_the_shift_of_its_closed_form():
    """For the loss |X A B|^2 / 2n the gradient of B is A' X'X A B / n, where only A has moved."""
    batch = batch_of(16)
    variables = variables_of(Linear(), batch)
    params, updates = variables["params"], small_updates(variables["params"])
    found = jitted(
        internal_covariate_shift, network_loss(Linear(), variables, batch, objective=squared), params, updates
    )
    x, a, b = (
        np.asarray(v, np.float64) for v in (batch["image"], params["first"]["kernel"], params["second"]["kernel"])
    )

    def slope(a):
        return a.T @ x.T @ x @ a @ b / 16

    before, after = slope(a), slope(a + np.asarray(updates["first"]["kernel"], np.float64))
    second, first = found["layers"]["second"], found["layers"]["first"]
    assert second["difference"] == pytest.approx(np.linalg.norm(after - before), rel=1e-4)
    assert second["norm"] == pytest.approx(np.linalg.norm(before), rel=1e-4)
    cosine = np.sum(after * before) / np.linalg.norm(after) / np.linalg.norm(before)
    assert second["cosine"] == pytest.approx(cosine, rel=1e-5)
    assert first["difference"] == 0 and first["cosine"] == pytest.approx(1)
    assert list(found["layers"]) == ["first", "second"] and found["gradient_evaluations"] == 3


NORMED = Chain(
    (
        *(
            Conv(3, padding=1, name="conv"),
            BatchNorm(name="norm"),
            Activation("tanh", name="act"),
            Flatten(name="flat"),
        ),
        *(Dense(4, name="fc"), Activation("relu", name="act2"), Dense(3, name="output")),
    )
)


def test_shifts_equal_those_of_an_explicit_loop_over_layers():
    batch = batch_of(8, (4, 4, 2))
    variables = run(lambda key: NORMED.init(key, batch["image"], train=False), jax.random.key(0))
    loss, params = network_loss(NORMED, variables, batch), variables["params"]
    updates = small_updates(params)
    names = ["conv", "norm", "fc", "output"]
    found = jitted(internal_covariate_shift, loss, params, updates, layers=names)["layers"]
    gradient = jax.jit(jax.grad(loss))
    start = gradient(params)
    for i, name in enumerate(names):
        moved = {
            other: jax.tree.map(jnp.add, part, updates[other]) if names.index(other) < i else part
            for other, part in params.items()
        }
        old, new = (
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(each[name])]) for each in (start, gradient(moved))
        )
        assert found[name]["difference"] == pytest.approx(np.linalg.norm(new - old), rel=1e-3, abs=1e-6)
        assert found[name]["norm"] == pytest.approx(np.linalg.norm(old), rel=1e-4)
        cosine = old @ new / np.linalg.norm(old) / np.linalg.norm(new)
        assert found[name]["cosine"] == pytest.approx(cosine, rel=1e-4)
    assert found["conv"]["difference"] == 0 < found["norm"]["difference"]
    # Norms are left out unless they are named, but they move.
    default = jitted(internal_covariate_shift, loss, params, updates)["layers"]
    assert list(default) == ["conv", "fc", "output"]
    assert default["fc"]["difference"] == pytest.approx(found["fc"]["difference"], rel=1e-4)


def test_the_cosine_of_vanished_gradients_is_measured():
    batch = batch_of(16)
    variables = variables_of(Linear(), batch)

    def vanished(*arguments):
        value, rest = squared(*arguments)
        return 1e-25 * value, rest

    updates = small_updates(variables["params"])
    losses = [network_loss(Linear(), variables, batch, objective=each) for each in (squared, vanished)]
    one, other = (
        jitted(internal_covariate_shift, loss, variables["params"], updates)["layers"]["second"] for loss in losses
    )
    assert other["cosine"] == pytest.approx(one["cosine"], rel=1e-4)
    assert other["difference"] == pytest.approx(1e-25 * one["difference"], rel=1e-4)


def first_output(params, batch):
    kernel, bias = (np.asarray(params["dense0"][name], np.float64) for name in ("kernel", "bias"))
    return np.asarray(batch["image"], np.float64) @ kernel + bias


def test_drifts_equal_those_of_numpy():
    batch = batch_of(16)
    variables = variables_of(Plain(), batch)
    params = variables["params"]
    updates = small_updates(params)
    found = jitted(input_drift, network_loss(Plain(), variables, batch), params, updates)
    moved = jax.tree.map(np.add, params, updates)

    before, after = (np.tanh(first_output(each, batch)) for each in (params, moved))
    scale = before.std(axis=0)
    shift, spread = (after.mean(0) - before.mean(0)) / scale, (after.std(0) - scale) / scale
    drift = found["layers"]["dense1"]
    assert drift["mean_shift"] == pytest.approx(np.sqrt(np.mean(shift**2)), rel=1e-4)
    assert drift["std_shift"] == pytest.approx(np.sqrt(np.mean(spread**2)), rel=1e-3)
    assert drift["distance"] == pytest.approx(np.sqrt(np.mean(shift**2 + spread**2)), rel=1e-4)
    assert list(found["layers"]) == ["dense0", "dense1", "output"]
    assert all(value == 0 for value in found["layers"]["dense0"].values())


def test_noise_of_the_loss_after_the_update_belongs_to_the_drift():
    batch = batch_of(16)
    variables = variables_of(Plain(), batch)
    params = variables["params"]
    updates = jax.tree.map(jnp.zeros_like, params)
    noisy = {**batch, "image": 2 * batch["image"]}
    before, after = (network_loss(Plain(), variables, each) for each in (batch, noisy))
    found = jitted(input_drift, before, params, updates, after=after)["layers"]["dense0"]
    # Twice the input: the mean moves by itself, the deviation doubles.
    relative = np.asarray(batch["image"]).mean(0) / np.asarray(batch["image"]).std(0)
    assert found["mean_shift"] == pytest.approx(np.sqrt(np.mean(relative**2)), rel=1e-4)
    assert found["std_shift"] == pytest.approx(1, rel=1e-4)


def test_units_with_a_constant_input_do_not_count_in_the_drift():
    batch = batch_of(16)
    variables = variables_of(Plain("relu"), batch)
    params = variables["params"]
    # Unit 0 is never active.
    params["dense0"]["kernel"] = params["dense0"]["kernel"].at[:, 0].set(0)
    params["dense0"]["bias"] = params["dense0"]["bias"].at[0].set(-1).at[1:].set(3)
    updates = jax.tree.map(jnp.zeros_like, params)
    updates["dense0"]["bias"] = updates["dense0"]["bias"].at[1:].set(0.5)
    found = jitted(input_drift, network_loss(Plain("relu"), variables, batch), params, updates)["layers"]["dense1"]
    before, after = (np.maximum(first_output(params, batch) + step, 0)[:, 1:] for step in (0, 0.5))
    shift = (after.mean(0) - before.mean(0)) / before.std(0)
    assert found["mean_shift"] == pytest.approx(np.sqrt(np.mean(shift**2)), rel=1e-3)


@pytest.mark.parametrize("function", [internal_covariate_shift, input_drift])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["dense4"]}, "layers has 'dense4', which matches no layer. Did you mean"),
        ({"loss": lambda params: jnp.ones(3)}, "the loss has shape (3,) and type float32; it must be one floating"),
        ({"loss": lambda params: jnp.sum(params["output"]["bias"])}, "no parameter belongs to a layer that the loss"),
    ],
)
def test_what_cannot_be_measured_gets_one_message(function, options, words):
    batch = batch_of()
    variables = variables_of(Plain(), batch)
    options = {"loss": network_loss(Plain(), variables, batch)} | options
    with pytest.raises(InputError) as error:
        function(params=variables["params"], updates=variables["params"], **options)
    assert str(error.value).startswith(words)
