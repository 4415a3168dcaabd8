"""Taps under the transformations of JAX and flax: the readings are those of the same network written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn import InputError
from jaxcnn.models import LeNet5
from jaxcnn.probes import network_loss, probe
from jaxcnn.probes.layer_readings import layer_readings, tap_layers
from jaxcnn.probes.taps import called_modules
from tests.probes.probed_networks import batch_of, run

WIDTH = 4
JITTED = nn.jit(nn.Dense)


class Unrolled(nn.Module):
    """Three dense layers of the same width, and an output."""

    @nn.compact
    def __call__(self, x):
        for i in range(3):
            x = nn.tanh(nn.Dense(WIDTH, name=f"dense{i}")(x))
        return nn.Dense(3, name="output")(x)


class Shared(nn.Module):
    """One layer three times."""

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(WIDTH, name="dense")
        for _ in range(3):
            x = nn.tanh(dense(x))
        return nn.Dense(3, name="output")(x)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(nn.Dense(WIDTH, name="dense")(x)), None


class Scanned(nn.Module):
    """`nn.scan` over the layers, each with weights of its own."""

    remat: bool = False

    @nn.compact
    def __call__(self, x):
        block = nn.remat(Block) if self.remat else Block
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x, _ = nn.scan(block, length=3, **axes)(name="blocks")(x, None)
        return nn.Dense(3, name="output")(x)


class Transformed(nn.Module):
    """`Unrolled` under another transformation of flax."""

    transform: str

    @nn.compact
    def __call__(self, x):
        options = {"vmap": {"variable_axes": {"params": None}, "split_rngs": {"params": False}}}
        kind = getattr(nn, self.transform)(nn.Dense, **options.get(self.transform, {}))
        for i in range(3):
            x = nn.tanh(kind(WIDTH, name=f"dense{i}")(x))
        return nn.Dense(3, name="output")(x)


def weights(seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"dense0": WIDTH, "dense1": WIDTH, "dense2": WIDTH, "output": 3}
    return {
        name: {"kernel": jnp.asarray(rng.normal(size=(WIDTH, n)) / 2), "bias": jnp.asarray(rng.normal(size=n) / 9)}
        for name, n in sizes.items()
    }


def read(model, params, batch, **options):
    variables = {"params": jax.tree.map(lambda x: x.astype(jnp.float32), params)}
    return run(lambda variables: probe(model, variables, batch, **options), variables)


def assert_same(found, expected):
    for path, value in jax.tree.leaves_with_path(dict(expected)):
        other = dict(jax.tree.leaves_with_path(dict(found)))[path]
        np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def unrolled():
    return read(Unrolled(), weights(), batch_of())


@pytest.mark.parametrize("transform", ["remat", pytest.param("vmap", marks=pytest.mark.slow)])
def test_transformed_layers_have_the_readings_of_plain_ones(transform, unrolled):
    assert_same(read(Transformed(transform), weights(), batch_of()), unrolled)


@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_scan_over_layers_has_the_readings_of_all_of_them(remat, unrolled):
    params = weights()
    blocks = jax.tree.map(lambda *each: jnp.stack(each), *(params[f"dense{i}"] for i in range(3)))
    found = read(Scanned(remat), {"blocks": {"dense": blocks}, "output": params["output"]}, batch_of())
    assert list(found) == ["blocks/dense", "output"]
    assert_pooled(found["blocks/dense"], [unrolled[f"dense{i}"] for i in range(3)])
    assert_same({"output": found["output"]}, {"output": unrolled["output"]})


def test_layers_that_flax_runs_without_calling_them_are_refused():
    with pytest.raises(InputError, match=r"the parameters of dense1, dense2 are used by no layer\. Leave out flax"):
        read(Transformed("jit"), weights(), batch_of())

    class Once(nn.Module):
        @nn.compact
        def __call__(self, x):
            return JITTED(3, name="output")(nn.Dense(WIDTH, name="dense0")(x))

    params = {name: weights()[name] for name in ("dense0", "output")}
    with pytest.raises(InputError, match=r"output was called once and then no more|output are used by no layer"):
        for _ in range(2):
            read(Once(), params, batch_of())


def test_a_shared_layer_has_the_readings_of_all_its_calls():
    params = weights()
    shared = {"dense": params["dense0"], "output": params["output"]}
    found = read(Shared(), shared, batch_of())
    alike = read(
        Unrolled(), {f"dense{i}": params["dense0"] for i in range(3)} | {"output": params["output"]}, batch_of()
    )
    assert_pooled(found["dense"], [alike[f"dense{i}"] for i in range(3)])


def assert_pooled(found, parts):
    for what in ("activations", "gradients"):
        mean = np.mean([part[what]["mean"] for part in parts])
        square = np.mean([part[what]["std"] ** 2 + part[what]["mean"] ** 2 for part in parts])
        assert found[what]["mean"] == pytest.approx(mean, rel=1e-4, abs=1e-6)
        assert found[what]["std"] == pytest.approx(np.sqrt(square - mean**2), rel=1e-4)
        np.testing.assert_array_equal(found[what]["histogram"], sum(part[what]["histogram"] for part in parts))


@pytest.mark.slow
def test_an_activation_that_is_a_module_of_ones_own_can_be_named():
    class Squash(nn.Module):
        def __call__(self, x):
            return nn.tanh(x)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="output")(Squash(name="squash")(9 * x))

    params = {"output": weights()["output"]}
    batch = batch_of()
    assert list(read(Network(), params, batch)) == ["output"]
    found = read(Network(), params, batch, activations={"squash": "tanh"})
    assert list(found) == ["squash", "output"]
    assert found["squash"]["saturated"] == np.mean(np.abs(np.tanh(9 * batch["image"])) > 0.95)


def test_the_layers_of_a_recurrent_cell_are_read_over_all_steps():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="output")(nn.RNN(nn.SimpleCell(WIDTH, name="cell"), name="rnn")(x)[:, -1])

    batch = batch_of(6, (5, 2))
    model = Network()
    variables = run(model.init, jax.random.key(0), batch["image"])
    found = read(model, variables["params"], batch, layers=["cell*", "rnn", "output"])
    assert list(found) == ["rnn", "cell", "cell/i", "cell/h", "output"]
    states, (own, x) = [], (variables["params"]["cell"], batch["image"])
    state = jnp.zeros((6, WIDTH))
    for t in range(5):
        state = jnp.tanh(x[:, t] @ own["i"]["kernel"] + own["i"]["bias"][None] + state @ own["h"]["kernel"])
        states.append(state)
    for name in ("rnn", "cell"):
        assert found[name]["activations"]["std"] == pytest.approx(np.std(states), rel=1e-4)
        assert found[name]["activations"]["histogram"].sum() == np.size(states)
    inputs = np.asarray(x) @ np.asarray(own["i"]["kernel"]) + np.asarray(own["i"]["bias"])
    assert found["cell/i"]["activations"]["std"] == pytest.approx(inputs.std(), rel=1e-4)


def test_a_layer_whose_output_is_no_array_cannot_be_read():
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="inner")(x), x

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Pair(name="pair")(x)[0]

    batch = batch_of()
    params = {"pair": {"inner": weights()["output"]}}
    assert list(read(Network(), params, batch, layers=["pair*"])) == ["pair/inner"]
    with pytest.raises(InputError, match="layers has 'pair', but the output of pair is not one floating array"):
        read(Network(), params, batch, layers=["pair"])


def test_the_layers_of_a_jitted_loss_cannot_be_seen():
    loss = network_loss(Unrolled(), {"params": weights()}, batch_of())
    with pytest.raises(InputError, match="the loss is jitted"):
        called_modules(jax.jit(loss), weights())


def test_a_network_without_layers_cannot_be_read():
    class Nothing(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x[:, :3] + self.variable("own", "shift", jnp.zeros, ()).value

    with pytest.raises(InputError, match="the network has no layer with parameters or a known activation"):
        probe(Nothing(), {"params": {}, "own": {"shift": jnp.zeros(())}}, batch_of())


def sharded(function, *arguments):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    *whole, batch = arguments
    whole = jax.device_put(tuple(whole), NamedSharding(mesh, PartitionSpec()))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    return jax.jit(function).lower(*whole, batch).compile(), (*whole, batch), mesh


@pytest.mark.slow
def test_a_sharded_batch_has_the_readings_of_the_whole_batch():
    """The moments are reduced over the devices, and no array of the size of the batch is moved."""
    model, batch = LeNet5(activation="relu"), batch_of(256, (32, 32, 1))
    variables = model.init(jax.random.key(0), batch["image"][:1], train=False)

    def readings(variables, batch):
        return probe(model, variables, batch)

    compiled, arguments, _ = sharded(readings, variables, batch)
    assert "all-reduce" in compiled.as_text()
    for collective in ("all-gather", "all-to-all", "collective-permute"):
        assert collective not in compiled.as_text()
    expected = jax.jit(readings)(variables, batch)
    found = compiled(*arguments)
    for name, layer in expected.items():
        for what in ("activations", "gradients"):
            one, many = layer[what], found[name][what]
            # By rounding, a value may be in the next bin.
            assert np.abs(many.pop("histogram") - one.pop("histogram")).sum() <= 20
            assert_same(many, one)
        assert layer.get("inactive") == found[name].get("inactive")


@pytest.mark.slow
def test_inside_shard_map_the_readings_are_those_of_all_devices():
    model, batch, params = Unrolled(), batch_of(16), weights()
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    mesh = Mesh(np.array(jax.devices()), ("data",))

    def local(params, batch):
        loss = network_loss(model, {"params": params}, batch)
        with_taps, zeros = tap_layers(loss, params, images=len(batch["image"]))
        gradients, sums = jax.grad(with_taps, (0, 1))(params, zeros)
        return layer_readings(sums, params, gradients)

    specs = {"in_specs": (PartitionSpec(), PartitionSpec("data")), "out_specs": PartitionSpec()}
    found = run(jax.shard_map(local, mesh=mesh, **specs), params, batch)
    expected = read(model, params, batch)
    for name in expected:
        for what in ("activations", "gradients"):
            assert_same(found[name][what], expected[name][what])
