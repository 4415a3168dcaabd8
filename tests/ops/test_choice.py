"""The cache key of `jax.jit`, target platforms, and arrays that are distributed over eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.runtime.errors import InputError

N, CHANNELS, FEATURES = 16, 4, 6


def operands():
    """Every shard has a different level, so a sum over a single shard would be detected."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 8, 8, CHANNELS)) * np.arange(1, N + 1)[:, None, None, None]
    return jnp.asarray(x, jnp.float32), jnp.asarray(rng.normal(size=(3, 3, CHANNELS, FEATURES)), jnp.float32)


def network(x, kernel, stride=1, groups=1):
    """A convolution, whose groups and strides have their own formulations on a CPU, and max pooling."""
    return ops.max_pool(jnp.tanh(ops.conv(x, kernel[:, :, : CHANNELS // groups], stride=stride, groups=groups)), 2, 1)


def loss(x, kernel, **options):
    """A sum over images of the squares of the network's outputs."""
    return jnp.sum(network(x, kernel, **options) ** 2)


def everything(x, kernel, **options):
    """Outputs, and both gradients of the loss."""
    return network(x, kernel, **options), *jax.grad(loss, argnums=(0, 1))(x, kernel, **options)


def on_one_device(**options):
    with ops.choose("lax"):
        return jax.jit(lambda x, kernel: everything(x, kernel, **options))(*operands())


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5 * np.abs(b).max())


OPTIONS = [{}, {"stride": 2, "groups": 2}]


def mesh(axis_type):
    return jax.make_mesh((8,), ("data",), axis_types=(axis_type,))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("check_vma", [True, False])
def test_inside_shard_map_kernel_gradients_are_summed_over_all_shards(check_vma, options):
    def local(x, kernel):
        y, dx, dkernel = everything(x, kernel, **options)
        # With varying types, the gradient of a value that does not vary is already summed.
        return y, dx, dkernel if check_vma else jax.lax.psum(dkernel, "data")

    sharded = jax.shard_map(
        local,
        mesh=mesh(AxisType.Auto),
        in_specs=(P("data"), P()),
        out_specs=(P("data"), P("data"), P()),
        check_vma=check_vma,
    )
    assert_close(jax.jit(sharded)(*operands()), on_one_device(**options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("check_vma", [True, False])
def test_gradients_through_shard_map(check_vma, options):
    def local(x, kernel):
        return jax.lax.psum(loss(x, kernel, **options), "data")

    sharded = jax.shard_map(
        local, mesh=mesh(AxisType.Auto), in_specs=(P("data"), P()), out_specs=P(), check_vma=check_vma
    )
    assert_close(jax.jit(jax.grad(sharded, argnums=(0, 1)))(*operands()), on_one_device(**options)[1:])


def test_vmap_and_second_derivatives_inside_shard_map():
    x, kernel = operands()
    kernels = jnp.stack([kernel, -2 * kernel])

    def products(x, kernels):
        def product(kernel):
            return jax.jvp(jax.grad(loss, argnums=1), (x, kernel), (jnp.zeros_like(x), jnp.cos(kernel)))[1]

        return jax.vmap(product)(kernels)

    sharded = jax.shard_map(products, mesh=mesh(AxisType.Auto), in_specs=(P("data"), P()), out_specs=P())
    with ops.choose("lax"):
        expected = jax.jit(products)(x, kernels)
    assert_close([jax.jit(sharded)(x, kernels)], [expected])


@pytest.mark.parametrize("in_context", [True, False])
@pytest.mark.parametrize("axis_type", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "auto"])
def test_results_on_a_mesh_equal_those_on_one_device(axis_type, in_context):
    x, kernel = operands()
    over = mesh(axis_type)
    x = jax.device_put(x, NamedSharding(over, P("data")))
    kernel = jax.device_put(kernel, NamedSharding(over, P()))
    if in_context:
        with jax.set_mesh(over):
            found = jax.jit(everything)(x, kernel)
    else:
        found = jax.jit(everything)(x, kernel)
    assert len(found[0].sharding.device_set) == 8
    assert_close(found, on_one_device())
    # An explicit mesh uses `lax`; an automatic mesh uses our primitives.
    assert ("conv_output" in str(jax.make_jaxpr(network)(x, kernel))) == (axis_type == AxisType.Auto)


def test_a_convolution_traced_without_a_mesh_refuses_distributed_arrays():
    """Replayed inside `jax.shard_map`, it would lose the axes over which its operands vary."""
    x, kernel = operands()
    traced = jax.make_jaxpr(lambda x, kernel: ops.conv(x, kernel))(x[:2], kernel)
    replayed = jax.shard_map(
        lambda x, kernel: jax.extend.core.jaxpr_as_fun(traced)(x, kernel)[0],
        mesh=mesh(AxisType.Auto),
        in_specs=(P("data"), P()),
        out_specs=P("data"),
    )
    with pytest.raises(InputError, match="traced for arrays without a mesh"):
        jax.jit(replayed)(x, kernel)


def test_jit_traces_again_if_the_choice_or_the_target_has_changed():
    traces = []

    @jax.jit
    def traced(x, kernel):
        traces.append(str(jax.make_jaxpr(network)(x, kernel)))
        return network(x, kernel)

    operands_ = operands()
    for _ in range(2):
        traced(*operands_)
        with ops.choose("auto"):
            traced(*operands_)
        with ops.choose("lax"):
            traced(*operands_)
        with ops.target("tpu"):
            traced.trace(*operands_)
        with ops.target("tpu"), ops.target("cpu"):
            traced.trace(*operands_)
    assert ["conv_output" in jaxpr for jaxpr in traces[:3]] == [True, False, False]
    assert len(traces) == 4 and traces[3] == traces[0]  # One per choice and target.


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_for_another_target_convolution_pooling_and_gradients_are_lax(platform):
    with ops.target(platform):
        traced = jax.jit(everything).trace(*operands())
    with ops.choose("lax"):
        assert str(traced.jaxpr) == str(jax.jit(everything).trace(*operands()).jaxpr)
    assert "conv_general_dilated" in str(traced.jaxpr) and "conv_output" not in str(traced.jaxpr)
    assert "stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_the_default_target_is_the_backend(monkeypatch):
    for backend, primitive in (
        ("cpu", "conv_output"),
        ("gpu", "conv_general_dilated"),
        ("tpu", "conv_general_dilated"),
    ):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert f" {primitive}[" in str(jax.make_jaxpr(lambda x, kernel: ops.conv(x, kernel))(*operands()))


@pytest.mark.parametrize("context, value", [(ops.choose, "xla"), (ops.target, "CPU")])
def test_unknown_names_are_refused(context, value):
    with pytest.raises(InputError, match=value), context(value):
        pass
