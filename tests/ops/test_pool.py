"""Values and gradients of max-pooling by slices against those of Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops


@given(
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    seed=st.integers(0, 99),
)
@settings(max_examples=8, deadline=None)
def test_values_and_gradients_equal_those_of_flax(size, stride, extra, seed):
    shape = (2, size + extra[0], size + extra[1], 3)
    # The values are distinct, because the formulations distribute the gradient of equal values differently.
    x = jnp.asarray(np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape), jnp.float32)

    def everything(pool):
        y, pull = jax.vjp(pool, x)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    def flax(x):
        return nn.max_pool(x, (size, size), (stride, stride))

    found, expected = jax.jit(lambda: (everything(lambda x: ops.max_pool(x, size, stride)), everything(flax)))()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-6)


def test_equal_values_share_the_gradient():
    gradient = jax.grad(lambda x: ops.max_pool(x, 2, 2).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient.ravel(), np.full(4, 0.25))


@pytest.mark.parametrize(
    "platform, primitive", [("cpu", " max "), ("gpu", "reduce_window_max"), ("tpu", "reduce_window_max")]
)
def test_each_platform_has_its_own_formulation_with_the_same_values(monkeypatch, platform, primitive):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x = np.random.default_rng(0).normal(size=(1, 8, 9, 2)).astype(np.float32)
    assert primitive in str(jax.make_jaxpr(lambda x: ops.max_pool(x, 3, 2))(x))
    expected = [[x[:, i : i + 3, j : j + 3].max((1, 2)) for j in range(0, 7, 2)] for i in range(0, 6, 2)]
    np.testing.assert_array_equal(ops.max_pool(jnp.asarray(x), 3, 2), np.moveaxis(expected, 2, 0))
