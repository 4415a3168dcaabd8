"""The formulations of convolution against XLA's own, values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxcnn import ops

# One of each formulation: a window that covers its input, narrow rows, maps smaller than the window, groups on their
# own, everything else.
COVERING = {"image": (5, 5), "window": (5, 5), "channels": (3, 4), "stride": 1, "padding": 0, "groups": 1}
BANDED = {"image": (9, 8), "window": (3, 2), "channels": (2, 3), "stride": 1, "padding": 1, "groups": 1}
SMALL = {"image": (2, 2), "window": (3, 3), "channels": (30, 4), "stride": 1, "padding": 1, "groups": 1}
GROUPED = {"image": (8, 7), "window": (3, 3), "channels": (4, 6), "stride": 2, "padding": 1, "groups": 2}
GENERAL = {"image": (8, 7), "window": (3, 3), "channels": (2, 4), "stride": 2, "padding": 1, "groups": 1}
CASES = {"covering": COVERING, "banded": BANDED, "small": SMALL, "grouped": GROUPED, "general": GENERAL}


def reference(x, kernel, *, stride=1, padding=0, groups=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip


def arrays(image, window, channels, groups, **_):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *image, channels[0])).astype(np.float32)
    kernel = rng.normal(size=(*window, channels[0] // groups, channels[1])).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(kernel)


def window(case):
    return {name: case[name] for name in ("stride", "padding", "groups")}


def assert_close(found, expected):
    """To 1e-5 of the largest value: sums of some hundred products, which may cancel."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(b).max())))


@st.composite
def cases(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    padding = draw(st.integers(0, 2))
    image = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    covers = draw(st.booleans())
    sides = [n + 2 * padding for n in image]
    return {
        "image": image,
        "window": tuple(n if covers else draw(st.integers(1, n)) for n in sides),
        "channels": tuple(groups * draw(st.integers(1, 3)) for _ in range(2)),
        "stride": draw(st.sampled_from([1, 1, 2])),
        "padding": padding,
        "groups": groups,
    }


@given(case=cases())
@example(case=COVERING)
@example(case=COVERING | {"image": (3, 3), "padding": 1})
@example(case=BANDED)
@example(case=BANDED | {"window": (1, 1), "padding": 0})
@example(case=SMALL)
@example(case=GROUPED)
@example(case=GENERAL)
@example(case=BANDED | {"image": (3, 40), "channels": (4, 2)})
@settings(max_examples=10, deadline=None, derandomize=True)
def test_values_and_both_gradients_are_those_of_xla(case):
    def everything(conv, x, kernel):
        y, pull = jax.vjp(lambda x, kernel: conv(x, kernel, **window(case)), x, kernel)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    found, expected = jax.jit(lambda *a: (everything(ops.conv, *a), everything(reference, *a)))(*arrays(**case))
    assert_close(found, expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernels_can_be_vmapped_and_gradients_differentiated(case):
    x, kernel = arrays(**case)
    kernels = jnp.stack([kernel, -2 * kernel, jnp.sin(kernel)])

    def everything(conv):
        def loss(x, kernel):
            return jnp.sum(jnp.tanh(conv(x, kernel, **window(case))))

        mapped = jax.vmap(lambda k: conv(x, k, **window(case)))(kernels)
        tangents = (jnp.cos(x), jnp.cos(kernel))
        _, product = jax.jvp(jax.grad(loss, argnums=(0, 1)), (x, kernel), tangents)
        return mapped, product

    assert_close(*jax.jit(lambda: (everything(ops.conv), everything(reference)))())


def primitives(function, *arguments):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*arguments).eqns}


def test_the_slow_cases_are_products_on_a_cpu_and_others_are_not():
    """Else the tests above would compare XLA with itself."""
    for case in (COVERING, BANDED, SMALL):
        found = primitives(lambda x, k, case=case: ops.conv(x, k, **window(case)), *arrays(**case))
        assert "dot_general" in found
        assert "conv_general_dilated" not in found
    for case in (GENERAL, BANDED | {"image": (9, 200)}):
        found = primitives(lambda x, k, case=case: ops.conv(x, k, **window(case)), *arrays(**case))
        assert "conv_general_dilated" in found


def test_groups_are_convolutions_of_their_own_on_a_cpu():
    jaxpr = jax.make_jaxpr(lambda x, k: ops.conv(x, k, **window(GROUPED)))(*arrays(**GROUPED))
    found = [e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert [e.params["feature_group_count"] for e in found] == [1, 1]


def test_other_platforms_always_have_xlas_own(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for case in CASES.values():
        found = primitives(lambda x, k, case=case: ops.conv(x, k, **window(case)), *arrays(**case))
        assert "conv_general_dilated" in found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_type_of_the_input_is_kept(case):
    x, kernel = (a.astype(jnp.bfloat16) for a in arrays(**case))
    y = jax.eval_shape(lambda: ops.conv(x, kernel, **window(case)))
    wanted = jax.eval_shape(lambda: reference(x, kernel, **window(case)))
    assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
    assert y.dtype == jnp.bfloat16
