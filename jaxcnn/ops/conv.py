"""Convolution and its two gradients as JAX primitives, each in the formulation that is fastest on its platform.

Output, input gradient and kernel gradient are bilinear, and every derivative of one is another of the three. Therefore
derivatives of any order and mode, and `jax.vmap`, stay within these primitives, and each becomes ordinary operations
only when a program is compiled for a platform.

The primitives are traced only for a CPU, and only on arrays whose types do not state how they are distributed;
everything else is `lax`, see `choice.use_lax`.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops import winograd
from jaxcnn.ops.choice import distributed, use_lax
from jaxcnn.ops.formulations import Operation, Window, fastest, xla
from jaxcnn.runtime.errors import InputError


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, groups: int = 1) -> jax.Array:
    """Convolve images [n, height, width, channels] with a kernel [rows, columns, channels / groups, features].

    GPU and TPU run `lax.conv_general_dilated`, traced as such; so does a CPU inside `jax.shard_map` and on a mesh with
    explicit axes, see `choice.use_lax`. XLA's CPU backend is slow for kernel gradients, few channels, maps smaller than
    the window, groups, and kernels under `jax.vmap`; these cases are written in other operations, see
    `formulations.fastest`, and layers with many channels use minimal filtering, see `winograd`. The cases that are left
    to XLA are faster after `set_xla_flags`. Results agree to 1e-5 of the largest value, kernel gradients of `winograd`
    to 5e-5. Sums in kernel gradients, and all of `winograd`, are at least in float32.

    Args:
        x: images or feature maps.
        kernel: one window per feature, with the dtype of x.
        stride: step of the window along both axes.
        padding: zeros on each side.
        groups: number of independent groups of channels and features.

    Returns:
        [n, out_height, out_width, features], with the dtype of x.

    Raises:
        TypeError, ValueError: as in `lax.conv_general_dilated`, if shapes or dtypes do not fit together.
    """
    window = Window(x.shape[1:3], kernel.shape[:2], stride, padding, groups)
    if use_lax(x, kernel):
        return xla(x, kernel, window)
    return _conv(x, kernel, window)


def _conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return _output.bind(x, kernel, spec=Spec(window, x.shape[0], x.shape[3]))


@dataclass(frozen=True)
class Spec:
    """The static parameters of a primitive, which its operands alone do not determine.

    Attributes:
        window: geometry of the window.
        n: number of images.
        channels: number of input channels.
        members: length of the leading axis that a `jax.vmap` over both operands adds; None: there is no such axis.
    """

    window: Window
    n: int
    channels: int
    members: int | None = None


Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def _evaluate(
    operation: Operation, convolution: Convolution, spec: Spec, first: jax.Array, second: jax.Array
) -> jax.Array:
    """Compute one of the three operations with a convolution that JAX can transpose."""
    if operation == "output":
        return convolution(first, second)
    if operation == "input_gradient":
        x = jnp.zeros((spec.n, *spec.window.image, spec.channels), first.dtype)
        return jax.vjp(lambda x: convolution(x, second), x)[1](first)[0]
    window = (*spec.window.size, spec.channels // spec.window.groups, second.shape[3])
    kernel = jnp.zeros(window, first.dtype)
    return jax.vjp(lambda kernel: convolution(first, kernel), kernel)[1](second)[0]


def _lowering(operation: Operation, *, cpu: bool) -> Callable[..., jax.Array]:
    """Return the function to which the primitive of an operation is lowered on a platform."""

    def lowered(first: jax.Array, second: jax.Array, *, spec: Spec) -> jax.Array:
        features, members = second.shape[-1], spec.members is not None
        # Compute outputs of members sequentially: three VGG A, batch 16, 172 -> 79 ms; gradients would be slower.
        sequential = cpu and members and operation == "output" and min(spec.channels, features) >= 16
        alone = sequential or not members
        if cpu and alone and winograd.pays(operation, spec.window, spec.n, spec.channels, features, first.dtype):
            one = functools.partial(getattr(winograd, operation), window=spec.window)
        else:
            choice = functools.partial(fastest, operation=operation, again=_conv, members=not alone) if cpu else xla
            one = functools.partial(_evaluate, operation, functools.partial(choice, window=spec.window), spec)
        if sequential:
            return lax.map(lambda operands: one(*operands), (first, second))
        return jax.vmap(one)(first, second) if members else one(first, second)

    return jax.jit(lowered, static_argnames="spec")  # Identical layers are traced and lowered once.


_OPERANDS: dict[Operation, str] = {"output": "xky", "input_gradient": "ykx", "kernel_gradient": "xyk"}
"""First operand, second operand and result: x [n, height, width, channels], kernel k, output y."""


def _batched(primitive: Primitive, operation: Operation, operands: Any, axes: Any, *, spec: Spec) -> Any:
    """Batch a primitive under `jax.vmap`: one batched operand becomes a longer axis, two become members."""
    size = next(a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
    a, b = (x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True))
    if spec.members is None and None in axes:
        batched, result = _OPERANDS[operation][axes.index(None) ^ 1], _OPERANDS[operation][2]
        # The axis that the operand shares with the result: images, channels or features.
        name = {"xy": "n", "ky": "features", "kx": "channels"}["".join(sorted(batched + result))]
        if batched == _OPERANDS[operation][0]:
            a = _merged(a, *_axis(batched, name, spec))
        else:
            b = _merged(b, *_axis(batched, name, spec))
        longer = {"n": {"n": spec.n * size}, "channels": {"channels": spec.channels * size}, "features": {}}[name]
        out = primitive.bind(a, b, spec=dataclasses.replace(spec, **longer))
        return _split(out, *_axis(result, name, spec), size), 0
    a, b = (jnp.broadcast_to(x, (size, *x.shape)) if axis is None else x for x, axis in zip((a, b), axes, strict=True))
    if spec.members is not None:
        a, b = (x.reshape(size * spec.members, *x.shape[2:]) for x in (a, b))
    out = primitive.bind(a, b, spec=dataclasses.replace(spec, members=size * (spec.members or 1)))
    return (out if spec.members is None else out.reshape(size, spec.members, *out.shape[1:])), 0


def _axis(array: str, name: str, spec: Spec) -> tuple[int, int]:
    """Return the index of a named axis of an array, and the number of groups along it."""
    if name == "n":
        return 0, 1
    return (2, 1) if array == "k" and name == "channels" else (3, spec.window.groups)


def _merged(array: jax.Array, axis: int, groups: int) -> jax.Array:
    """Merge the first axis into `axis` (counted without the first), within every group."""
    size = array.shape[0]
    array = jnp.moveaxis(array, 0, axis)
    before, length, after = array.shape[:axis], array.shape[axis + 1], array.shape[axis + 2 :]
    array = array.reshape(*before, size, groups, length // groups, *after).swapaxes(axis, axis + 1)
    return array.reshape(*before, size * length, *after)


def _split(array: jax.Array, axis: int, groups: int, size: int) -> jax.Array:
    """Invert `_merged`."""
    before, length, after = array.shape[:axis], array.shape[axis] // size, array.shape[axis + 1 :]
    array = array.reshape(*before, groups, size, length // groups, *after).swapaxes(axis, axis + 1)
    return jnp.moveaxis(array.reshape(*before, size, length, *after), axis, 0)


def _primitive(operation: Operation) -> Primitive:
    primitive = Primitive(f"conv_{operation}")
    plain = _lowering(operation, cpu=False)

    @functools.cache
    def compiled(spec: Spec) -> Any:
        return jax.jit(functools.partial(primitive.bind, spec=spec))

    def abstract(a: Any, b: Any, *, spec: Spec) -> Any:
        if distributed(a.sharding.mesh, b.sharding.mesh):
            raise InputError(
                "a convolution traced for arrays without a mesh was called with distributed arrays; differentiate and "
                'trace it inside `jax.shard_map` or on the mesh, or trace it within `jaxcnn.ops.choose("lax")`.'
            )
        out = jax.eval_shape(functools.partial(plain, spec=spec), a, b)
        return jax.core.ShapedArray(out.shape, out.dtype)

    primitive.def_impl(lambda a, b, *, spec: compiled(spec)(a, b))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    mlir.register_lowering(
        primitive, mlir.lower_fun(_lowering(operation, cpu=True), multiple_results=False), platform="cpu"
    )
    batching.primitive_batchers[primitive] = functools.partial(_batched, primitive, operation)
    return primitive


_output = _primitive("output")
_input_gradient = _primitive("input_gradient")
_kernel_gradient = _primitive("kernel_gradient")

# y = x * k, x' = y' * k, k' = x * y': each has a transpose with respect to its first and to its second operand.
ad.defbilinear(
    _output,
    lambda ct, x, kernel, spec: _input_gradient.bind(ct, kernel, spec=spec),
    lambda ct, x, kernel, spec: _kernel_gradient.bind(x, ct, spec=spec),
)
ad.defbilinear(
    _input_gradient,
    lambda ct, y, kernel, spec: _output.bind(ct, kernel, spec=spec),
    lambda ct, y, kernel, spec: _kernel_gradient.bind(ct, y, spec=spec),
)
ad.defbilinear(
    _kernel_gradient,
    lambda ct, x, y, spec: _input_gradient.bind(y, ct, spec=spec),
    lambda ct, x, y, spec: _output.bind(x, ct, spec=spec),
)
