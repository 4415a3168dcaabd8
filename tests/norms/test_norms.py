import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.norms import (
    LRN_PRESETS,
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    Statistics,
    batch_norm,
    batch_statistics,
    blend_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    population_statistics,
    unbiased_variance,
    update_running,
)
from jaxcnn.runtime.errors import InputError

CHANNELS = 6


def batch_norm_of_batch(x, scale, bias):
    return batch_norm(x, *batch_statistics(x), scale, bias)


def group_norm_of_2(x, scale, bias):
    return group_norm(x, scale, bias, num_groups=2)


# The values that are normalized together, as indices into an array of this shape.
CELLS = {
    "batch": lambda shape: [np.s_[..., c] for c in range(shape[-1])],
    "layer": lambda shape: [np.s_[n] for n in range(shape[0])],
    "group": lambda shape: [
        np.s_[n, ..., g * shape[-1] // 2 : (g + 1) * shape[-1] // 2] for n in range(shape[0]) for g in range(2)
    ],
    "instance": lambda shape: [np.s_[n, ..., c] for n in range(shape[0]) for c in range(shape[-1])],
}
FUNCTIONS = {"batch": batch_norm_of_batch, "layer": layer_norm, "group": group_norm_of_2, "instance": instance_norm}
CASES = [(name, shape) for name in CELLS for shape in [(3, 2, 4, CHANNELS), (5, CHANNELS)]][:-1]


def normalize_loop(name, x, scale, bias):
    y = np.empty_like(x)
    for cell in CELLS[name](x.shape):
        y[cell] = (x[cell] - x[cell].mean()) / np.sqrt(x[cell].var() + 1e-5)
    return y * scale + bias


def lrn_loop(x, size, alpha, beta, k):
    """Local response normalization in loops, where alpha multiplies the plain sum."""
    y = np.empty_like(x)
    for *lead, c in np.ndindex(x.shape):
        window = x[*lead, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[*lead, c] = x[*lead, c] / (k + alpha * sum(window**2)) ** beta
    return y


def numeric_gradients(f, args, cotangent):
    """Central differences of sum(f(*args) * cotangent) in float64, one array per argument."""
    gradients = []
    for i, arg in enumerate(args):
        gradient = np.empty_like(arg)
        for index in np.ndindex(arg.shape):
            step = np.zeros_like(arg)
            step[index] = 1e-5 * max(1, abs(arg[index]))
            up, down = (f(*args[:i], arg + s * step, *args[i + 1 :]) for s in (1, -1))
            gradient[index] = np.sum((up - down) * cotangent) / (2 * step[index])
        gradients.append(gradient)
    return gradients


def numeric_hessian_product(f, x, cotangent, v, h=1e-4):
    product = np.empty_like(x)
    for index in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[index] = h
        corners = f(x + e + h * v) - f(x + e - h * v) - f(x - e + h * v) + f(x - e - h * v)
        product[index] = np.sum(corners * cotangent) / (4 * h * h)
    return product


def draw(*shapes, seed=0, scale=1.0):
    """Draw float64 arrays of mean 0.3 whose values float32 represents exactly."""
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(s) + 0.3).astype(np.float32).astype(np.float64) for s in shapes]


def f32(*arrays):
    return tuple(jnp.asarray(a, jnp.float32) for a in arrays)


def assert_close(actual, desired, tolerance=1e-5):
    """Compare with the tolerance relative to the largest value."""
    desired = np.asarray(desired, np.float64)
    np.testing.assert_allclose(np.asarray(actual, np.float64), desired, rtol=0, atol=tolerance * np.abs(desired).max())


def run(f, *args):
    return jax.jit(f)(*f32(*args))


def value_and_gradients(f, args, cotangent):
    def both(cotangent, *args):
        y, vjp = jax.vjp(f, *args)
        return y, vjp(cotangent)

    return run(both, cotangent, *args)


def initial(module, x):
    return jax.jit(lambda x: module.init(jax.random.key(0), x, train=True))(jnp.asarray(x))


def train_step(module):
    """Return a function (variables, x) -> (y, updated collections)."""
    return jax.jit(lambda variables, x: module.apply(variables, x, train=True, mutable=["batch_stats"]))


@functools.cache
def inputs_and_results(name, shape):
    x, scale, bias, cotangent = draw(shape, CHANNELS, CHANNELS, shape)
    return x, scale, bias, cotangent, *value_and_gradients(FUNCTIONS[name], (x, scale, bias), cotangent)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_norm_and_gradients_equal_numpy_loop(name, shape):
    x, scale, bias, cotangent, y, gradients = inputs_and_results(name, shape)
    assert_close(y, normalize_loop(name, x, scale, bias))
    expected = numeric_gradients(lambda *args: normalize_loop(name, *args), (x, scale, bias), cotangent)
    for actual, desired in zip(gradients, expected, strict=True):
        assert_close(actual, desired)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_norm_and_gradients_equal_torch(torch, name, shape):
    functional = torch.nn.functional
    theirs = {
        "batch": lambda x, s, b: functional.batch_norm(x, None, None, s, b, training=True),
        "layer": lambda x, s, b: functional.group_norm(x, 1, s, b),
        "group": lambda x, s, b: functional.group_norm(x, 2, s, b),
        "instance": lambda x, s, b: functional.instance_norm(x, weight=s, bias=b),
    }[name]
    x, scale, bias, cotangent, y, gradients = inputs_and_results(name, shape)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, scale, bias)]
    expected = theirs(tensors[0].movedim(-1, 1), *tensors[1:]).movedim(1, -1)
    expected.backward(torch.tensor(cotangent))
    assert_close(y, expected.detach().numpy())
    for actual, tensor in zip(gradients, tensors, strict=True):
        assert_close(actual, tensor.grad.numpy())


# size, alpha of the plain sum, beta and k.
LRN_WRITTEN_OUT = {"paper": (5, 1e-4, 0.75, 2), "caffe": (5, 2e-5, 0.75, 1), "torch": (5, 2e-5, 0.75, 1)}


@pytest.mark.parametrize("preset", LRN_WRITTEN_OUT)
def test_lrn_presets_and_gradients_equal_numpy_loop(preset):
    x, cotangent = draw((2, 2, 1, 9), (2, 2, 1, 9), scale=100)
    y, (gradient,) = value_and_gradients(lambda x: local_response_norm(x, **LRN_PRESETS[preset]), (x,), cotangent)
    assert_close(y, lrn_loop(x, *LRN_WRITTEN_OUT[preset]))
    (expected,) = numeric_gradients(lambda x: lrn_loop(x, *LRN_WRITTEN_OUT[preset]), (x,), cotangent)
    assert_close(gradient, expected)


def test_lrn_defaults_are_those_of_the_paper():
    (x,) = draw((2, 3, 3, 8), scale=100)
    assert_close(run(local_response_norm, x), lrn_loop(x, *LRN_WRITTEN_OUT["paper"]))


@pytest.mark.parametrize(("size", "beta"), [(1, 0.75), (4, 0.75), (5, 1.0), (13, 0.5)])
def test_lrn_and_gradient_equal_torch(torch, size, beta):
    x, cotangent = draw((2, 3, 2, 8), (2, 3, 2, 8), scale=50)
    y, (gradient,) = value_and_gradients(
        lambda x: local_response_norm(x, size, 1e-3, beta, 1.5, "mean"), (x,), cotangent
    )
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.local_response_norm(tensor.movedim(-1, 1), size, 1e-3, beta, 1.5).movedim(1, -1)
    expected.backward(torch.tensor(cotangent))
    assert_close(y, expected.detach().numpy())
    assert_close(gradient, tensor.grad.numpy())


def test_lrn_presets_equal_torch(torch):
    (x,) = draw((2, 3, 2, 12), scale=100)
    theirs = torch.nn.LocalResponseNorm(5)(torch.tensor(x).movedim(-1, 1)).movedim(1, -1).numpy()
    assert_close(run(lambda x: local_response_norm(x, size=5, **LRN_PRESETS["torch"]), x), theirs)
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, k=2)(torch.tensor(x).movedim(-1, 1)).movedim(1, -1).numpy()
    assert_close(run(lambda x: local_response_norm(x, **LRN_PRESETS["paper"]), x), theirs)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 9)),
    spatial=st.booleans(),
    size=st.integers(1, 12),
    alpha=st.floats(0, 2),
    beta=st.sampled_from([0.0, 0.5, 0.75, 1.3]),
    k=st.floats(0.1, 3),
    mode=st.sampled_from(["sum", "mean"]),
    seed=st.integers(0, 99),
)
def test_lrn_equals_numpy_loop_for_any_shape(shape, spatial, size, alpha, beta, k, mode, seed):
    (x,) = draw(shape if spatial else shape[2:], seed=seed, scale=3)
    expected = lrn_loop(x, size, alpha if mode == "sum" else alpha / size, beta, k)
    assert_close(run(lambda x: local_response_norm(x, size, alpha, beta, k, mode), x), expected)


def test_lrn_only_scales_tiny_activations():
    (x,) = draw((2, 3, 3, 8), scale=0.1)
    np.testing.assert_allclose(run(local_response_norm, x), 0.5946036 * x, rtol=1e-4)


BATCHES = draw(*[(4, 3, 3, CHANNELS)] * 5, seed=2, scale=2)


def train_over_batches(module, batches):
    variables, step = initial(module, batches[0]), train_step(module)
    for x in batches:
        variables = {**variables, **step(variables, *f32(x))[1]}
    return variables["batch_stats"]


@pytest.mark.parametrize(("momentum", "unbiased"), [(0.9, True), (0.9, False), (0.0, True), (0.5, False)])
def test_running_statistics_equal_their_closed_form(momentum, unbiased):
    stats = train_over_batches(BatchNorm(momentum=momentum, unbiased=unbiased), BATCHES)
    steps = len(BATCHES)
    weights = [(1 - momentum) * momentum ** (steps - 1 - t) for t in range(steps)]
    rows = [x.reshape(-1, CHANNELS) for x in BATCHES]
    mean = sum(w * r.mean(0) for w, r in zip(weights, rows, strict=True))
    var = momentum**steps + sum(w * r.var(0, ddof=int(unbiased)) for w, r in zip(weights, rows, strict=True))
    assert_close(stats["mean"], mean)
    assert_close(stats["var"], var)


def test_running_statistics_and_evaluation_equal_torch(torch):
    theirs = torch.nn.BatchNorm2d(CHANNELS, momentum=0.1, dtype=torch.float64)
    for x in BATCHES:
        theirs(torch.tensor(x).movedim(-1, 1))
    stats = train_over_batches(BatchNorm(momentum=0.9), BATCHES)
    assert_close(stats["mean"], theirs.running_mean.numpy())
    assert_close(stats["var"], theirs.running_var.numpy())
    variables = {"params": {"scale": jnp.ones(CHANNELS), "bias": jnp.zeros(CHANNELS)}, "batch_stats": stats}
    y = run(lambda x: BatchNorm().apply(variables, x, train=False), BATCHES[0])
    expected = theirs.eval()(torch.tensor(BATCHES[0]).movedim(-1, 1)).movedim(1, -1)
    assert_close(y, expected.detach().numpy())


@pytest.fixture
def trained():
    """A trained batch norm, a batch, and the two outputs and two states that can result."""
    x = BATCHES[3]
    mean, var, scale, bias = np.arange(6.0), np.arange(1.0, 7.0), np.linspace(0.5, 2, 6), np.linspace(-1, 1, 6)
    rows = x.reshape(-1, CHANNELS)
    variables = {
        "params": dict(zip(("scale", "bias"), f32(scale, bias), strict=True)),
        "batch_stats": dict(zip(("mean", "var"), f32(mean, var), strict=True)),
    }
    outputs = {True: normalize_loop("batch", x, scale, bias), False: (x - mean) / np.sqrt(var + 1e-5) * scale + bias}
    moved = {"mean": 0.9 * mean + 0.1 * rows.mean(0), "var": 0.9 * var + 0.1 * rows.var(0, ddof=1)}
    return variables, x, outputs, {True: moved, False: {"mean": mean, "var": var}}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("update_stats", [True, False, None])
def test_normalizing_and_updating_are_separate(trained, train, update_stats):
    variables, x, outputs, states = trained
    switches = {"train": train, "update_stats": update_stats}
    y, updates = run(lambda x: BatchNorm().apply(variables, x, **switches, mutable=["batch_stats"]), x)
    assert_close(y, outputs[train])
    updated = train if update_stats is None else update_stats
    for name, value in states[updated].items():
        assert_close(updates["batch_stats"][name], value)
        if not updated:
            np.testing.assert_array_equal(updates["batch_stats"][name], variables["batch_stats"][name])


def test_updating_immutable_statistics_is_an_error(trained):
    variables, x, outputs, _ = trained
    alone = {"train": True, "update_stats": False}
    assert_close(run(lambda x: BatchNorm().apply(variables, x, **alone), x), outputs[True])
    for switches in ({}, {"update_stats": True}):
        with pytest.raises(flax.errors.ModifyScopeVariableError):
            BatchNorm().apply(variables, *f32(x), train=True, **switches)


def test_init_does_not_update_statistics():
    variables = BatchNorm().init(jax.random.key(0), jnp.full((1, 3), 5.0), train=True, update_stats=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


def test_evaluation_does_not_depend_on_other_images_of_the_batch(trained):
    variables, x, _, _ = trained
    options = {"update_stats": False}
    apply = jax.jit(lambda x, train: BatchNorm().apply(variables, x, train=train, **options), static_argnums=1)
    first, mates = f32(x[:1]), f32(np.concatenate([x[:1], 100 * x[1:]]))
    np.testing.assert_array_equal(apply(*mates, False)[:1], apply(*first, False))
    assert np.abs(apply(*mates, True)[:1] - apply(*first, True)).max() > 0.1


def test_a_large_mean_requires_two_passes():
    x = (300 + 0.01 * np.random.default_rng(0).standard_normal((32, 14, 14, 8))).astype(np.float32)
    true = x.astype(np.float64).var((0, 1, 2))
    variables = initial(BatchNorm(), x)
    std = {
        fast: np.std(train_step(BatchNorm(fast_variance=fast))(variables, x)[0], (0, 1, 2)) for fast in (False, True)
    }
    np.testing.assert_allclose(std[False], np.sqrt(true / (true + 1e-5)), rtol=1e-2)
    assert np.abs(std[True] - np.sqrt(true / (true + 1e-5))).max() > 0.1
    np.testing.assert_allclose(run(batch_statistics, x).var, true, rtol=1e-2)


def test_fast_variance_is_accurate_for_a_small_mean():
    (x,) = draw((4, 3, 3, CHANNELS))
    assert_close(run(lambda x: batch_statistics(x, fast_variance=True).var, x), x.var((0, 1, 2)))
    constant = np.random.default_rng(0).uniform(1, 9999, 99) * np.ones((7, 1))
    assert (run(lambda x: batch_statistics(x, fast_variance=True).var, constant) >= 0).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bfloat16_input_has_float32_statistics(name):
    x = jnp.asarray(draw((8, 16, 16, CHANNELS), seed=3)[0] + 4, jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    scale, bias = draw(CHANNELS, CHANNELS)
    y = jax.jit(FUNCTIONS[name])(x, *f32(scale, bias))
    assert y.dtype == jnp.bfloat16
    expected = normalize_loop(name, exact, scale, bias)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-4)
    if name == "batch":
        stats = jax.jit(batch_statistics)(x)
        assert stats.mean.dtype == stats.var.dtype == jnp.float32
        assert_close(stats.mean, exact.mean((0, 1, 2)))
        assert_close(stats.var, exact.var((0, 1, 2)))
        variables = initial(BatchNorm(), x)
        _, updates = train_step(BatchNorm())(variables, x)
        assert all(a.dtype == jnp.float32 for a in jax.tree.leaves((variables, updates)))
        assert_close(updates["batch_stats"]["mean"], 0.1 * exact.mean((0, 1, 2)))


def test_lrn_of_bfloat16_is_computed_in_float32():
    x = jnp.asarray(draw((2, 3, 3, 16), scale=100)[0], jnp.bfloat16)
    y = jax.jit(lambda x: local_response_norm(x, size=9))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(y, np.float64), lrn_loop(np.asarray(x, np.float64), 9, 1e-4, 0.75, 2), rtol=2**-8
    )


def test_statistics_are_global_over_devices():
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    # Every device's shard has its own mean and deviation, so statistics of a single shard would be detected.
    level = np.arange(1, 9).repeat(2)[:, None, None, None]
    x = jnp.asarray((level * (draw((16, 3, 3, CHANNELS), seed=4)[0] + 2)), jnp.float32)
    variables, step = initial(BatchNorm(), x), train_step(BatchNorm())
    mesh = Mesh(np.array(jax.devices()[:8]), ("batch",))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    replicated = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    y, updates = step(replicated, sharded)
    assert len(y.sharding.device_set) == 8
    y1, updates1 = step(*jax.device_put((variables, x), jax.devices()[0]))
    assert_close(y, y1)
    assert_close(updates["batch_stats"]["mean"], 0.1 * np.asarray(x, np.float64).mean((0, 1, 2)))
    for name in ("mean", "var"):
        assert_close(updates["batch_stats"][name], updates1["batch_stats"][name])


SECOND_ORDER = {**FUNCTIONS, "lrn": lambda x, scale, bias: local_response_norm(x, 4, 0.1, 0.75, 1.0) * scale}


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_hessian_vector_products_under_vmap_equal_differences(name):
    shape = (2, 2, 2, CHANNELS)
    x, v, cotangent, scale, bias = draw(shape, shape, shape, CHANNELS, CHANNELS, seed=5)
    scale32, bias32, cotangent32 = (
        a.reshape(1, 1, 1, -1) if name == "lrn" and a.ndim == 1 else a for a in f32(scale, bias, cotangent)
    )

    def reference(x):
        return lrn_loop(x, 4, 0.1, 0.75, 1.0) * scale if name == "lrn" else normalize_loop(name, x, scale, bias)

    def product(x, v):
        gradient = jax.grad(lambda x: jnp.sum(SECOND_ORDER[name](x, scale32, bias32) * cotangent32))
        return jax.jvp(gradient, (x,), (v,))[1]

    points, directions = [x, 2 * v], [v, x]
    for actual, point, direction in zip(run(jax.vmap(product), points, directions), points, directions, strict=True):
        assert_close(actual, numeric_hessian_product(reference, point, cotangent, direction), 1e-4)


MODULES = {
    "batch": BatchNorm(),
    "lrn": LocalResponseNorm(),
    "layer": LayerNorm(),
    "group": GroupNorm(num_groups=2),
    "instance": InstanceNorm(),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_the_same_call(name):
    module, (x, scale, bias) = MODULES[name], draw((3, 2, 4, CHANNELS), CHANNELS, CHANNELS)
    variables = initial(module, *f32(x))
    if name == "lrn":
        assert not variables
        expected = lrn_loop(x, *LRN_WRITTEN_OUT["paper"])
    else:
        assert jax.tree.map(lambda a: (a.shape, a.dtype.name), variables["params"]) == {
            "scale": ((CHANNELS,), "float32"),
            "bias": ((CHANNELS,), "float32"),
        }
        np.testing.assert_array_equal(variables["params"]["scale"], np.ones(CHANNELS))
        np.testing.assert_array_equal(variables["params"]["bias"], np.zeros(CHANNELS))
        variables = {**variables, "params": dict(zip(("scale", "bias"), f32(scale, bias), strict=True))}
        expected = normalize_loop(name, x, scale, bias)
    y, _ = run(lambda x: module.apply(variables, x, train=True, mutable=["batch_stats"]), x)
    assert_close(y, expected)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"instance"}))
def test_modules_accept_inputs_without_positions(name):
    (x,) = draw((7, CHANNELS))
    y, _ = train_step(MODULES[name])(initial(MODULES[name], *f32(x)), *f32(x))
    expected = lrn_loop(x, *LRN_WRITTEN_OUT["paper"]) if name == "lrn" else normalize_loop(name, x, 1.0, 0.0)
    assert_close(y, expected)


def test_module_fields_reach_the_function():
    (x,) = draw((3, 2, 4, CHANNELS), scale=20)
    module = LocalResponseNorm(size=4, alpha=0.1, beta=0.5, k=1.0, alpha_mode="mean")
    y = run(lambda x: module.apply({}, x, train=False), x)
    assert_close(y, lrn_loop(x, 4, 0.025, 0.5, 1.0))
    for module, cells in (
        (BatchNorm(epsilon=50.0), (0, 1, 2)),
        (LayerNorm(epsilon=50.0), (1, 2, 3)),
        (GroupNorm(num_groups=1, epsilon=50.0), (1, 2, 3)),
        (InstanceNorm(epsilon=50.0), (1, 2)),
    ):
        y, _ = train_step(module)(initial(module, *f32(x)), *f32(x))
        assert_close(np.var(y, cells), x.var(cells) / (x.var(cells) + 50))


def test_group_norm_default_is_32_groups():
    (x,) = draw((2, 3, 3, 64))
    y, _ = train_step(GroupNorm())(initial(GroupNorm(), *f32(x)), *f32(x))
    grouped = x.reshape(2, 9, 32, 2)
    expected = (grouped - grouped.mean((1, 3), keepdims=True)) / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-5)
    assert_close(y, expected.reshape(x.shape))


def batches_of(counts, seed):
    """Draw the values [count, 3] of batches, each with its own mean."""
    rng = np.random.default_rng(seed)
    return [rng.normal(100 + rng.normal(size=3), 0.5, (count, 3)) for count in counts]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(0, 2**31))
def test_population_statistics_equal_their_closed_forms(counts, seed):
    """Pooled statistics are those of all values together, accurate even for a large mean."""
    batches = batches_of(counts, seed)
    means, variances = np.array([b.mean(0) for b in batches]), np.array([b.var(0) for b in batches])
    every = np.concatenate(batches)
    found = population_statistics("pooled", means, variances, counts)
    np.testing.assert_allclose(found.mean, every.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.var, every.var(0), rtol=1e-3, atol=1e-5)
    found = population_statistics("algorithm2", means, variances, counts)
    np.testing.assert_allclose(found.mean, means.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.var, np.mean([b.var(0, ddof=1) for b in batches], 0), rtol=1e-5)
    assert found.var.dtype == jnp.float32


def test_algorithm2_of_random_batches_is_unbiased():
    """The expected variance is that of the population, 4; without m/(m-1) it would be 3 for m = 4."""
    x = np.random.default_rng(0).normal(5, 2, (20_000, 4, 2))
    found = population_statistics("algorithm2", x.mean(1), x.var(1), [4] * len(x))
    np.testing.assert_allclose(found.var, [4, 4], rtol=0.03)
    np.testing.assert_allclose(found.mean, [5, 5], rtol=0.01)


@pytest.mark.parametrize(("prior", "count"), [(0, 8), (16, 8), (2.5, 1), (1e30, 3)])
def test_blended_statistics_are_those_of_schneider_et_al(prior, count):
    source, target = (Statistics(*np.random.default_rng(s).random((2, 3)).astype(np.float32)) for s in (0, 1))
    found = blend_statistics(source, target, prior, count)
    for values, old, new in zip(found, source, target, strict=True):
        np.testing.assert_allclose(values, (prior * old + count * new) / (prior + count), rtol=1e-6)


X, ONES = jnp.ones((2, 3, 3, 48)), jnp.ones(48)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: local_response_norm(X, 0), "size is 0; it must be an integer > 0"),
        (lambda: local_response_norm(X, 2.5), "size is 2.5; it must be an integer"),
        (lambda: local_response_norm(X, alpha=-1.0), "alpha is -1.0; it must be a finite number >= 0"),
        (lambda: local_response_norm(X, beta=float("nan")), "beta is nan"),
        (lambda: local_response_norm(X, k=0.0), "k is 0.0; it must be a finite number > 0"),
        (lambda: local_response_norm(X, alpha_mode="maen"), "alpha_mode is 'maen'.*sum, mean. Did you mean 'mean'"),
        (lambda: local_response_norm(X.astype(jnp.uint8)), "x is uint8.*floating-point"),
        (lambda: layer_norm(jnp.ones(48), ONES, ONES), "x is float32 of shape \\(48,\\).*at least 2 axes"),
        (lambda: layer_norm(X, ONES, ONES, epsilon=0.0), "epsilon is 0.0"),
        (lambda: batch_norm(X, ONES, ONES, ONES, ONES, epsilon=-1.0), "epsilon is -1.0"),
        (lambda: batch_statistics(X.astype(jnp.int32)), "x is int32"),
        (lambda: group_norm(X, ONES, ONES), "num_groups is 32; it must divide the 48 channels. .* 12, 16, 24, 48"),
        (lambda: group_norm(X, ONES, ONES, num_groups=0), "num_groups is 0"),
        (lambda: group_norm(X[:, 0, 0], ONES, ONES, num_groups=48), "1 value per group"),
        (lambda: instance_norm(X[:, 0, 0], ONES, ONES), "shape \\(2, 48\\).*more than one position"),
        (lambda: instance_norm(X[:, :1, :1], ONES, ONES), "more than one position"),
        (lambda: InstanceNorm().init(jax.random.key(0), X[:, 0, 0]), "more than one position"),
        (lambda: unbiased_variance(ONES, 1), "count is 1; .* at least 2"),
        (lambda: update_running(Statistics(ONES, ONES), Statistics(ONES, ONES), momentum=1.0), "momentum is 1.0"),
        (lambda: population_statistics("poled", ONES[None], ONES[None], [4]), "kind is 'poled'"),
        (lambda: population_statistics("algorithm2", ONES[None], ONES[None], [1]), "at least one batch, and 2 or more"),
        (lambda: population_statistics("pooled", ONES[None][:0], ONES[None][:0], []), "at least one batch, and 1 or"),
        (lambda: blend_statistics(Statistics(ONES, ONES), Statistics(ONES, ONES), -1, 4), "prior is -1"),
        (lambda: blend_statistics(Statistics(ONES, ONES), Statistics(ONES, ONES), 1, 0), "count is 0"),
    ],
)
def test_bad_input_is_one_message(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_one_value_per_channel_cannot_update_an_unbiased_variance():
    x = jnp.ones((1, 3))
    variables = initial(BatchNorm(), x)
    with pytest.raises(InputError, match="unbiased=False"):
        train_step(BatchNorm())(variables, x)
    _, updates = train_step(BatchNorm(unbiased=False))(variables, x)
    np.testing.assert_allclose(updates["batch_stats"]["var"], np.full(3, 0.9), rtol=1e-6)
