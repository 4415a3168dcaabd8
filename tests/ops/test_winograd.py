"""Minimal filtering against NumPy's correlation and sums in float64."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from jaxcnn.ops import winograd
from jaxcnn.ops.formulations import Window


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_transforms_give_a_correlation(size):
    rng = np.random.default_rng(size)
    tile, kernel = rng.normal(size=6), rng.normal(size=size)
    to_input, to_kernel, to_output = winograd.transforms(size)
    found = to_output @ ((to_kernel @ kernel) * (to_input @ tile))
    np.testing.assert_allclose(found, np.correlate(tile, kernel, "valid"), rtol=1e-5, atol=1e-5)


def gradient_by_sums(x, dy, size, padding):
    x, dy = np.pad(np.asarray(x, np.float64), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))), np.asarray(dy, float)
    height, width = dy.shape[1:3]
    parts = [[x[:, i : i + height, j : j + width] for j in range(size)] for i in range(size)]
    return np.array([[np.tensordot(part, dy, ([0, 1, 2], [0, 1, 2])) for part in row] for row in parts])


def output_by_sums(x, kernel, padding):
    x = np.pad(np.asarray(x, float), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    kernel = np.asarray(kernel, float)
    size, height, width = len(kernel), x.shape[1] + 1 - len(kernel), x.shape[2] + 1 - len(kernel)
    return sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(size) for j in range(size))


def input_gradient_by_sums(dy, kernel, window):
    dy, kernel, padding = np.asarray(dy, float), np.asarray(kernel, float), window.padding
    dx = np.zeros((len(dy), *window.padded, kernel.shape[2]))
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            dx[:, i : i + dy.shape[1], j : j + dy.shape[2]] += dy @ kernel[i, j].T
    return dx[:, padding : padding + window.image[0], padding : padding + window.image[1]]


@st.composite
def layers(draw, largest, many):
    """A window on maps with at most this side, and numbers of images, of channels (1, 5 or `many`) and of features."""
    size = draw(st.integers(2, 5))
    image = draw(st.tuples(st.integers(size, largest), st.integers(size, largest)))
    window = Window(image, (size, size), padding=draw(st.integers(0, size + 1)))
    return window, *(draw(st.sampled_from(some)) for some in ([1, 3, 4], [1, 5, many], [1, 6]))


@settings(max_examples=10, deadline=None)
@given(layers(15, 64))
def test_output_and_input_gradient_equal_direct_sums(layer):
    window, n, channels, features = layer
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(n, *window.image, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window.size, channels, features)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=(n, *window.output, features)), jnp.float32)
    for expected, found in (
        (output_by_sums(x, kernel, window.padding), jax.jit(winograd.output, static_argnums=2)(x, kernel, window)),
        (
            input_gradient_by_sums(dy, kernel, window),
            jax.jit(winograd.input_gradient, static_argnums=2)(dy, kernel, window),
        ),
    ):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@settings(max_examples=5, deadline=None)
@given(layers(40, 160))
def test_kernel_gradient_equals_direct_sums(layer):
    window, n, channels, features = layer
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(n, *window.image, channels)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=(n, *window.output, features)), jnp.float32)
    expected = gradient_by_sums(x, dy, window.size[0], window.padding)
    found = jax.jit(winograd.kernel_gradient, static_argnums=2)(x, dy, window)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5 * np.abs(expected).max())


def test_kernel_gradient_with_several_strips_of_which_the_last_is_not_full():
    window = Window((13, 300), (3, 3), padding=1)
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.normal(size=(2, 13, 300, c)), jnp.float32) for c in (160, 3))
    expected = gradient_by_sums(x, dy, 3, 1)
    found = jax.jit(winograd.kernel_gradient, static_argnums=2)(x, dy, window)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_of_vgg_uses_it_for_all_three_operations(dtype):
    rng = np.random.default_rng(1)
    x, dy = (jnp.asarray(rng.normal(size=(8, 32, 32, c)), dtype) for c in (64, 96))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 64, 96)), dtype)

    def everything(x, kernel, dy):
        y, pull = jax.vjp(functools.partial(ops.conv, padding=1), x, kernel)
        return y, *pull(dy)

    compiled = jax.jit(everything).lower(x, kernel, dy).compile()
    window = Window((32, 32), (3, 3), padding=1)
    wanted = output_by_sums(x, kernel, 1), input_gradient_by_sums(dy, kernel, window), gradient_by_sums(x, dy, 3, 1)
    for found, expected, tolerance in zip(compiled(x, kernel, dy), wanted, (1e-5, 1e-5, 5e-5), strict=True):
        assert found.dtype == dtype
        tolerance = {"float32": tolerance, "bfloat16": 2**-8}[dtype]
        largest = np.abs(expected).max()
        np.testing.assert_allclose(np.asarray(found, float), expected, rtol=tolerance, atol=tolerance * largest)
    text = compiled.as_text()
    for channels in (96, 64):  # For the output and for the input gradient.
        assert len(re.findall(rf"= f32\[8,32,8,{channels}\]\S* convolution", text)) == 6
    assert "f32[12,64,96]" in text  # The kernel gradient has two rows of six products.


@pytest.mark.parametrize(("channels", "convolution"), [(16, "f32[8,8,8,72]"), (48, "f32[8,8,2,72]")])
def test_outputs_of_vmap_members_are_computed_sequentially(channels, convolution):
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 8, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 3, 3, channels, 72)), jnp.float32)
    compiled = jax.jit(jax.vmap(functools.partial(ops.conv, padding=1))).lower(x, kernel).compile()
    for found, image, weights in zip(compiled(x, kernel), x, kernel, strict=True):
        expected = output_by_sums(image, weights, 1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert re.search(re.escape(convolution) + r"\S* convolution", compiled.as_text())


def test_float64_keeps_its_precision():
    rng = np.random.default_rng(2)
    x, dy = (rng.normal(size=(64, 8, 8, 32)) for _ in range(2))
    with jax.enable_x64(True):
        kernel = jnp.zeros((3, 3, 32, 32))
        found = jax.vjp(lambda kernel: ops.conv(jnp.asarray(x), kernel, padding=1), kernel)[1](jnp.asarray(dy))[0]
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, gradient_by_sums(x, dy, 3, 1), rtol=1e-12, atol=1e-12)


def test_it_is_not_used_where_it_is_slower():
    window = Window((32, 32), (3, 3), padding=1)
    for operation in ("output", "input_gradient", "kernel_gradient"):
        assert winograd.pays(operation, window, 8, 64, 96, jnp.bfloat16)
        assert not winograd.pays(operation, window, 8, 64, 96, jnp.float64)
        assert not winograd.pays(operation, window, 8, 64, 96, jnp.complex64)
        assert not winograd.pays(operation, window, 8, 3, 96, jnp.float32)
        assert not winograd.pays(operation, Window((8, 8), (3, 3), padding=1), 3, 64, 96, jnp.float32)
        for other in (
            Window((3, 3), (3, 3), padding=1),
            Window((9, 9), (13, 13), padding=2),
            Window((32, 32), (3, 2)),
            Window((32, 32), (1, 1)),
            Window((32, 32), (7, 7)),
            Window((32, 32), (3, 3), stride=2),
            Window((32, 32), (3, 3), groups=2),
        ):
            assert not winograd.pays(operation, other, 64, 64, 96, jnp.float32), other
    assert not winograd.pays("output", window, 8, 64, 64, jnp.float32)
    assert winograd.pays("kernel_gradient", window, 8, 64, 64, jnp.float32)
    small = Window((4, 4), (3, 3), padding=1)
    assert winograd.pays("output", small, 64, 64, 96, jnp.float32)
    assert not winograd.pays("kernel_gradient", small, 64, 64, 96, jnp.float32)
    assert winograd.pays("kernel_gradient", small, 256, 64, 96, jnp.float32)
    over_the_edge, large = Window((14, 14), (3, 3), padding=1), Window((32, 32), (5, 5), padding=2)
    for other in (over_the_edge, large):
        assert winograd.pays("output", other, 64, 64, 96, jnp.float32)
        assert not winograd.pays("kernel_gradient", other, 64, 64, 96, jnp.float32)
    assert not winograd.pays("output", Window((32, 32), (2, 2)), 64, 64, 96, jnp.float32)
