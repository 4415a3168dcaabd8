"""Readings against explicit gradients, NumPy, and networks of which the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import InputError
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten, MaxPool, Residual
from jaxcnn.models import Chain
from jaxcnn.probes import EDGES, dead, first_to_last, probe
from tests.probes.probed_networks import Plain, batch_of, perturbed_gradients, run, variables_of

CONV = Chain(
    (
        *(
            Conv(3, padding=1, name="conv"),
            BatchNorm(name="norm"),
            Activation("relu", name="act"),
            MaxPool(2, name="pool"),
        ),
        Residual((Conv(3, padding=1, name="inner"),), name="res"),
        *(Flatten(name="flat"), Dense(4, name="fc"), Activation("sigmoid", name="act2"), Dense(3, name="output")),
    )
)


def jitted(model, variables, batch, **options):
    return run(lambda variables, batch: probe(model, variables, batch, **options), variables, batch)


def check_distribution(found, values):
    values = np.asarray(values, np.float64)
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-4, abs=1e-6 * values.std())
    assert found["std"] == pytest.approx(values.std(), rel=1e-4)
    low, high = np.quantile(values, [0.02, 0.98], method="inverted_cdf")
    assert found["low"] == pytest.approx(low, rel=0.13) and found["high"] == pytest.approx(high, rel=0.13)
    np.testing.assert_array_equal(found["histogram"], np.histogram(values, EDGES)[0])


def test_readings_equal_those_of_explicit_gradients():
    model, batch = Plain(), batch_of()
    variables = variables_of(model, batch)
    params = variables["params"]
    updates = jax.tree.map(lambda x: 0.01 * jnp.ones_like(x), params)
    readings = jitted(model, variables, batch, updates=updates)
    outputs, gradients, own = perturbed_gradients(params, batch)
    assert list(readings) == ["dense0", "dense1", "output"]
    for name, layer in readings.items():
        check_distribution(layer["activations"], outputs[name])
        check_distribution(layer["gradients"], 8 * np.asarray(gradients[name]))
        assert not layer.keys() & {"saturated", "inactive", "active", "sparsity"}
        for key in ("kernel", "bias"):
            found, weights = layer["parameters"][key], np.asarray(params[name][key])
            check_distribution(found["gradients"], own[name][key])
            assert found["norm"] == pytest.approx(np.linalg.norm(weights), rel=1e-5)
            ratio = 0.01 * np.sqrt(weights.size) / np.linalg.norm(weights)
            assert found["update_ratio"] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize(
    ("function", "saturated"),
    [
        ("tanh", lambda z: np.abs(np.tanh(z)) > 0.95),
        ("sigmoid", lambda z: np.abs(1 / (1 + np.exp(-z)) - 0.5) > 0.45),
    ],
)
def test_a_named_activation_tells_saturation(function, saturated):
    model, batch = Plain(function), batch_of()
    variables = jax.tree.map(lambda x: 3 * x, variables_of(model, batch))
    readings = jitted(model, variables, batch, activations={"dense0": function})
    outputs, *_ = perturbed_gradients(variables["params"], batch, function)
    share = saturated(np.asarray(outputs["dense0"], np.float64)).mean()
    assert 0 < share < 1 and readings["dense0"]["saturated"] == pytest.approx(share)
    assert "saturated" not in readings["dense1"]


def test_the_layers_of_a_network_of_ours_are_known():
    batch = batch_of(6, (8, 8, 2))
    batch["image"] = batch["image"] - 1.5
    variables = run(lambda key: CONV.init(key, batch["image"], train=False), jax.random.key(0))
    # A unit whose input is below 0 everywhere.
    variables["params"]["norm"]["bias"] = jnp.array([0.0, -9.0, 0.0])
    readings = jitted(CONV, variables, batch)
    assert list(readings) == ["conv", "norm", "act", "res/inner", "fc", "act2", "output"]
    options = {"train": True, "capture_intermediates": True, "mutable": ["intermediates", "batch_stats"]}
    _, kept = run(lambda variables: CONV.apply(variables, batch["image"], **options), variables)
    kept = {name: each for name, each in kept["intermediates"].items() if name not in ("res", "__call__")}
    found = {name: np.asarray(each["__call__"][0]) for name, each in kept.items()}
    for name in ("conv", "norm", "act", "fc", "act2", "output"):
        assert readings[name]["activations"]["std"] == pytest.approx(found[name].std(), rel=1e-4)
    np.testing.assert_array_equal(readings["act"]["active"], [1, 0, 1])
    # From the first to the last layer with a kernel, not to norms and activations.
    ends = [readings[name]["gradients"]["std"] for name in ("conv", "output")]
    assert first_to_last(readings) == pytest.approx(np.log10(ends[0] / ends[1]), rel=1e-4)
    assert readings["act"]["inactive"] == pytest.approx(1 / 3)
    assert readings["act"]["sparsity"] == pytest.approx(np.mean(found["act"] == 0))
    assert readings["act2"]["saturated"] == pytest.approx(np.mean(np.abs(found["act2"] - 0.5) > 0.45))
    assert readings["norm"]["parameters"].keys() == {"scale", "bias"} and "parameters" not in readings["act"]


@pytest.mark.slow
def test_layers_can_be_chosen_by_name_and_pattern():
    batch = batch_of(6, (8, 8, 2))
    variables = run(lambda key: CONV.init(key, batch["image"], train=False), jax.random.key(0))
    readings = jitted(CONV, variables, batch, layers=["act*", "res", "pool"])
    assert list(readings) == ["act", "pool", "res", "act2"]
    everything = jax.eval_shape(lambda: probe(CONV, variables, batch, layers=["*"]))
    assert len(everything) == 11 and "." in everything


def test_a_linear_network_has_the_gradients_of_its_closed_form():
    """With a loss of sum(y ** 2) / 2n the gradient at output i is y times the product of the later weights / n."""

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(3):
                x = nn.Dense(4, use_bias=False, name=f"w{i}")(x)
            return x

    def squared(apply, params, model_state, batch, key):
        y, model_state = apply(params, model_state, batch["image"], key)
        return jnp.sum(jnp.square(y)) / (2 * len(y)), (model_state, {})

    model, batch = Linear(), batch_of(16)
    variables = variables_of(model, batch)
    readings = jitted(model, variables, batch, objective=squared)
    weights = [np.asarray(variables["params"][f"w{i}"]["kernel"], np.float64) for i in range(3)]
    gradient = np.asarray(batch["image"], np.float64) @ weights[0] @ weights[1] @ weights[2]
    for i in (2, 1, 0):
        check_distribution(readings[f"w{i}"]["gradients"], gradient)
        gradient = gradient @ weights[i].T


def test_vanished_gradients_are_measured_down_to_the_smallest_numbers():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(12):
                x = nn.Dense(4, use_bias=False, name=f"w{i:02}")(x)
            return x

    model, batch = Deep(), batch_of(8)
    variables = jax.tree.map(lambda _: 1e-3 * jnp.eye(4), variables_of(model, batch))

    def total(apply, params, model_state, batch, key):
        return jnp.mean(apply(params, model_state, batch["image"], key)[0] @ jnp.arange(4.0)), (model_state, {})

    readings = jitted(model, variables, batch, objective=total)
    for i in range(12):
        exact = 1e-3 ** (11 - i) * np.arange(4).std()
        assert readings[f"w{i:02}"]["gradients"]["std"] == pytest.approx(exact, rel=1e-3)
    assert first_to_last(readings) == pytest.approx(-33, abs=1e-3)


def test_dead_units_need_a_thousand_images():
    model, batch = Chain((Dense(4, name="fc"), Activation("relu", name="act"), Dense(3, name="output"))), batch_of(500)
    variables = run(lambda key: model.init(key, batch["image"], train=False), jax.random.key(0))
    # Unit 0 is never active, unit 1 only in the second batch.
    variables["params"]["fc"] = {"kernel": jnp.zeros((4, 4)).at[0, 1].set(1.0), "bias": jnp.array([-1.0, 0, 1, 1])}
    batches = [batch | {"image": sign * jnp.abs(batch["image"])} for sign in (-1, 1)]
    readings = [jitted(model, variables, each, layers=["act"]) for each in batches]
    assert [float(r["act"]["inactive"]) for r in readings] == [0.5, 0.25]
    assert dead(readings, 1000) == {"act": 0.25}
    with pytest.raises(InputError, match=r"images is 500; a unit is called dead if it is inactive on at least 1,000"):
        dead(readings[:1], 500)
    with pytest.raises(InputError, match=r"no layer is known to be rectified; name one, as in activations="):
        dead([{"fc": {}}], 1000)


@pytest.mark.slow
def test_the_readings_under_vmap_are_those_of_each_network():
    model, batch = Plain(), batch_of()
    members = [variables_of(model, batch, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *members)
    together = run(jax.vmap(lambda variables: probe(model, variables, batch)), stacked)
    alone = jitted(model, members[1], batch)
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["densee0"]}, "layers has 'densee0', which matches no layer. Did you mean 'dense0' or 'dense1'?"),
        ({"layers": ["q*"]}, "layers has 'q*', which matches no layer. There are dense0, dense1, output."),
        ({"activations": {"dens0": "tanh"}}, "activations has 'dens0', which is no layer. Did you mean 'dense0' or"),
        ({"activations": {"dense0": "tan"}}, "activations has 'tan' for dense0; it must be one of tanh, relu, "),
        ({"objective": lambda *_: (jnp.zeros(8), ())}, "the loss has shape (8,) and type float32; it must be one fl"),
        ({"objective": lambda *_: ({}, ())}, "the loss gives dict; it must give one scalar."),
        ({"objective": lambda *_: {}}, "the objective gives dict; it must give a tuple of which the first is the loss"),
        ({"layers": "dense0"}, "layers is 'dense0'; it must be a sequence of names, as in ['dense0']."),
        ({"updates": {"a": 1.0}}, "updates has nothing at 'dense0/"),
        ({"batch": {"label": jnp.arange(8)}}, "the batch has 'label', but no 'image'."),
        ({"batch": {"image": jnp.zeros((8, 4))}}, "the batch has 'image', but no 'label', which the objective needs."),
        ({"variables": {"dense0": {}}}, "variables has dense0, but not 'params'; pass the result of model.init."),
    ],
)
def test_what_cannot_be_read_gets_one_message(options, words):
    model, batch = Plain(), batch_of()
    variables = variables_of(model, batch)
    with pytest.raises(InputError) as error:
        jax.eval_shape(lambda: probe(model, **({"variables": variables, "batch": batch} | options)))
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


def test_the_explicit_network_is_the_module():
    model, batch = Plain(), batch_of()
    variables = variables_of(model, batch)
    outputs, *_ = perturbed_gradients(variables["params"], batch)
    np.testing.assert_allclose(outputs["output"], model.apply(variables, batch["image"]), rtol=1e-5)
