"""LeNet-5 compared with the paper's figures and with a reference implementation of the whole network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from jaxcnn.config import Optimizer
from jaxcnn.layers import Activation, AveragePool, MaxPool, TrainableSubsampling, trace
from jaxcnn.models import LeNet5
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.optim import decay_report

KEY = jax.random.key(0)
NORMS = ["none", "batch", "layer", "group", "instance", "local_response"]


def specification(model, shape=(1, 32, 32, 1)):
    """Return shapes and types of the variables, without computing them."""
    return jax.eval_shape(lambda: model.init(KEY, jnp.zeros(shape), train=False))


# The paper's figures (section II.B); it prints 156,000 connections in C3 and 345,308 in total, which are inconsistent.
FIGURES_1998 = {
    "c1": ((28, 28, 6), 156, 122_304),
    "s2": ((14, 14, 6), 12, 5_880),
    "c3": ((10, 10, 16), 1_516, 151_600),
    "s4": ((5, 5, 16), 32, 2_000),
    "c5": ((1, 1, 120), 48_120, 48_120),
    "f6": ((84,), 10_164, 10_164),
    "output": ((10,), 0, 840),
}

# Modern variant: the paper's layers with every S2 map connected to every C3 map.
FIGURES = {
    "c1": ((28, 28, 6), 156, 122_304),
    "s2": ((14, 14, 6), 0, 4 * 1176),
    "c3": ((10, 10, 16), 2_416, 100 * 2_416),
    "s4": ((5, 5, 16), 0, 4 * 400),
    "c5": ((1, 1, 120), 48_120, 48_120),
    "f6": ((84,), 10_164, 10_164),
    "output": ((10,), 850, 850),
}


@pytest.mark.parametrize(
    ("variant", "figures", "parameters", "connections"),
    [("modern", FIGURES, 61_706, 429_342), ("1998", FIGURES_1998, 60_000, 340_908)],
)
def test_the_papers_figures(variant, figures, parameters, connections):
    rows = {row.layer.name: row for row in trace(LeNet5(variant=variant).layers(), (32, 32, 1))}
    found = {n: (rows[n].info.output_shape, rows[n].info.parameters, rows[n].info.connections) for n in figures}
    assert found == figures
    assert sum(row.info.parameters for row in rows.values()) == parameters
    assert sum(row.info.connections for row in rows.values()) == connections
    assert rows["c5"].receptive_field == rows["output"].receptive_field == 32


def test_parameters_are_nested_one_level_deep_and_number_61706():
    variables = specification(LeNet5())
    assert list(variables) == ["params"]
    assert {name: set(leaves) for name, leaves in variables["params"].items()} == {
        name: {"kernel", "bias"} for name in ("c1", "c3", "c5", "f6", "output")
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 61_706


def test_the_network_of_1998_has_exactly_60000_parameters():
    variables = specification(LeNet5(variant="1998"))
    assert list(variables) == ["params"]
    sizes = {name: sum(leaf.size for leaf in leaves.values()) for name, leaves in variables["params"].items()}
    assert sizes == {name: parameters for name, (_, parameters, _) in FIGURES_1998.items() if parameters}
    assert sum(sizes.values()) == 60_000
    assert {name: set(leaves) for name, leaves in variables["params"].items()} == {
        **{name: {"kernel", "bias"} for name in ("c1", "c3", "c5", "f6")},
        **{name: {"coefficient", "bias"} for name in ("s2", "s4")},
    }


def test_scopes_of_weight_decay_in_the_network_of_1998():
    params = specification(LeNet5(variant="1998"))["params"]

    def decaying(scope):
        report = decay_report(Optimizer(weight_decay=0.1, weight_decay_scope=scope), params)
        return {path for path, _, decays in report if decays}

    assert decaying("conv") == {"c1/kernel", "c3/kernel", "c5/kernel"}
    assert decaying("dense") == {"f6/kernel"}
    assert decaying("kernels") == decaying("conv") | decaying("dense")
    assert decaying("all") - decaying("kernels") == {
        *(f"{name}/bias" for name in ("c1", "s2", "c3", "s4", "c5", "f6")),
        *("s2/coefficient", "s4/coefficient"),
    }


# The rule for table I in section II.B, with the six maps in a ring: every three contiguous maps, every four contiguous
# maps, two opposite pairs, all maps.
TABLE = [
    *[{i % 6, (i + 1) % 6, (i + 2) % 6} for i in range(6)],
    *[{i % 6, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6} for i in range(6)],
    *[{i % 6, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6} for i in range(3)],
    set(range(6)),
]


def test_the_network_of_1998_equals_a_reference_implementation():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    model = LeNet5(variant="1998")
    variables = jax.tree.map(lambda v: rng.normal(scale=0.2, size=v.shape).astype(np.float32), specification(model))
    logits = np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images))
    p = jax.tree.map(lambda v: v.astype(np.float64), variables["params"])
    codes = np.array(model.layers()[-1].codes)

    def squash(x):
        return 1.7159 * np.tanh(2 * x / 3)

    def subsampled(x, layer):
        total = x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]
        return squash(total * layer["coefficient"] + layer["bias"])

    def conv(x, layer, table):
        planes = iter(np.moveaxis(layer["kernel"].reshape(5, 5, -1), 2, 0))
        maps = [
            bias + sum(correlate(x[..., c], next(planes), mode="valid") for c in sorted(row))
            for row, bias in zip(table, layer["bias"], strict=True)
        ]
        assert next(planes, None) is None
        return squash(np.stack(maps, -1))

    for image, found in zip(images.astype(np.float64), logits, strict=True):
        s2 = subsampled(conv(image, p["c1"], [{0}] * 6), p["s2"])
        s4 = subsampled(conv(s2, p["c3"], TABLE), p["s4"])
        c5 = squash(np.einsum("ijc,ijcf->f", s4, p["c5"]["kernel"]) + p["c5"]["bias"])
        f6 = squash(c5 @ p["f6"]["kernel"] + p["f6"]["bias"])
        expected = [-sum((f6[i] - code[i]) ** 2 for i in range(84)) for code in codes]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_bitmaps_of_the_digits():
    codes = np.array(LeNet5(variant="1998").layers()[-1].codes)
    assert codes.shape == (10, 12 * 7)
    assert set(codes.ravel()) == {-1, 1}
    apart = (codes[:, None] != codes[None]).sum(-1) + 84 * np.eye(10, dtype=int)
    # With up to 8 wrong units the nearest bitmap is still the right one.
    assert apart.min() >= 17
    # Digits that look similar have similar bitmaps.
    nearest = {digit: apart[digit].argsort()[:3] for digit in range(10)}
    assert 9 in nearest[0]
    assert 8 in nearest[3]
    assert 1 in nearest[7]
    bitmaps = codes.reshape(10, 12, 7)
    assert (bitmaps[7, 0] == 1).all()
    # A one is a vertical stroke; a zero is symmetric along both axes.
    assert (bitmaps[1, :, 3] == 1).all()
    np.testing.assert_array_equal(bitmaps[0], bitmaps[0, :, ::-1])
    np.testing.assert_array_equal(bitmaps[0], bitmaps[0, ::-1])


def test_weights_of_1998_are_initialized_as_in_appendix_a():
    inits = {
        layer.name: layer.kernel_init for layer in LeNet5(variant="1998").layers() if hasattr(layer, "kernel_init")
    }
    assert inits == dict.fromkeys(("c1", "c3", "c5", "f6"), "lecun_1998")


def test_variants_set_only_fields_that_are_none():
    def kinds(model):
        layers = model.layers()
        activations = [layer.function for layer in layers if isinstance(layer, Activation)]
        return activations, [type(layer) for layer in layers if layer.name in ("s2", "s4")]

    assert kinds(LeNet5()) == (["tanh"] * 4, [AveragePool] * 2)
    assert kinds(LeNet5(variant="1998")) == (["scaled_tanh"] * 6, [TrainableSubsampling] * 2)
    assert kinds(LeNet5(pooling="trainable")) == (["tanh"] * 6, [TrainableSubsampling] * 2)
    assert kinds(LeNet5(variant="1998", activation="relu", pooling="max")) == (["relu"] * 4, [MaxPool] * 2)
    names = [layer.name for layer in LeNet5(variant="1998", norm="batch").layers()]
    assert names == [
        *("c1", "norm1", "act1", "s2", "act2", "c3", "norm3", "act3", "s4", "act4"),
        *("c5", "act5", "flatten", "f6", "act6", "output"),
    ]


def test_the_network_equals_a_reference_implementation():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    model = LeNet5()
    variables = jax.tree.map(lambda v: rng.normal(scale=0.2, size=v.shape).astype(np.float32), specification(model))
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    assert logits.shape == (2, 10)
    assert logits.dtype == jnp.float32

    def conv(x, layer):
        kernel, bias = layer["kernel"], layer["bias"]
        return bias + np.stack([correlate(x, kernel[..., f], mode="valid")[..., 0] for f in range(len(bias))], -1)

    def halved(x):
        return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    p = jax.tree.map(lambda v: v.astype(np.float64), variables["params"])
    for image, found in zip(images.astype(np.float64), np.asarray(logits), strict=True):
        s2 = halved(np.tanh(conv(image, p["c1"])))
        s4 = halved(np.tanh(conv(s2, p["c3"])))
        c5 = np.tanh(conv(s4, p["c5"]))
        assert c5.shape == (1, 1, 120)
        f6 = np.tanh(c5.ravel() @ p["f6"]["kernel"] + p["f6"]["bias"])
        expected = f6 @ p["output"]["kernel"] + p["output"]["bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_init_and_apply_without_a_config():
    images = jnp.zeros((3, 32, 32, 1))
    models = LeNet5(), LeNet5(7, "relu", "max", "batch"), LeNet5(num_classes=7, dtype="bfloat16")
    for model in (*models, LeNet5(variant="1998", dtype="bfloat16")):
        logits = jax.eval_shape(lambda m=model: m.apply(m.init(KEY, images, train=False), images, train=False))
        assert (logits.shape, logits.dtype) == ((3, model.num_classes), jnp.float32)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_can_be_initialized_and_applied(norm):
    model = LeNet5(norm=norm)
    variables = specification(model)
    extra = sum(v.size for v in jax.tree.leaves(variables["params"])) - 61_706
    # A scale and a bias for each map of C1 and C3.
    assert extra == (0 if norm in ("none", "local_response") else 2 * (6 + 16))
    assert ("batch_stats" in variables) is (norm == "batch")
    for train in (False, True):
        logits, updates = jax.eval_shape(
            lambda v, train=train: model.apply(v, jnp.zeros((4, 32, 32, 1)), train=train, mutable=["batch_stats"]),
            variables,
        )
        assert logits.shape == (4, 10)
        assert updates.get("batch_stats", {}) == variables.get("batch_stats", {})


@pytest.mark.parametrize("norm", NORMS)
def test_norms_are_before_the_activation_and_local_response_after_it(norm):
    names = [layer.name for layer in LeNet5(norm=norm).layers()]
    around = {
        "none": ["c1", "act1", "s2", "c3", "act3", "s4"],
        "local_response": ["c1", "act1", "norm1", "s2", "c3", "act3", "norm3", "s4"],
    }
    usual = ["c1", "norm1", "act1", "s2", "c3", "norm3", "act3", "s4"]
    assert names == [*around.get(norm, usual), "c5", "act5", "flatten", "f6", "act6", "output"]


def test_activation_and_pooling_are_used_everywhere():
    layers = LeNet5(activation="softsign", pooling="max").layers()
    assert [layer.function for layer in layers if isinstance(layer, Activation)] == ["softsign"] * 4
    assert [layer.name for layer in layers if isinstance(layer, MaxPool)] == ["s2", "s4"]
    assert [layer.name for layer in LeNet5().layers() if isinstance(layer, AveragePool)] == ["s2", "s4"]


def test_larger_images_give_f6_more_inputs():
    params = specification(LeNet5(), (1, 40, 36, 3))["params"]
    assert params["c1"]["kernel"].shape == (5, 5, 3, 6)
    assert params["f6"]["kernel"].shape == (3 * 2 * 120, 84)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (31, 64), (64, 31), (1, 1)])
def test_images_that_are_too_small_raise_an_error_with_the_minimum_size(height, width):
    with pytest.raises(InputError) as error:
        specification(LeNet5(norm="instance"), (1, height, width, 1))
    assert str(error.value) == f"images are {height}x{width}; this network needs at least 32x32."


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"activation": "tahn"}, "LeNet5.activation is 'tahn'; it must be one of tanh, relu, sigmoid, softsign, "),
        ({"pooling": "avg"}, "LeNet5.pooling is 'avg'; it must be one of average, max, trainable or None."),
        ({"norm": "bacth"}, "LeNet5.norm is 'bacth'; it must be one of none, batch, layer, group, instance, "),
        ({"num_classes": 0}, "LeNet5.num_classes is 0; it must be an integer > 0."),
        ({"num_classes": 10.0}, "LeNet5.num_classes is 10.0; it must be an integer > 0."),
        ({"variant": "1989"}, "LeNet5.variant is '1989'; it must be one of modern, 1998. Did you mean '1998'?"),
        (
            {"variant": "1998", "num_classes": 26},
            "LeNet5.num_classes is 26; variant '1998' has bitmaps of 10 digits, so it must be 10; variant 'modern' ",
        ),
        ({"dtype": "float16"}, "LeNet5.dtype is 'float16'; it must be one of float32, bfloat16."),
    ],
)
def test_errors_for_bad_values_say_what_is_allowed(fields, words):
    with pytest.raises(InputError) as error:
        LeNet5(**fields)
    assert str(error.value).startswith(words)
