"""The worked example of vanishing gradients compared with backpropagation by hand and with finite differences."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.__main__ import main
from jaxcnn.describe.digits_program import digits
from jaxcnn.describe.explanation import explain_topic
from jaxcnn.describe.gradient_example import (
    DEPTH,
    IMAGES,
    NETWORKS,
    RATE,
    VANISHING,
    _kernels,
    _variables,
    deviation,
    through_time,
    vanishing_example,
)
from jaxcnn.layers.initializers import initializer
from jaxcnn.models.kernel_init import initial

LAYERS = [*(f"fc{i}" for i in range(1, DEPTH)), "output"]


@pytest.fixture(scope="module")
def example():
    return vanishing_example()


def weights(name):
    """Return the kernels in float64, in the order of the layers; biases are 0."""
    kernels = _kernels(_variables(NETWORKS[name])["params"])
    return [kernels[layer].astype(np.float64) for layer in LAYERS]


def pixels():
    images = digits().test.images[:IMAGES]
    return (images.reshape(IMAGES, -1) / 255 - 0.08) / 0.78


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax_loss(logits):
    labels = digits().test.labels[:IMAGES]
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.eye(10)[labels]
    return -(logs * targets).sum(axis=1).mean(), (np.exp(logs) - targets) / IMAGES


def test_the_gradients_of_plain_networks_equal_backpropagation_by_hand(example):
    functions = {
        VANISHING: (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
        "ReLU, He": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    }
    for name, (f, slope) in functions.items():
        kernels, h, z, inputs = weights(name), pixels(), [], []
        for kernel in kernels:
            inputs.append(h)
            z.append(h @ kernel)
            h = f(z[-1])
        _, gradient = softmax_loss(z[-1])
        found = example.networks[name]
        for i in reversed(range(DEPTH)):
            size = np.sqrt(np.mean(gradient**2))
            np.testing.assert_allclose(found.preactivations[i], z[i], atol=1e-4)
            np.testing.assert_allclose(found.gradients[i], gradient, atol=2e-3 * np.abs(gradient).max())
            assert found.rms[i] == pytest.approx(size, rel=1e-3)
            moved = (kernels[i] - RATE * inputs[i].T @ gradient).astype(np.float32) != kernels[i].astype(np.float32)
            # Weights at the edge of a rounding interval may be on either side of it.
            assert found.changed[i] == pytest.approx(moved.mean(), abs=0.02)
            if i:
                carried = gradient @ kernels[i].T
                gradient = carried * slope(z[i - 1])
                by_weights = np.sqrt(np.mean(carried**2)) / size
                assert found.by_weights[i - 1] == pytest.approx(by_weights, rel=1e-3)
                by_slopes = np.sqrt(np.mean(gradient**2)) / (by_weights * size)
                assert found.by_slopes[i - 1] == pytest.approx(by_slopes, rel=1e-3)


def with_norm(kernels, added):
    h = pixels()
    for i, kernel in enumerate(kernels):
        z = h @ kernel + added.get(i, 0)
        if i == DEPTH - 1:
            return z
        h = sigmoid((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5))


def with_skips(kernels, added):
    def layer(i, h):
        return h @ kernels[i] + added.get(i, 0)

    x = sigmoid(layer(0, pixels()))
    for i in range(1, DEPTH - 1, 2):
        x = x + layer(i + 1, sigmoid(layer(i, x if i == 1 else sigmoid(x))))
    return layer(DEPTH - 1, sigmoid(x))


@pytest.mark.parametrize(("words", "logits"), [("batch norm", with_norm), ("skips", with_skips)])
def test_the_gradients_of_remedies_equal_finite_differences(words, logits, example):
    (name,) = (name for name in NETWORKS if words in name)
    kernels, found = weights(name), example.networks[name]
    assert not found.is_plain
    for i in (0, 1, 2, 10, 19):
        # The direction of the gradient itself, in which the loss changes most.
        direction = found.gradients[i] / np.linalg.norm(found.gradients[i])
        losses = [softmax_loss(logits(kernels, {i: step * direction}))[0] for step in (1e-4, -1e-4)]
        slope = (losses[0] - losses[1]) / 2e-4
        assert slope == pytest.approx(np.linalg.norm(found.gradients[i].astype(np.float64)), rel=1e-3)


def test_gradients_vanish_without_remedies_only(example):
    ratios = {name: b.rms[0] / b.rms[-1] for name, b in example.networks.items()}
    vanishing, small, *remedies = ratios.values()
    assert small < 1e-20 and vanishing < 1e-11 and min(remedies) > 1e-2
    assert example.networks[VANISHING].per_layer ** (DEPTH - 1) == pytest.approx(vanishing)
    assert max(example.networks[VANISHING].by_slopes) < 0.25


def test_weights_have_the_deviation_of_the_initializer_and_the_same_numbers():
    for name, model in NETWORKS.items():
        drawn = np.asarray(initializer(initial(model.kernel_init, 0.01))(jax.random.key(0), (128, 128)))
        assert deviation(model.kernel_init, 128, 128) == pytest.approx(drawn.std(), rel=0.03), name
    first, second = (weights(name) for name in (VANISHING, "ReLU, He"))
    for layer, (a, b) in enumerate(zip(first, second, strict=True)):
        np.testing.assert_allclose(a / a.std(), b / b.std(), rtol=1e-4, err_msg=LAYERS[layer])


def test_gradients_through_time_equal_those_of_jax():
    rng = np.random.default_rng(1)
    w, inputs, gradient = rng.normal(size=(5, 5)), rng.normal(size=(4, 3, 5)), rng.normal(size=(3, 5))

    def last(added):
        h = jnp.zeros((3, 5))
        for x, extra in zip([None, *inputs], added, strict=True):
            h = (h if x is None else jnp.tanh(h @ w.astype(np.float32) + x.astype(np.float32))) + extra
        return jnp.vdot(h, gradient.astype(np.float32))

    expected = jax.jit(jax.grad(last))(jnp.zeros((5, 3, 5)))
    np.testing.assert_allclose(through_time(w, inputs, gradient), expected[::-1], rtol=1e-4, atol=1e-5)


def test_the_explanation_has_the_numbers(example):
    text, backward, remedies = explain_topic("vanishing_gradients")
    said, b = " ".join(text.split()), example.networks[VANISHING]
    assert f"{b.rms[10]:.1e} * {b.by_weights[9]:.2f} * {b.by_slopes[9]:.2f} = {b.rms[9]:.1e}" in said
    assert b.rms[10] * b.by_weights[9] * b.by_slopes[9] == pytest.approx(b.rms[9])
    assert f"10^{b.decades:.1f} times that of layer 20" in said
    assert f"In layers 1 to {b.unchanged}, the step changes no weight" in said
    assert b.changed[b.unchanged - 1] < 0.005 <= b.changed[b.unchanged]
    assert [row[0] for row in backward.rows] == [str(layer) for layer in range(20, 0, -1)]
    assert float(backward.rows[-1][4]) == pytest.approx(b.rms[0], rel=0.05)
    assert [row[0] for row in remedies.rows] == list(NETWORKS)
    assert max(map(len, text.splitlines())) <= 100
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE) == list("123456")


def test_the_command(capsys):
    assert main(["describe", "vanishing_gradients", "--format=markdown"]) == 0
    assert "| layer | weights | slope |" in capsys.readouterr().out
    assert main(["describe", "vanishing_gradient"]) == 2
    assert "Did you mean 'vanishing_gradients'?" in capsys.readouterr().err
