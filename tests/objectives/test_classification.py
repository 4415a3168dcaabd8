"""Losses against SciPy, finite differences, and section II.C of LeNet-5's paper."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import logsumexp

from jaxcnn.objectives import (
    CrossEntropy,
    MaximumAPosteriori,
    MeanSquaredError,
    maximum_a_posteriori,
    mean_squared_error,
)
from jaxcnn.runtime.errors import InputError

LABELS = np.array([3, 0, 2, 1, 3], np.int32)
LOGITS = arrays.arrays(np.float32, (5, 4), elements=st.floats(-400, 0, width=32))


def cross_entropy_written_out(logits, labels):
    return logsumexp(logits, axis=1) - logits[range(len(labels)), labels]


def map_written_out(logits, labels, j=10.0):
    """Equation 9, on the penalties."""
    y = -logits
    columns = np.concatenate([-y, np.full((len(y), 1), -j)], axis=1)
    return y[range(len(labels)), labels] + logsumexp(columns, axis=1)


def mse_written_out(logits, labels):
    return np.array([-row[label] for row, label in zip(logits, labels, strict=True)])


OBJECTIVES = {"cross_entropy": CrossEntropy(), "map": MaximumAPosteriori(), "mse": MeanSquaredError()}
WRITTEN_OUT = {"cross_entropy": cross_entropy_written_out, "map": map_written_out, "mse": mse_written_out}


@functools.cache
def compiled(name):
    """Losses of [5, 4] logits and the gradient of their sum."""

    def total(logits):
        losses = OBJECTIVES[name].losses(logits, LABELS)
        return losses.sum(), losses

    return jax.jit(jax.grad(total, has_aux=True))


def test_the_penalty_of_the_reject_class_is_a_field_of_the_record():
    logits = np.array([[-2.0, -7.0], [-90.0, -0.5]], np.float32)
    labels = np.array([0, 0])
    found = MaximumAPosteriori(j=0.5).losses(logits, labels)
    np.testing.assert_allclose(found, map_written_out(logits.astype(np.float64), labels, 0.5), rtol=1e-5)
    with pytest.raises(InputError, match=r"MaximumAPosteriori.j is 0; it must be a finite number > 0"):
        MaximumAPosteriori(j=0)


def test_sums_exclude_masked_examples():
    logits, labels = jnp.array([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0]]), jnp.array([0, 0, 1])
    batch = {"label": labels, "mask": jnp.array([True, True, False])}
    sums = CrossEntropy().sums(logits, batch)
    assert (int(sums["n"]), int(sums["correct"])) == (2, 1)
    assert float(sums["loss"]) == pytest.approx(np.log1p(np.exp(-1)) + np.log1p(np.exp(3)), rel=1e-6)


def test_examples_with_nan_logits_are_never_correct():
    logits = jnp.array([[jnp.nan, jnp.nan], [0.0, jnp.nan], [jnp.nan, 1.0], [0.0, jnp.inf]])
    sums = CrossEntropy().sums(logits, {"label": jnp.array([0, 1, 1, 1])})
    assert (int(sums["correct"]), int(sums["n"])) == (1, 4)


def test_labels_beyond_the_classes_behave_as_documented():
    logits = jnp.array([[2.0, 1.0, 0.0]])
    last = float(CrossEntropy().losses(logits, jnp.array([2]))[0])
    assert float(CrossEntropy().losses(logits, jnp.array([-1]))[0]) == last
    assert np.isnan(CrossEntropy().losses(logits, jnp.array([3]))[0])
    assert int(CrossEntropy().sums(logits[:, ::-1], {"label": jnp.array([-1])})["correct"]) == 0
    rejected = np.log1p(np.exp(logits + 10).sum())
    for label in (-1, 3):
        assert float(MaximumAPosteriori().losses(logits, jnp.array([label]))[0]) == pytest.approx(rejected, rel=1e-5)


@pytest.mark.parametrize("name", list(WRITTEN_OUT))
@given(logits=LOGITS)
@settings(max_examples=20, deadline=None)
def test_losses_equal_their_formulas_in_float64(name, logits):
    expected = WRITTEN_OUT[name](logits.astype(np.float64), LABELS)
    _, found = compiled(name)(logits)
    assert found.shape == (5,)
    # Float32 values of up to 400 are subtracted.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_penalty_of_the_reject_class_may_be_traced():
    logits = np.array([[-2.0, -7.0], [-90.0, -0.5]], np.float32)
    labels = np.array([0, 0])
    losses = jax.jit(lambda j: maximum_a_posteriori(logits, labels, j=j))
    for j in (0.1, 1.0, 30.0):
        expected = map_written_out(logits.astype(np.float64), labels, j)
        np.testing.assert_allclose(losses(j), expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(WRITTEN_OUT))
def test_gradients_equal_finite_differences(name):
    logits = np.random.default_rng(0).normal(scale=2, size=(5, 4))
    found, _ = compiled(name)(logits.astype(np.float32))
    expected, step = np.empty_like(logits), 1e-5
    for index in np.ndindex(logits.shape):
        moved = [logits.copy(), logits.copy()]
        moved[0][index] -= step
        moved[1][index] += step
        low, high = (WRITTEN_OUT[name](x, LABELS).sum() for x in moved)
        expected[index] = (high - low) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_reject_class_keeps_a_gradient_on_the_label_if_all_other_penalties_are_large():
    """By equation 9, the derivative with respect to y_D is e^-j / (e^-j + e^-y_D) if all others are infinite."""
    logits = np.full((5, 4), -400, np.float32)
    logits[range(5), LABELS] = -5
    gradients = {name: -np.asarray(compiled(name)(logits)[0])[range(5), LABELS] for name in ("map", "cross_entropy")}
    np.testing.assert_allclose(gradients["map"], np.exp(-10) / (np.exp(-10) + np.exp(-5)), rtol=1e-4)
    np.testing.assert_array_equal(gradients["cross_entropy"], 0)


def test_mse_is_the_squared_distance_to_the_labels_code():
    rng = np.random.default_rng(0)
    features, codes = rng.normal(size=(5, 6)), rng.choice([-1.0, 1.0], size=(4, 6))
    logits = -np.array([[np.linalg.norm(f - c) ** 2 for c in codes] for f in features], np.float32)
    expected = [sum((features[n, i] - codes[LABELS[n], i]) ** 2 for i in range(6)) for n in range(5)]
    np.testing.assert_allclose(mean_squared_error(logits, LABELS), expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(WRITTEN_OUT))
def test_logits_in_half_precision_give_float32_losses(name):
    logits = jnp.asarray(np.random.default_rng(0).normal(scale=5, size=(5, 4)), jnp.bfloat16)
    _, found = compiled(name)(logits)
    assert found.dtype == jnp.float32
    expected = WRITTEN_OUT[name](np.asarray(logits, np.float64), LABELS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
