"""The formulations of convolution against NumPy, and their derivatives and `jax.vmap` against XLA's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from jaxcnn.models import VGG
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_train_step

# One case per formulation: a window that covers its input, few channels (14 columns of the output in blocks of 5), maps
# smaller than the window, strips (of which the last is not full), separate groups, squares to channels, others.
COVERING = {"image": (5, 5), "window": (5, 5), "channels": (3, 4), "stride": 1, "padding": 0, "groups": 1}
BANDED = {"image": (9, 13), "window": (3, 2), "channels": (2, 3), "stride": 1, "padding": 1, "groups": 1}
SMALL = {"image": (2, 2), "window": (3, 3), "channels": (30, 4), "stride": 1, "padding": 1, "groups": 1}
STRIPS = {"image": (7, 300), "window": (3, 2), "channels": (160, 2), "stride": 1, "padding": 1, "groups": 1}
GROUPED = {"image": (8, 7), "window": (3, 3), "channels": (32, 6), "stride": 2, "padding": 1, "groups": 2}
STRIDED = {"image": (23, 26), "window": (5, 6), "channels": (3, 4), "stride": 4, "padding": 2, "groups": 1}
GENERAL = {"image": (8, 30), "window": (3, 3), "channels": (5, 4), "stride": 1, "padding": 0, "groups": 1}
CASES = {
    "covering": COVERING, "banded": BANDED, "small": SMALL, "strips": STRIPS, "grouped": GROUPED, "strided": STRIDED,
    "general": GENERAL,
}  # fmt: skip
# XLA's own input gradient of this case aborts the process.
FATAL = {"image": (9, 4), "window": (5, 2), "channels": (1, 2), "stride": 2, "padding": 1, "groups": 1}


def arrays(image, window, channels, groups, n=2, **_):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, *image, channels[0])).astype(np.float32)
    kernel = rng.normal(size=(*window, channels[0] // groups, channels[1])).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(kernel)


def window(case):
    return {name: case[name] for name in ("stride", "padding", "groups")}


def convolve(case, choice="auto"):
    def conv(x, kernel):
        with ops.choose(choice):
            return ops.conv(x, kernel, **window(case))

    return conv


def by_loops(x, kernel, dy, *, stride, padding, groups):
    """Return the output and both gradients in float64, computed one window position at a time."""
    x, kernel, dy = (np.asarray(a, np.float64) for a in (x, kernel, dy))
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    y, dx, dkernel = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(kernel)
    c, f = x.shape[3] // groups, kernel.shape[3] // groups
    for g in range(groups):
        inputs, features = slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                rows = slice(i, i + (dy.shape[1] - 1) * stride + 1, stride)
                columns = slice(j, j + (dy.shape[2] - 1) * stride + 1, stride)
                seen, out = padded[:, rows, columns, inputs], dy[..., features]
                y[..., features] += seen @ kernel[i, j, :, features]
                dx[:, rows, columns, inputs] += out @ kernel[i, j, :, features].T
                dkernel[i, j, :, features] = np.einsum("nhwc,nhwf->cf", seen, out)
    height, width = x.shape[1:3]
    return y, dx[:, padding : padding + height, padding : padding + width], dkernel


def assert_close(found, expected, tolerance=1e-5):
    """Compare to 1e-5 of the largest value, because sums of some hundred products may cancel."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        largest = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=tolerance, atol=tolerance * largest)


@st.composite
def cases(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    padding = draw(st.integers(0, 2))
    image = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    covers = draw(st.booleans())
    sides = [n + 2 * padding for n in image]
    return {
        "n": draw(st.integers(1, 3)),
        "image": image,
        "window": tuple(n if covers else draw(st.integers(1, n)) for n in sides),
        "channels": (groups * draw(st.sampled_from([1, 3, 20])), groups * draw(st.integers(1, 3))),
        "stride": draw(st.sampled_from([1, 1, 2, 3])),
        "padding": padding,
        "groups": groups,
    }


@given(case=cases(), dtype=st.sampled_from(["float32", "float32", "bfloat16"]))
@example(case=COVERING, dtype="float32")
@example(case=COVERING | {"image": (3, 3), "padding": 1}, dtype="float32")
@example(case=BANDED, dtype="float32")
@example(case=BANDED | {"window": (1, 1), "padding": 0}, dtype="float32")
@example(case=SMALL, dtype="bfloat16")
@example(case=STRIPS, dtype="float32")
@example(case=STRIPS | {"channels": (40, 2), "image": (5, 70), "n": 6}, dtype="bfloat16")
@example(case=GROUPED, dtype="float32")
@example(case=STRIDED, dtype="float32")
@example(case=FATAL, dtype="float32")
@settings(max_examples=10, deadline=None)
def test_values_and_both_gradients_equal_those_of_loops(case, dtype):
    x, kernel = (a.astype(dtype) for a in arrays(**case))
    y = jax.eval_shape(convolve(case), x, kernel)
    dy = jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(dtype)

    @jax.jit
    def everything(x, kernel):
        y, pull = jax.vjp(convolve(case), x, kernel)
        return y, *pull(dy)

    found = everything(x, kernel)
    assert {a.dtype for a in found} == {jnp.dtype(dtype)}
    assert_close(found, by_loops(x, kernel, dy, **window(case)), 1e-5 if dtype == "float32" else 2**-6)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_derivatives_of_every_kind_equal_those_of_xla(case):
    x, kernel = arrays(**case)
    tangents = (jnp.cos(x), jnp.cos(kernel))

    def everything(choice):
        conv = convolve(case, choice)

        def loss(x, kernel):
            return jnp.mean(jnp.tanh(conv(x, kernel)))

        gradient = jax.grad(loss, argnums=(0, 1))
        _, forward = jax.jvp(conv, (x, kernel), tangents)
        _, forward_over_reverse = jax.jvp(gradient, (x, kernel), tangents)
        _, pull = jax.vjp(gradient, x, kernel)
        return forward, forward_over_reverse, pull(tangents)

    assert_close(*jax.jit(lambda: (everything("auto"), everything("lax")))())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_vmap_over_either_operand_and_both(case):
    x, kernel = arrays(**case)
    several_x, kernels = (jnp.stack([a, -2 * a, jnp.sin(a)]) for a in (x, kernel))
    y = jax.eval_shape(convolve(case), x, kernel)
    fixed = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)  # Batches one operand of a gradient.

    def everything(choice):
        conv = convolve(case, choice)

        def gradients(x, kernel):
            y, pull = jax.vjp(conv, x, kernel)
            return y, *pull(0.1 * y), *pull(fixed)

        return (
            jax.vmap(gradients, in_axes=(0, None))(several_x, kernel),
            jax.vmap(gradients, in_axes=(None, 4))(x, jnp.moveaxis(kernels, 0, 4)),
            jax.vmap(gradients)(several_x, kernels),
            jax.vmap(jax.vmap(gradients, in_axes=(None, 0)), in_axes=(0, None))(several_x[:2], kernels[:2]),
        )

    def in_turn(conv):
        """Compute one after the other, because XLA's own convolution might be wrong under vmap as well."""

        def gradients(x, kernel):
            y, pull = jax.vjp(conv, x, kernel)
            return y, *pull(0.1 * y), *pull(fixed)

        def stacked(pairs):
            return jax.tree.map(lambda *a: jnp.stack(a), *(gradients(*pair) for pair in pairs))

        nested = [stacked([(a, b) for b in kernels[:2]]) for a in several_x[:2]]
        return (
            stacked([(a, kernel) for a in several_x]),
            stacked([(x, b) for b in kernels]),
            stacked(list(zip(several_x, kernels, strict=True))),
            jax.tree.map(lambda *a: jnp.stack(a), *nested),
        )

    assert_close(jax.jit(everything, static_argnums=0)("auto"), jax.jit(lambda: in_turn(convolve(case, "lax")))())


def lowered(case, platform, choice="auto", *, of=1, members=False):
    """Return the program for a platform that computes the gradient of the kernel, or of the images with `of=0`."""
    operands = arrays(**case)

    def program(x, kernel, dy):
        return jax.vjp(convolve(case, choice), x, kernel)[1](dy)[of]

    y = jax.eval_shape(convolve(case), *operands)
    operands = (*operands, jnp.ones(y.shape))
    if members:
        program, operands = jax.vmap(program), tuple(jnp.stack([a, a]) for a in operands)
    return jax.jit(program).trace(*operands).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_use_xlas_own_convolution(platform):
    for case in CASES.values():
        assert "stablehlo.dot_general" not in lowered(case, platform)
        assert "stablehlo.convolution" in lowered(case, platform)


def test_a_cpu_uses_products_where_they_are_faster():
    """Otherwise the tests above would compare XLA with itself."""
    for case in (COVERING, SMALL, STRIPS, GROUPED, STRIDED | {"channels": (3, 2)}):
        assert "stablehlo.dot_general" in lowered(case, "cpu")
        assert "stablehlo.dot_general" not in lowered(case, "cpu", "lax")
    for case in (BANDED, GENERAL):
        assert "stablehlo.dot_general" in lowered(case, "cpu", of=0)
        assert "stablehlo.dot_general" not in lowered(case, "cpu", "lax", of=0)
        assert "stablehlo.dot_general" not in lowered(case, "cpu")
        of_members = lowered(case, "cpu", members=True)
        assert "stablehlo.dot_general" in of_members and "stablehlo.while" not in of_members  # No strips.


def test_gradients_in_a_loop_have_the_order_of_axes_for_which_xla_is_fast():
    """XLA reorders the axes of a convolution for a CPU outside loops only."""
    x, kernel = arrays(**GENERAL)

    def gradients(scale):
        return jax.grad(lambda x, kernel: jnp.sum(jnp.square(ops.conv(x, kernel))), (0, 1))(scale * x, kernel)

    def looped(scales):
        return jax.lax.map(gradients, scales)

    scales = jnp.array([1.0, 2.0])
    text = jax.jit(looped).lower(scales).compile().as_text()
    orders = {
        line.split("dim_labels=")[1].split(",")[0].split()[0] for line in text.splitlines() if "dim_labels=" in line
    }
    assert orders == {"b01f_01io->b01f"}
    for many, one in zip(jax.jit(looped)(scales), jax.jit(gradients)(scales[1]), strict=True):
        np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-4)


def test_the_error_for_operands_that_do_not_fit_is_that_of_xla():
    x, kernel = arrays(**GENERAL)
    for wrong in (kernel[:, :, :2], kernel.astype(jnp.bfloat16)):
        said = []
        for choice in ("auto", "lax"):
            with pytest.raises((TypeError, ValueError)) as error:
                convolve(GENERAL, choice)(x, wrong)
            said.append(str(error.value))
        assert said[0] == said[1]


@pytest.mark.slow
def test_a_step_of_vgg16_needs_little_more_memory_than_with_xlas_own_convolution():
    """Patches of large maps would need nine times the memory of the maps."""

    def temporary(choice):
        model, optimizer = VGG("D", ops=choice), optax.sgd(0.1, momentum=0.9)
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), train=False))
        params = variables["params"]
        state = jax.eval_shape(lambda v: create_state(v, optimizer), {"params": params})
        batch = {
            "image": jax.ShapeDtypeStruct((8, 224, 224, 3), jnp.float32),
            "label": jax.ShapeDtypeStruct((8,), jnp.int32),
        }
        step = jax.jit(make_train_step(model, optimizer))
        return step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes

    assert temporary("auto") < 1.5 * temporary("lax")
