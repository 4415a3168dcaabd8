import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.layers import Activation, Conv, Flatten, RadialBasis
from jaxcnn.models import Chain
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Network, load_network, read
from tests.shift.networks import LAYERS, images, network, preprocess
from tests.tiny import Tiny

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"


def by_layers(net, x):
    """The output of every layer, one layer after the other."""
    found = {}
    for layer in net.model.layers():
        x = found[layer.name] = Chain((layer,)).apply(net.variables, x, train=False)
    return {name: np.asarray(y) for name, y in found.items()}


@pytest.mark.parametrize("batch_size", [4, 100])
def test_features_probabilities_and_moments_are_those_of_the_layers(batch_size):
    net, x = network(), images(10)
    outputs = read(net, x, np.arange(10) % 4, batch_size=batch_size)
    expected = by_layers(net, preprocess(x))
    np.testing.assert_allclose(outputs.features, expected["tanh2"], atol=1e-5)
    logits = expected["output"]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(outputs.log_probabilities), probabilities, atol=1e-5)
    assert outputs.predictions.tolist() == logits.argmax(1).tolist() and len(outputs) == 10
    assert [*outputs.layers] == ["input", "conv1", "norm1", "f2", "output"]
    maps = expected["norm1"]
    np.testing.assert_allclose(outputs.layers["norm1"].mean, maps.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(outputs.layers["norm1"].square, (maps**2).mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(outputs.layers["f2"].mean, expected["f2"], atol=1e-5)
    np.testing.assert_allclose(outputs.layers["input"].mean, preprocess(x).mean((1, 2)), atol=1e-5)


def test_rows_are_taken_from_everything():
    outputs = read(network(), images(10), np.arange(10) % 4)
    rows = np.array([7, 2])
    some = outputs.take(rows)
    assert some.labels.tolist() == [3, 2] and np.array_equal(some.features, outputs.features[rows])
    assert np.array_equal(some.images, images(10)[rows])
    assert np.array_equal(some.layers["f2"].square, outputs.layers["f2"].square[rows])


def test_any_linen_module_is_read():
    model = Tiny()
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    outputs = read(Network(model, model.init(jax.random.key(0), x, train=False)), x)
    assert outputs.features.shape == (6, 4 * 4 * 4) and [*outputs.layers] == ["input", "conv", "norm", "output"]
    assert outputs.labels is None


def test_the_last_layer_may_have_no_parameters():
    """The scores of LeNet's 1998 variant are distances from the units of its last dense layer to fixed codes."""
    codes = RadialBasis(((1.0, -1.0, 1.0, 1.0, 1.0), (-1.0, 1.0, 1.0, -1.0, 1.0)), name="output")
    assert read(network((*LAYERS[3:6], codes)), images(2)).features.shape == (2, 5)


def test_a_network_without_a_layer_that_could_be_read_is_refused():
    model = Chain((Activation("relu", name="relu"),))
    with pytest.raises(InputError, match="no layer whose input could serve as features"):
        read(Network(model, {}), np.zeros((2, 3), np.float32).reshape(2, 1, 1, 3))


def test_a_run_is_read_as_it_is_evaluated(tmp_path):
    run = shutil.copytree(FINISHED, tmp_path / "run")
    net = load_network(run)
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    outputs = read(net, x)
    expected = jax.nn.log_softmax(net.model.apply(net.variables, net.preprocess(x), train=False))
    np.testing.assert_allclose(outputs.log_probabilities, expected, atol=1e-5)
    with pytest.raises(InputError, match="is not a run folder"):
        load_network(tmp_path)


NOT_FINITE = np.where(np.arange(20)[:, None, None, None] < 3, np.nan, images(20).astype(np.float32))


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (images(0), None, r"images have shape \(0, 6, 6, 1\)"),
        (images(3)[0], None, r"they must be \[n, height, width, channels\]"),
        (NOT_FINITE, None, "3 of 20 images have pixels that are NaN or infinite. Remove them"),
        (
            images(20)[:, :5],
            None,
            "images are 5x6x1; the network was trained on images of another shape. Resize",
        ),
        (images(5), np.arange(5), "labels go up to 4; the network has the classes 0 to 3. Leave out the images of"),
        (images(5), np.zeros(4, int), r"labels have shape \(4,\) and type int64; they must be 5 integers from 0"),
        (images(5), np.zeros(5), "type float64; they must be 5 integers"),
    ],
)
def test_images_that_the_network_cannot_read_are_refused_with_the_reason(x, labels, message):
    with pytest.raises(InputError, match=message):
        read(network(), x, labels)


def test_layers_that_end_in_maps_have_features_too():
    layers = (*LAYERS[:3], Conv(4, kernel=4, name="conv2"), Flatten(name="flatten"))
    assert read(network(layers), images(3)).features.shape == (3, 4 * 4 * 3)
