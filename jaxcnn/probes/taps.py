"""Taps on the layers of a network: statistics of what passes, and of its gradient, from one backward pass.

A tap is the identity on an array, with a second argument of zeros whose gradient is defined to be the statistics. So
`jax.grad` returns the statistics, and the network needs no change. They are computed where the array and its gradient
are, so that nothing of their size is kept. Where JAX adds gradients, it adds the statistics: over the calls of a shared
layer, over the steps of a scan, over the devices of a mesh.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers import FUNCTIONS, ActivationName
from jaxcnn.layers.record import Function
from jaxcnn.objectives import OWN
from jaxcnn.runtime.errors import InputError

Measure = Callable[[Any], Any]
"""Function from an array, or a tree of arrays, to a tree of float32 sums."""

ROOT = "."
"""Name of the network itself among its modules."""

_NAMES = {function: name for name, function in FUNCTIONS.items()}


@dataclass(frozen=True)
class Tap:
    """What is measured at a layer.

    Attributes:
        forward: measured on the array.
        backward: measured on the gradient with respect to the array.
        place: the array: the layer's output or its first argument.
    """

    forward: Measure
    backward: Measure = lambda gradient: ()
    place: Literal["input", "output"] = "output"


@dataclass(frozen=True)
class CalledModule:
    """A module that a forward pass calls, as its first call shows it.

    Attributes:
        activation: the name of the activation that it is, if it is one of `jaxcnn.layers`.
        parameters: names of its own parameters, without those of the modules in it.
        stateless: whether it has no variables at all.
        input, output: shape and dtype of its input and of its output; None if that is not one floating array. A
            recurrent cell is called with a state and an input, and returns a state and an output.
    """

    activation: ActivationName | None
    parameters: tuple[str, ...]
    stateless: bool
    input: jax.ShapeDtypeStruct | None
    output: jax.ShapeDtypeStruct | None


def called_modules(loss: Callable[[Any], Any], params: Any) -> dict[str, CalledModule]:
    """Return the modules that a loss calls, by name, in the order of their first calls.

    A name is the path of a module, as its parameters have it: `res1/conv1`. Only calls of `__call__` count.

    Raises:
        InputError: the loss is jitted, or parameters are used by no module, as if by `nn.jit`.
    """
    if hasattr(loss, "lower"):
        raise InputError("the loss is jitted, so that its layers cannot be seen; pass the function itself.")
    found: dict[str, Any] = {}
    seen: set[str] = set()

    def note(name: str, module: nn.Module, x: Any, call: Callable[[Any], Any]) -> Any:
        first = name not in found
        found.setdefault(name)  # Its place in the order, before those of the modules that it calls.
        y = call(x)
        if first:
            variables = module.variables
            found[name] = CalledModule(
                activation=_NAMES.get(module.function) if isinstance(module, Function) else None,
                parameters=tuple(k for k, v in variables.get("params", {}).items() if not isinstance(v, Mapping)),
                stateless=not variables,
                input=_struct(x),
                output=_struct(y[1] if isinstance(module, nn.RNNCellBase) else y),
            )
        return y

    def run(params: Any) -> None:
        with listening(note, seen):
            loss(params)

    jax.eval_shape(run, params)
    layers = {layer for layer, _ in owners(params) if layer.split("/")[0] != OWN}
    if unseen := sorted(layers - seen) if layers & seen else []:
        raise InputError(
            f"the parameters of {', '.join(unseen[:3])} are used by no layer. Leave out flax.linen.jit, which runs "
            "equal layers without calling them, or remove the parameters."
        )
    return found


def owners(params: Any) -> list[tuple[str, str]]:
    """Return the layer and the name of each parameter."""
    paths = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params))
    return [(layer or ROOT, name) for layer, _, name in (path.rpartition("/") for path in paths)]


def tapped(
    loss: Callable[[Any], Any], taps: Mapping[str, Tap], modules: Mapping[str, CalledModule]
) -> tuple[Callable[[Any, Any], Any], OrderedDict[str, Any]]:
    """Return a loss with taps, and their zeros.

    Args:
        loss: function of the parameters that applies linen modules.
        taps: taps by name of a module.
        modules: result of `called_modules` for the loss.

    Returns:
        `with_taps(params, zeros)`, which equals `loss(params)`, and `zeros`, in the order of the taps. The gradient
        with respect to `zeros` has for each tap a pair: the sums of `forward` and those of `backward`.
    """

    def zeros_of(name: str, tap: Tap) -> Any:
        sums = jax.eval_shape(lambda x: (tap.forward(x), tap.backward(x)), getattr(modules[name], tap.place))
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)

    def with_taps(params: Any, zeros: Any) -> Any:
        missing = set(taps)

        def listen(name: str, module: nn.Module, x: Any, call: Callable[[Any], Any]) -> Any:
            if name not in taps:
                return call(x)
            missing.discard(name)
            identity = functools.partial(tapped_value, taps[name], zeros[name])
            if taps[name].place == "input":
                return call(identity(x))
            y = call(x)
            return (y[0], identity(y[1])) if isinstance(module, nn.RNNCellBase) else identity(y)

        with listening(listen, set()):
            result = loss(params)
        if missing:
            raise InputError(f"{min(missing)} was called once and then no more; leave out flax.linen.jit.")
        return result

    return with_taps, OrderedDict((name, zeros_of(name, tap)) for name, tap in taps.items())


def tapped_value(tap: Tap, zeros: Any, x: Any) -> Any:
    """Return x, an array or a tree of arrays, such that the gradient with respect to `zeros` is the pair of sums."""

    @jax.custom_vjp
    def identity(x: Any, zeros: Any) -> Any:
        return x

    # Inside jax.shard_map a device has its part of the batch, and the sums are over all devices.
    axes = tuple(_device_axes(x) - _device_axes(zeros))
    identity.defvjp(
        lambda x, zeros: (x, tap.forward(x)),
        lambda forward, gradient: (gradient, _over_devices(axes, (forward, tap.backward(gradient)))),
    )
    return identity(x, zeros)


def _over_devices(axes: tuple[str, ...], sums: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.psum(x, axes), sums) if axes else sums


def _device_axes(tree: Any) -> frozenset[str]:
    """Return the axes of the mesh along which arrays differ between devices; empty outside `jax.shard_map`."""
    types = (getattr(jax.typeof(x), "manual_axis_type", None) for x in jax.tree.leaves(tree))
    return frozenset().union(*(getattr(kind, "varying", ()) for kind in types))


def _struct(x: Any) -> jax.ShapeDtypeStruct | None:
    floating = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if floating else None


def listening(listen: Callable[..., Any], seen: set[str]) -> AbstractContextManager[None]:
    """Return a context in which `listen(name, module, x, call)` replaces every call `call(x)` of a module, and `seen`
    receives the names of modules of which any method is called."""
    inside: list[str] = []

    def intercept(call: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
        name = "/".join(context.module.path) or ROOT
        seen.add(name)
        # A subclass may call the method of its base class.
        if context.method_name != "__call__" or inside[-1:] == [name]:
            return call(*args, **kwargs)
        states = int(isinstance(context.module, nn.RNNCellBase))
        before, rest = args[:states], args[states:]

        def proceed(x: Any) -> Any:
            inside.append(name)
            try:
                return call(*before, *((x, *rest[1:]) if rest else ()), **kwargs)
            finally:
                inside.pop()

        return listen(name, context.module, rest[0] if rest else None, proceed)

    return nn.intercept_methods(intercept)
