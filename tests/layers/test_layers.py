import dataclasses
import itertools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxcnn import layers as records
from jaxcnn.config import to_json
from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerInfo,
    LayerNorm,
    LocalResponseNorm,
    MaxPool,
    NormName,
    PaddedIdentity,
    RadialBasis,
    Residual,
    Scale,
    TrainableSubsampling,
    least_size,
    template,
    trace,
)
from jaxcnn.runtime.errors import InputError

KEY = jax.random.key(0)


class Net(nn.Module):
    """The records as a network; `plainly`: applied one after the other, without checks."""

    layers: tuple[Layer, ...]
    plainly: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        if not self.plainly:
            return records.apply(self.layers, x, train=train)
        for layer in self.layers:
            x = layer(x, train=train)
            if not x.size:
                raise ValueError(f"{layer.name} leaves nothing")
        return x


def run(layers, x, *, train=False):
    """Return the output of the records for x with random weights, and the weights."""
    x, net = jnp.asarray(x, jnp.float32), Net(tuple(layers))
    rng = np.random.default_rng(1)
    wanted = jax.eval_shape(lambda: net.init(KEY, x, train=False))
    variables = jax.tree.map(lambda v: rng.uniform(0.5, 1.5, v.shape).astype(np.float32), wanted)
    options = {"train": train, "rngs": {"dropout": KEY}, "mutable": ["batch_stats"]}
    y, _ = jax.jit(lambda v, x: net.apply(v, x, **options))(variables, x)
    return np.asarray(y), variables


def shapes(layers, shape):
    """Return the output shape and parameter count of every layer in linen by name; None if the layers do not fit."""
    net = Net(tuple(layers), plainly=True)

    def init(x):
        return net.init_with_output(KEY, x, train=False, capture_intermediates=True, mutable=True)[1]

    try:
        variables = jax.eval_shape(init, jnp.zeros((2, *shape)))
    except (InputError, TypeError, ValueError, AssertionError):
        return None
    outputs = {
        name: calls["__call__"][0].shape[1:] for name, calls in variables["intermediates"].items() if name[:1] == "l"
    }
    parameters = {name: sum(p.size for p in jax.tree.leaves(t)) for name, t in variables.get("params", {}).items()}
    return {name: (s, parameters.get(name, 0)) for name, s in outputs.items()}


SMALL = st.integers(1, 3)
PARTIAL = st.builds(
    Conv,
    st.just(3),
    kernel=SMALL,
    stride=SMALL,
    padding=st.integers(0, 1),
    connections=st.tuples(*[st.lists(st.integers(0, 2), min_size=1, unique=True).map(tuple)] * 3),
    bias_init=st.sampled_from([0.0, None]),
    name=st.just(""),
)
SUBSAMPLING = st.builds(TrainableSubsampling, SMALL, SMALL | st.none(), name=st.just(""))
ON_MAPS = [
    st.builds(Conv, SMALL, kernel=st.integers(1, 4), stride=SMALL, padding=st.integers(0, 2), name=st.just("")),
    st.builds(Conv, st.sampled_from([2, 4]), groups=st.just(2), padding=st.just(1), name=st.just("")),
    st.builds(MaxPool, SMALL, SMALL | st.none(), name=st.just("")),
    st.builds(AveragePool, SMALL, SMALL | st.none(), name=st.just("")),
    st.just(InstanceNorm(name="")),
    st.just(Flatten(name="")),
    PARTIAL,
    SUBSAMPLING,
    st.builds(PaddedIdentity, st.integers(1, 5), SMALL, name=st.just("")),
    st.just(Conv(2, bias_init=None, name="")),
]
ON_BOTH = [
    st.sampled_from([BatchNorm(name=""), LayerNorm(name=""), LocalResponseNorm(size=3, name=""), Dropout(name="")]),
    st.builds(GroupNorm, SMALL, name=st.just("")),
    st.sampled_from([Activation("relu", name=""), Scale(0.5, name="")]),
]
ON_VECTORS = [
    st.builds(Dense, SMALL, bias_init=st.sampled_from([0.0, None]), name=st.just("")),
    st.builds(RadialBasis, SMALL.map(lambda n: ((1.0,) * n, (-1.0,) * n)), name=st.just("")),
]


@st.composite
def stacks(draw, kinds=None, most=5):
    """A few layers l0, l1, …, most but not all of which fit their input."""
    chosen, flat = [], False
    for i in range(draw(st.integers(1, most))):
        possible = kinds or [*ON_BOTH, *(ON_VECTORS if flat else ON_MAPS)]
        layer = draw(st.one_of(possible))
        flat = flat or isinstance(layer, Flatten)
        chosen.append(dataclasses.replace(layer, name=f"l{i}"))
    return tuple(chosen)


@given(layers=stacks(), shape=st.tuples(st.integers(1, 9), st.integers(1, 9), SMALL))
@settings(max_examples=30, deadline=None)
def test_trace_agrees_with_linen(layers, shape):
    expected = shapes(layers, shape)
    if expected is None:
        with pytest.raises(InputError):
            trace(layers, shape)
    else:
        rows = trace(layers, shape)
        assert {row.layer.name: (row.info.output_shape, row.info.parameters) for row in rows} == expected
        assert [row.input_shape for row in rows] == [shape, *(row.info.output_shape for row in rows[:-1])]


@given(
    layers=stacks([ON_MAPS[0], *ON_MAPS[2:4], st.just(InstanceNorm(name="")), st.just(LayerNorm(name=""))], most=3),
    channels=st.sampled_from([1, 2]),
)
@settings(max_examples=8, deadline=None)
def test_the_least_size_is_the_smallest_that_linen_can_take(layers, channels):
    least = least_size(layers, channels)
    assume(1 < least < 8)
    fits = [size for size in range(1, least + 2) if shapes(layers, (size, size, channels))]
    assert fits == [least, least + 1]
    x = jnp.zeros((1, least - 1, least - 1, channels))
    with pytest.raises(InputError) as error:
        jax.eval_shape(lambda: Net(layers).init(KEY, x, train=False))
    said = f"images are {least - 1}x{least - 1}; this network needs at least {least}x{least}."
    assert str(error.value) == said


# --- counts and fields against loops


def links(layer, shape):
    """List every pair (output unit, input unit, padding or "bias") that a layer connects, by a loop."""
    height, width, channels = shape
    conv = isinstance(layer, Conv)
    size, stride = (layer.kernel, layer.stride) if conv else (layer.size, layer.stride or layer.size)
    padding, features = (layer.padding, layer.features) if conv else (0, channels)
    groups = layer.groups if conv else channels
    found = []
    rows = range(0, height + 2 * padding - size + 1, stride)
    columns = range(0, width + 2 * padding - size + 1, stride)
    for y, x, f in itertools.product(rows, columns, range(features)):
        for dy, dx, c in itertools.product(range(size), range(size), range(channels)):
            seen = conv and layer.connections and layer.connections[f]
            if c in seen if seen else c * groups // channels == f * groups // features:
                found.append(((y, x, f), (y + dy, x + dx, c)))
        if (conv and layer.bias_init is not None) or isinstance(layer, TrainableSubsampling):
            found.append(((y, x, f), "bias"))
    return found


@given(
    layer=st.one_of([*ON_MAPS[:4], PARTIAL, SUBSAMPLING]),
    shape=st.tuples(st.integers(4, 7), st.integers(4, 7), st.sampled_from([2, 4])),
)
@settings(max_examples=30, deadline=None)
def test_connections_and_multiply_adds_equal_the_counts_of_a_loop(layer, shape):
    assume(not isinstance(layer, Conv) or max(sum(layer.connections or (), (0,))) < shape[2])
    joined, info = links(layer, shape), layer.info(shape)
    assert info.connections == len(joined) == len(set(joined))
    weighted = [1 for _, unit in joined if unit != "bias"]
    # A coefficient multiplies the sum of its window, once per unit.
    products = {Conv: len(weighted), TrainableSubsampling: len({unit for unit, _ in joined})}
    assert info.multiply_adds == products.get(type(layer), 0)
    assert info.output_shape == tuple(len(set(axis)) for axis in zip(*(unit for unit, _ in joined), strict=True))


def test_a_dense_layer_connects_all_inputs_and_a_bias():
    assert Dense(7, name="a").info((5,)) == LayerInfo((7,), parameters=42, connections=42, multiply_adds=35)
    without = Dense(7, bias_init=None, name="a").info((5,))
    assert without == LayerInfo((7,), parameters=35, connections=35, multiply_adds=35)


def test_a_radial_basis_connects_all_inputs_and_trains_nothing():
    layer = RadialBasis(((1.0,) * 84,) * 10, name="a")
    assert layer.info((84,)) == LayerInfo((10,), parameters=0, connections=840, multiply_adds=840)


def test_the_figures_of_lenet5s_paper():
    """Section II.B: C1 122,304 connections, C5 48,120, F6 10,164; parameters 156, 48,120, 10,164."""
    c1 = Conv(6, kernel=5, name="c1").info((32, 32, 1))
    c5 = Conv(120, kernel=5, name="c5").info((5, 5, 16))
    f6 = Dense(84, name="f6").info((120,))
    assert [(f.parameters, f.connections) for f in (c1, c5, f6)] == [(156, 122304), (48120, 48120), (10164, 10164)]


def test_the_figures_of_alexnets_paper():
    """Section 3.5: 290,400 = 55 * 55 * 96 units in layer 1; the grouped second convolution has 307,456 parameters."""
    c1 = Conv(96, kernel=11, stride=4, name="conv1").info((227, 227, 3))
    assert (c1.output_shape, c1.parameters) == ((55, 55, 96), 34944)
    c2 = Conv(256, kernel=5, padding=2, groups=2, name="conv2").info((27, 27, 96))
    assert (c2.output_shape, c2.parameters) == ((27, 27, 256), 307456)
    assert MaxPool(3, 2, name="pool1").info((55, 55, 96)).output_shape == (27, 27, 96)


def empirical_field(layers, side):
    """Return the side of the square of pixels that the unit in the middle of the last maps depends on."""
    net, x = Net(layers), jnp.ones((1, side, side, 1))
    wanted = jax.eval_shape(lambda: net.init(KEY, x, train=False))
    ones = jax.tree.map(lambda v: np.ones(v.shape, np.float32), wanted)

    def middle(x):
        y = net.apply(ones, x, train=False)
        return y[0, y.shape[1] // 2, y.shape[2] // 2].sum()

    rows, columns = np.nonzero(np.asarray(jax.jit(jax.grad(middle))(x))[0, :, :, 0])
    assert np.ptp(rows) == np.ptp(columns)
    return 1 + np.ptp(rows)


WINDOWS = [
    st.builds(Conv, st.just(1), kernel=SMALL, stride=st.integers(1, 2), padding=st.integers(0, 1), name=st.just("")),
    st.builds(AveragePool, SMALL, st.integers(1, 2), name=st.just("")),
]


@given(layers=stacks(WINDOWS, most=4))
@settings(max_examples=6, deadline=None)
def test_the_receptive_field_is_where_gradients_are_nonzero(layers):
    field = trace(layers, (99, 99, 1))[-1].receptive_field
    # This leaves room for the padding of four layers, which contains no pixels.
    assert empirical_field(layers, 3 * field + 40) == field


@given(size=SMALL, stride=SMALL | st.none())
@settings(max_examples=10, deadline=None)
def test_both_poolings_have_the_same_info(size, stride):
    assert MaxPool(size, stride, name="a").info((9, 8, 2)) == AveragePool(size, stride, name="a").info((9, 8, 2))


def test_the_receptive_field_is_the_whole_image_from_flatten_on():
    layers = (Conv(1, kernel=3, name="a"), MaxPool(2, name="b"), Flatten(name="c"), Dense(2, name="d"))
    # 10 pixels, 8 after the convolution and 4 after the pooling cover the whole image.
    assert [row.receptive_field for row in trace(layers, (10, 10, 1))] == [3, 4, 10, 10]


# --- one module per record

EVERY = (
    Conv(4, kernel=3, name="conv"),
    Conv(4, kernel=1, connections=((0,), (3, 1), (2,), (0, 1, 2, 3)), name="partial"),
    BatchNorm(name="batch"),
    Activation("relu", name="act"),
    LocalResponseNorm(name="lrn"),
    MaxPool(2, 1, name="max"),
    TrainableSubsampling(1, name="sub"),
    LayerNorm(name="layer"),
    AveragePool(2, name="average"),
    AdaptiveAveragePool(2, name="adaptive"),
    GroupNorm(2, name="group"),
    InstanceNorm(name="instance"),
    PaddedIdentity(5, name="padded"),
    Scale(0.5, name="scale"),
    Dropout(0.5, name="drop"),
    Flatten(name="flat"),
    Dense(3, name="dense"),
    RadialBasis(((1.0, 1.0, -1.0), (-1.0, 1.0, 1.0)), name="radial"),
)


def concrete(cls=Layer):
    """Yield every public layer class of the package."""
    for sub in cls.__subclasses__():
        yield from concrete(sub)
        if not sub.__name__.startswith("_") and sub.__name__ != "Norm" and sub.__module__.startswith("jaxcnn.layers."):
            yield sub


def test_the_tuple_above_has_every_kind_of_layer():
    """Except for layers with layers inside."""
    assert {type(layer) for layer in EVERY} | {Residual} == set(concrete())


@pytest.mark.parametrize("train", [False, True])
def test_a_record_creates_exactly_one_module_under_its_own_name(train):
    called = []

    def note(call, arguments, options, context):
        called.append(context.module.path)
        return call(*arguments, **options)

    def init(x):
        with nn.intercept_methods(note):
            rngs = {"params": KEY, "dropout": KEY}
            return Net(EVERY).init(rngs, x, train=train)

    variables = jax.eval_shape(init, jnp.zeros((2, 9, 9, 2)))
    assert called == [(), *((layer.name,) for layer in EVERY)]
    leaves = {jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree.leaves_with_path(variables)}
    weights = {f"params/{name}/{leaf}" for name in ("conv", "partial", "dense") for leaf in ("kernel", "bias")}
    coefficients = {"params/sub/coefficient", "params/sub/bias"}
    scales = {f"params/{name}/{leaf}" for name in ("batch", "layer", "group", "instance") for leaf in ("scale", "bias")}
    assert leaves == weights | coefficients | scales | {"batch_stats/batch/mean", "batch_stats/batch/var"}


def test_records_are_values():
    for layer in EVERY:
        again = dataclasses.replace(layer)
        assert again == layer
        assert hash(again) == hash(layer)
        assert dataclasses.replace(layer, name="other") != layer
        with pytest.raises(dataclasses.FrozenInstanceError):
            layer.name = "other"
    assert len({*EVERY, *map(dataclasses.replace, EVERY)}) == len(EVERY)
    assert MaxPool(2, name="a") != AveragePool(2, name="a")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv(0, name="a"), "Conv.features is 0; it must be an integer > 0."),
        (lambda: Conv(1, kernel=2.5, name="a"), "Conv.kernel is 2.5; it must be an integer > 0."),
        (lambda: Conv(1, padding="SAME", name="a"), "Conv.padding is 'SAME'; it must be an integer >= 0."),
        (lambda: Conv(1, stride=0, name="a"), "Conv.stride is 0; it must be an integer > 0."),
        (lambda: MaxPool(2, 0, name="a"), "MaxPool.stride is 0; it must be an integer > 0 or None."),
        (lambda: Dropout(1.0, name="a"), "Dropout.rate is 1.0; it must be a finite number >= 0 and < 1."),
        (lambda: Dense(3, kernel_init="he", name="a"), "Dense.kernel_init is 'he'; it must be one of "),
        (lambda: Scale(0.0, name="a"), "Scale.factor is 0.0; it must be a finite number > 0."),
        (
            lambda: Activation("tahn", name="a"),
            "Activation.function is 'tahn'; it must be one of tanh, relu, sigmoid, softsign, scaled_tanh. "
            "Did you mean 'tanh'?",
        ),
        (
            lambda: Conv(2, connections=((0,),), name="a"),
            "a: connections has 1 rows; it must have 2, one per feature.",
        ),
        (
            lambda: Conv(2, connections=((0,), ()), name="a"),
            "a: connections has a row (); each row needs at least one channel, and no channel twice.",
        ),
        (
            lambda: Conv(1, connections=((2, 0, 2),), name="a"),
            "a: connections has a row (2, 0, 2); each row needs at least one channel, and no channel twice.",
        ),
        (
            lambda: Conv(1, connections=((-1,),), name="a"),
            "Conv.connections is ((-1,),); it must be a tuple, each element a tuple, each element an integer >= 0 or "
            "None.",
        ),
        (
            lambda: Conv(2, groups=2, connections=((0,), (1,)), name="a"),
            "a: groups is 2; with connections it must be 1.",
        ),
        (
            lambda: RadialBasis(((1.0,), (1.0, -1.0)), name="a"),
            "a: codes have lengths (1, 2); give one or more codes of equal length.",
        ),
        (lambda: RadialBasis((), name="a"), "a: codes have lengths (); give one or more codes of equal length."),
    ],
)
def test_invalid_values_of_a_record_are_refused(make, words):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ((Dense(1, name="a"),), (4, 4, 1), "a needs a flat input, got shape (4, 4, 1)."),
        ((Flatten(name="a"),), (4,), "a needs feature maps (height, width, channels), got shape (4,)."),
        (
            (Conv(3, groups=2, name="a"),), (9, 9, 4),
            "a: groups is 2; it must divide the 4 input channels and the 3 features.",
        ),
        (
            (Conv(1, connections=((0, 4),), name="a"),), (9, 9, 4),
            "a: connections has channel 4; the input has only channels 0 to 3.",
        ),
        ((RadialBasis(((1.0,) * 5,), name="a"),), (4,), "a needs 5 features, got shape (4,)."),
        ((PaddedIdentity(3, name="a"),), (9, 9, 4), "a: features is 3; it must be at least the 4 inputs."),
        ((GroupNorm(2, name="a"),), (9, 9, 3), "a: num_groups is 2; it must divide the 3 channels."),
        ((Flatten(name="a"), GroupNorm(4, name="b")), (1, 1, 4), "b: shape (4,) leaves 1 value per statistic"),
        (
            (Flatten(name="a"), nn.Dense(3, name="b", parent=None)), (9, 9, 1),
            "layer 2 is flax.linen.linear.Dense; it must be a record of jaxcnn.layers or of a subclass of Layer.",
        ),
        ((Flatten(name="b"), Flatten(name="b")), (9, 9, 1), "two layers are named 'b'; names must differ."),
        ((Conv(1, kernel=9, name="a"), Dense(1, name="a")), (1, 1, 1), "two layers are named 'a'; names must differ."),
    ],
)  # fmt: skip
def test_errors_that_no_image_size_avoids_name_the_layer(layers, shape, words):
    for function in (
        lambda: trace(layers, shape),
        lambda: jax.eval_shape(lambda: Net(layers).init(KEY, jnp.zeros((1, *shape)), train=False)),
    ):
        with pytest.raises(InputError) as error:
            function()
        assert str(error.value).startswith(words)


def test_a_batch_of_another_rank_is_refused():
    with pytest.raises(InputError, match=r"c needs feature maps \(height, width, channels\), got shape \(8, 1\)"):
        run([Conv(1, name="c")], np.zeros((8, 8, 1)))


def test_layers_that_need_too_large_an_image_are_refused():
    halvings = tuple(MaxPool(2, name=f"p{i}") for i in range(11))
    with pytest.raises(InputError, match="more than 1023 pixels"):
        least_size(halvings, 1)
    assert least_size(halvings[:9], 1) == 512


# --- what the layers compute


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype(np.float32)


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 2)])
def test_convolution_adds_its_bias_and_uses_its_fields(maps, stride, padding, groups):
    layer = Conv(6, kernel=3, stride=stride, padding=padding, groups=groups, name="c")
    y, variables = run([layer], maps)
    kernel, bias = (variables["params"]["c"][k] for k in ("kernel", "bias"))
    assert kernel.shape == (3, 3, 4 // groups, 6)
    expected = lax.conv_general_dilated(
        maps, kernel, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip
    np.testing.assert_allclose(y, np.asarray(expected) + bias, rtol=1e-5, atol=1e-6)


def test_layers_without_a_bias_add_none(maps):
    zeros = np.zeros_like(maps)
    table = ((0,), (1, 2))
    layers = [Conv(2, bias_init=None, connections=table, name="p"), Conv(3, bias_init=None, name="c")]
    layers += [Flatten(name="f"), Dense(2, bias_init=None, name="d")]
    y, variables = run(layers, zeros)
    assert {name: set(leaves) for name, leaves in variables["params"].items()} == {name: {"kernel"} for name in "pcd"}
    np.testing.assert_array_equal(y, 0)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_partial_convolution_equals_a_loop_over_the_pairs_of_its_table(maps, stride, padding):
    table = ((2, 0), (3,), (0, 1, 2, 3), (1, 3))
    layer = Conv(4, kernel=3, stride=stride, padding=padding, connections=table, name="c")
    y, variables = run([layer], maps)
    kernel, bias = (variables["params"]["c"][k].astype(np.float64) for k in ("kernel", "bias"))
    assert kernel.shape == (3, 3, 9)
    padded = np.pad(maps.astype(np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected, pair = np.zeros(y.shape), 0
    for f, row in enumerate(table):
        expected[..., f] = bias[f]
        for channel in row:
            for i, j in np.ndindex(y.shape[1:3]):
                window = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3, channel]
                expected[:, i, j, f] += (window * kernel[:, :, pair]).sum((1, 2))
            pair += 1
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_partial_kernel_equals_that_of_a_full_kernel_at_the_pairs_of_the_table(maps):
    table = ((2, 0), (3,), (0, 1, 2, 3))
    pairs = [(c, f) for f, row in enumerate(table) for c in row]
    partial, full = Net((Conv(3, connections=table, name="c"),)), Net((Conv(3, name="c"),))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 7)).astype(np.float32)
    spread = np.zeros((3, 3, 4, 3), np.float32)
    for number, (c, f) in enumerate(pairs):
        spread[:, :, c, f] = kernel[:, :, number]

    def gradient(net, kernel):
        params = {"c": {"kernel": kernel, "bias": np.ones(3, np.float32)}}
        loss = jax.jit(jax.grad(lambda p: jnp.square(net.apply({"params": p}, maps, train=True)).sum()))
        return np.asarray(loss(params)["c"]["kernel"])

    expected = gradient(full, spread)
    expected = np.stack([expected[:, :, c, f] for c, f in pairs], axis=-1)
    np.testing.assert_allclose(gradient(partial, kernel), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2)])
def test_subsampling_is_a_sum_times_a_coefficient_plus_a_bias(maps, size, stride):
    y, variables = run([TrainableSubsampling(size, stride, name="s")], maps)
    coefficient, bias = (variables["params"]["s"][k].astype(np.float64) for k in ("coefficient", "bias"))
    assert coefficient.shape == bias.shape == (4,)
    expected, step = np.empty(y.shape), stride or size
    for n, i, j, c in np.ndindex(y.shape):
        window = maps[n, i * step : i * step + size, j * step : j * step + size, c]
        expected[n, i, j, c] = window.astype(np.float64).sum() * coefficient[c] + bias[c]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("features", "stride"), [(4, 1), (6, 2), (5, 3)])
def test_a_padded_identity_is_the_input_at_every_stride_and_zero_in_new_maps(maps, features, stride):
    y, variables = run([PaddedIdentity(features, stride, name="p")], maps)
    assert not variables
    expected = np.zeros(y.shape)
    for n, i, j, c in np.ndindex(y.shape):
        if c < 4:
            expected[n, i, j, c] = maps[n, i * stride, j * stride, c]
    np.testing.assert_array_equal(y, expected)
    assert y.shape[1:3] == (-(-7 // stride), -(-8 // stride))


def test_scale_multiplies(maps):
    np.testing.assert_allclose(run([Scale(0.3, name="s")], maps)[0], 0.3 * maps, rtol=1e-6)


def test_radial_basis_is_the_negative_squared_distance():
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(6, 5)), rng.choice([-1.0, 1.0], size=(3, 5))
    y, _ = run([RadialBasis(tuple(map(tuple, codes)), name="r")], x)
    expected = [[-(np.linalg.norm(row - code) ** 2) for code in codes] for row in x]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_distances_are_in_float32_whatever_the_dtype_of_the_features():
    codes = ((1.0,) * 84, (-1.0,) * 84)
    net = Net((RadialBasis(codes, name="r"),))
    y = net.apply({}, jnp.full((1, 84), 0.5, jnp.bfloat16), train=False)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, [[-84 * 0.25, -84 * 2.25]])


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 3)])
@pytest.mark.parametrize(("kind", "reduce"), [(MaxPool, np.max), (AveragePool, np.mean)])
def test_pooling_uses_only_whole_windows(maps, size, stride, kind, reduce):
    y, _ = run([kind(size, stride, name="p")], maps)
    step = stride or size
    expected = [
        [reduce(maps[:, i : i + size, j : j + size], axis=(1, 2)) for j in range(0, 8 - size + 1, step)]
        for i in range(0, 7 - size + 1, step)
    ]
    np.testing.assert_allclose(y, np.transpose(np.array(expected), (2, 0, 1, 3)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("softsign", lambda x: x / (1 + np.abs(x))),
        ("scaled_tanh", lambda x: 1.7159 * np.tanh(2 * x / 3)),
    ],
)
def test_activations_equal_numpy(maps, name, function):
    y, _ = run([Activation(name, name="a")], maps)
    np.testing.assert_allclose(y, function(maps.astype(np.float64)), rtol=1e-5, atol=1e-6)


def test_flatten_and_dense_equal_numpy(maps):
    y, variables = run([Flatten(name="flat"), Dense(3, name="d")], maps)
    kernel, bias = (variables["params"]["d"][k].astype(np.float64) for k in ("kernel", "bias"))
    flat = [[maps[n, i, j, c] for i in range(7) for j in range(8) for c in range(4)] for n in range(2)]
    np.testing.assert_allclose(y, np.array(flat, np.float64) @ kernel + bias, rtol=1e-4)


def test_dropout_is_active_only_in_training(maps):
    ones = np.ones((2, 50, 50, 4))
    y, _ = run([Dropout(0.2, name="d")], ones, train=True)
    assert set(np.unique(y)) == {0.0, np.float32(1.25)}
    # 20,000 draws: five standard deviations of the share are 0.014.
    assert np.mean(y == 0) == pytest.approx(0.2, abs=0.014)
    y, _ = run([Dropout(0.2, name="d")], maps)
    np.testing.assert_array_equal(y, maps)


def test_initial_weights_have_the_specified_deviation_and_bias():
    net = Net(
        (
            Conv(400, kernel=5, kernel_init=0.02, name="normal"),
            Conv(400, kernel=1, kernel_init="he_normal", bias_init=0.1, name="he"),
            Flatten(name="flat"),
            Dense(100, bias_init=1.0, name="lecun"),
        )
    )
    params = jax.jit(lambda: net.init(KEY, jnp.zeros((1, 5, 5, 4)), train=False))()["params"]
    for name, deviation, bias in (("normal", 0.02, 0), ("he", (2 / 400) ** 0.5, 0.1), ("lecun", 400**-0.5, 1)):
        kernel = np.asarray(params[name]["kernel"])
        # At least 40,000 draws: five standard errors of a deviation are 1.8 %.
        assert kernel.std() == pytest.approx(deviation, rel=0.018)
        assert abs(kernel.mean()) < 5 * deviation / 200
        np.testing.assert_array_equal(params[name]["bias"], np.float32(bias))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 40), (40, 3)])
def test_orthogonal_kernels_preserve_lengths(inputs, outputs):
    """A kernel with more rows than columns, or more columns than rows, has orthonormal columns or rows."""
    net = Net((Conv(outputs, kernel=2, kernel_init="orthogonal", name="c"),))
    kernel = net.init(KEY, jnp.zeros((1, 2, 2, inputs)), train=False)["params"]["c"]["kernel"].reshape(-1, outputs)
    products = kernel.T @ kernel if len(kernel) > outputs else kernel @ kernel.T
    np.testing.assert_allclose(products, np.eye(len(products)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("kaiming_normal", "he_normal"), ("Xavier_Uniform", "glorot_uniform"), ("orthogonl", "orthogonal")],
)
def test_names_of_initializers_in_other_libraries_are_translated(name, ours):
    for kind in (Conv, Dense):
        with pytest.raises(InputError, match=rf"kernel_init is '{name}'; .* Did you mean '{ours}'\?$"):
            kind(3, kernel_init=name)


def test_the_initial_weights_of_1998_are_uniform_within_2_4_over_the_fan_in_of_each_feature():
    """Appendix A, with the fan-in from the table if there is one."""
    table = tuple(((0, 1, 2), (1, 2, 3, 0), (0,), (1, 2, 3))[f % 4] for f in range(400))
    net = Net(
        (
            Conv(400, kernel=5, kernel_init="lecun_1998", connections=table, name="partial"),
            Conv(90, kernel=1, kernel_init="lecun_1998", name="full"),
            Flatten(name="flat"),
            Dense(50, kernel_init="lecun_1998", name="dense"),
        )
    )
    sub = Net((TrainableSubsampling(2, name="sub"),))
    params = jax.jit(
        lambda: (
            net.init(KEY, jnp.zeros((1, 5, 5, 4)), train=False)["params"]
            | sub.init(KEY, jnp.zeros((1, 2, 2, 2000)), train=False)["params"]
        ),
        compiler_options={"xla_backend_optimization_level": 1},
    )()
    partial, pair, drawn = np.asarray(params["partial"]["kernel"]), 0, {1: [], 3: [], 4: []}
    for row in table:
        drawn[len(row)].append(partial[:, :, pair : pair + len(row)].ravel())
        pair += len(row)
    cases = {25 * count: np.concatenate(kernels) for count, kernels in drawn.items()}
    cases |= {400: params["full"]["kernel"], 90: params["dense"]["kernel"], 4: params["sub"]["coefficient"]}
    for fan_in, weights in cases.items():
        weights, limit = np.asarray(weights).ravel(), 2.4 / fan_in
        # At least 2,000 draws: their extremes are this close to the limits, and their mean to 0, except once in 20,000.
        assert np.abs(weights).max() <= limit
        assert min(weights.max(), -weights.min()) > 0.99 * limit
        assert abs(weights.mean()) < 4 * limit / (3 * weights.size) ** 0.5
        assert weights.std() == pytest.approx(limit / 3**0.5, rel=0.05)
    # No feature is a copy of another one.
    assert len(np.unique(partial)) > 0.99 * partial.size
    for name in ("partial", "full", "dense", "sub"):
        np.testing.assert_array_equal(params[name]["bias"], 0)


def test_norms_pass_their_options_on(maps):
    y, _ = run([LocalResponseNorm(size=3, alpha=0.5, beta=0.5, k=1.0, name="n")], maps)
    squares = np.pad(maps.astype(np.float64) ** 2, ((0, 0), (0, 0), (0, 0), (1, 1)))
    expected = maps / np.sqrt(1 + 0.5 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:]))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    y, variables = run([GroupNorm(2, name="n")], maps)
    grouped = maps.astype(np.float64).reshape(2, 7, 8, 2, 2)
    mean, var = (f(grouped, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    normal = ((grouped - mean) / np.sqrt(var + 1e-5)).reshape(y.shape)
    scale, bias = (variables["params"]["n"][k] for k in ("scale", "bias"))
    np.testing.assert_allclose(y, normal * scale + bias, rtol=1e-4, atol=1e-5)


def test_batch_norm_uses_batch_statistics_only_in_training(maps):
    for train in (True, False):
        y, variables = run([BatchNorm(name="n")], maps + 3, train=train)
        scale, bias = (variables["params"]["n"][k] for k in ("scale", "bias"))
        running = variables["batch_stats"]["n"]
        mean, var = (f(maps + 3, axis=(0, 1, 2)) for f in (np.mean, np.var))
        mean, var = (mean, var) if train else (running["mean"], running["var"])
        np.testing.assert_allclose(y, (maps + 3 - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", get_args(NormName))
def test_a_named_template_is_saved_as_its_name(name):
    record = template(name)
    assert record == "none" if name == "none" else record.shorthand == name and record.name is None
    assert to_json(record) == name


def test_names_and_records_give_templates():
    kinds = {"batch": BatchNorm(), "layer": LayerNorm(), "instance": InstanceNorm(), "group": GroupNorm()}
    kinds |= {"local_response": LocalResponseNorm(5, 1e-4, 0.75, 2.0, "sum")}
    kinds |= {"local_response_caffe": LocalResponseNorm(5, 1e-4, 0.75, 1.0, "mean")}
    assert {name: template(name) for name in kinds} == kinds
    changed = BatchNorm(momentum=0.99)
    assert template(changed) == template(dataclasses.replace(changed, name="b")) == changed
    assert changed.shorthand is None and to_json(changed)["momentum"] == 0.99 and "name" not in to_json(changed)
    assert template("bach") == "bach" and template(None) is None


def test_there_are_32_groups_if_32_divides_the_channels_otherwise_2():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 64))
    for channels, groups in ((64, 32), (48, 2)):
        found, expected = (run([GroupNorm(n, name="n")], x[..., :channels])[0] for n in (None, groups))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layers", [(Conv(3),), (Conv(3, name="a"), Activation("relu"))])
def test_a_template_in_a_network_is_refused(layers):
    with pytest.raises(InputError, match=rf"^layer {len(layers)} \(.*\) has no name"):
        trace(layers, (8, 8, 1))
