"""Sums over arrays and what they say, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.probes import EDGES
from jaxcnn.probes.distribution import MAX_SAMPLE, describe, measure, norms, sample
from tests.probes.probed_networks import run


@functools.cache
def compiled(scale):
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(lambda arrays: describe(measure(arrays, scale)), compiler_options=options)


def described(*arrays, scale=1.0):
    return jax.device_get(compiled(scale)(arrays))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("shape", [(7, 5), (300, 17, 17, 3)])
def test_moments_and_band_equal_those_of_numpy(shape, size):
    x = (size * random(*shape)).astype(np.float32)
    found, exact = described(x), x.astype(np.float64)
    assert found["mean"][0] == pytest.approx(exact.mean(), rel=1e-4, abs=1e-6 * size)
    # Below 1e-12 the standard deviation is that of the sample.
    assert found["std"][0] == pytest.approx(exact.std(), rel=1e-5 if size > 1e-12 or x.size < MAX_SAMPLE else 5e-3)
    low, high = np.quantile(exact, [0.02, 0.98], method="inverted_cdf")
    assert found["low"][0] == pytest.approx(low, rel=0.05) and found["high"][0] == pytest.approx(high, rel=0.05)


def test_the_deviation_is_accurate_where_the_mean_is_far_larger():
    x = (1 + 1e-5 * random(400, 50)).astype(np.float32)
    large = (1 + 1e-5 * random(400, 500)).astype(np.float32)
    assert described(x)["std"][0] == pytest.approx(x.astype(np.float64).std(), rel=1e-3)
    assert described(large)["std"][0] == pytest.approx(large.astype(np.float64).std(), rel=5e-3)


def test_values_of_zero_have_no_deviation_and_constant_values_hardly_any():
    zeros, constant = described(np.zeros((3, 4), np.float32), np.full((3, 4), 0.3, np.float32))["std"]
    assert zeros == 0 and constant < 1e-7


@pytest.mark.parametrize("n", [2, 40])
def test_sums_of_arrays_describe_all_their_values(n):
    arrays = [3 * i + random(5, n, seed=i) for i in range(4)]

    def pooled(arrays):
        return describe(jax.tree.map(lambda x: jnp.sum(x, axis=0, keepdims=True), measure(arrays)))

    found = run(pooled, arrays)
    together = np.concatenate([x.ravel() for x in arrays])
    assert found["mean"][0] == pytest.approx(together.mean(), rel=1e-5)
    assert found["std"][0] == pytest.approx(together.std(), rel=1e-4)
    np.testing.assert_array_equal(found["histogram"][0], np.histogram(together, EDGES)[0])


@given(st.lists(st.floats(-(2.0**80), 2.0**80, width=32), min_size=20, max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_histogram_is_that_of_numpy(values):
    x = np.array(values, np.float32)
    found = described(x)["histogram"][0]
    # The outermost bins have all larger values.
    sizes = np.minimum(np.abs(x), 0.999 * EDGES[-1])
    positive, negative = (np.histogram(sizes[side], EDGES[129:])[0] for side in (x > 0, x < 0))
    np.testing.assert_array_equal(found[129:], positive)
    np.testing.assert_array_equal(found[:128][::-1], negative)
    assert found[128] == np.sum(np.abs(x) < 2.0**-100)


def test_a_scale_multiplies_the_values():
    x = random(6, 4)
    one, other = described(4 * x), described(x, scale=4.0)
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(3, 2), (256, 28, 28, 6), (32, 32, 32, 64), (100_000, 3), (70_000,), (2, 3, 50_000), (1, 100_003)]
)
def test_a_sample_has_many_values_of_all_images_and_units(shape):
    images, units = shape[0], shape[-1]
    x = np.broadcast_to(np.arange(images).reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)
    kept = np.asarray(sample(x))
    assert min(x.size, MAX_SAMPLE // 3) <= kept.size <= MAX_SAMPLE
    assert len(np.unique(kept)) >= min(images, 200)
    if len(shape) > 1:
        x = np.broadcast_to(np.arange(units), shape).astype(np.float32)
        values, counts = np.unique(np.asarray(sample(x)), return_counts=True)
        assert len(values) >= min(units, 200)
        assert counts.max() < 1.2 * counts.min() or counts.max() - counts.min() <= images


def test_a_sample_of_a_large_array_gives_the_band_of_all_values():
    x = random(128, 3000) * np.linspace(0.1, 3, 3000, dtype=np.float32)
    found = described(x)
    low, high = np.quantile(x, [0.02, 0.98])
    assert found["low"][0] == pytest.approx(low, rel=0.03) and found["high"][0] == pytest.approx(high, rel=0.03)


def test_norms_of_small_values_do_not_vanish():
    arrays = [np.array([3e-25, 4e-25], np.float32), np.array([3e12, -4e12], np.float32), np.zeros((2, 2), np.float32)]
    np.testing.assert_allclose(norms([jnp.asarray(x) for x in arrays]), [5e-25, 5e12, 0], rtol=1e-5)
