"""LeNet-5 against the paper's figures and against the whole network written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from jaxcnn.errors import InputError
from jaxcnn.layers import Activation, AveragePool, MaxPool, trace
from jaxcnn.models import LeNet5

KEY = jax.random.key(0)
NORMS = ["none", "batch", "layer", "group", "instance", "local_response"]


def specification(model, shape=(1, 32, 32, 1)):
    """Shapes and types of the variables, without computing them."""
    return jax.eval_shape(lambda: model.init(KEY, jnp.zeros(shape), train=False))


# Modern variant: the paper's layers with every map of S2 feeding every map of C3.
FIGURES = {
    "c1": ((28, 28, 6), 156, 122_304),
    "s2": ((14, 14, 6), 0, 4 * 1176),
    "c3": ((10, 10, 16), 2_416, 100 * 2_416),
    "s4": ((5, 5, 16), 0, 4 * 400),
    "c5": ((1, 1, 120), 48_120, 48_120),
    "f6": ((84,), 10_164, 10_164),
    "output": ((10,), 850, 850),
}


def test_the_papers_figures():
    rows = {row.layer.name: row for row in trace(LeNet5().layers(), (32, 32, 1))}
    found = {n: (rows[n].facts.shape, rows[n].facts.parameters, rows[n].facts.connections) for n in FIGURES}
    assert found == FIGURES
    assert sum(row.facts.parameters for row in rows.values()) == 61_706
    assert rows["c5"].receptive_field == rows["output"].receptive_field == 32


def test_parameters_lie_one_level_deep_and_number_61706():
    variables = specification(LeNet5())
    assert list(variables) == ["params"]
    assert {name: set(leaves) for name, leaves in variables["params"].items()} == {
        name: {"kernel", "bias"} for name in ("c1", "c3", "c5", "f6", "output")
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 61_706


def test_the_whole_network_written_out():
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


def test_plain_init_and_apply_without_a_config():
    images = jnp.zeros((3, 32, 32, 1))
    for model in (LeNet5(), LeNet5(7, "relu", "max", "batch"), LeNet5(num_classes=7, dtype="bfloat16")):
        logits = jax.eval_shape(lambda m=model: m.apply(m.init(KEY, images, train=False), images, train=False))
        assert (logits.shape, logits.dtype) == ((3, model.num_classes), jnp.float32)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_inits_and_applies(norm):
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
def test_norms_stand_before_the_activation_local_response_after_it(norm):
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
def test_images_that_are_too_small_name_the_least_size(height, width):
    with pytest.raises(InputError) as error:
        specification(LeNet5(norm="instance"), (1, height, width, 1))
    assert str(error.value) == f"images are {height}x{width}; this network needs at least 32x32."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"activation": "tahn"}, "LeNet5.activation is 'tahn'; it must be one of tanh, relu, sigmoid, softsign. "),
        ({"pooling": "avg"}, "LeNet5.pooling is 'avg'; it must be one of average, max."),
        ({"norm": "bacth"}, "LeNet5.norm is 'bacth'; it must be one of none, batch, layer, group, instance, "),
        ({"num_classes": 0}, "LeNet5.num_classes is 0; it must be a whole number > 0."),
        ({"num_classes": 10.0}, "LeNet5.num_classes is 10.0; it must be a whole number > 0."),
        ({"dtype": "float16"}, "LeNet5.dtype is 'float16'; it must be one of float32, bfloat16."),
    ],
)
def test_bad_values_say_what_is_allowed(given, words):
    with pytest.raises(InputError) as error:
        LeNet5(**given)
    assert str(error.value).startswith(words)
