"""The gradient of a recurrent network with respect to its state, by time lag."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.probes.distribution import SMALL, root_of_squares
from jaxcnn.probes.losses import Loss, check_scalar
from jaxcnn.probes.taps import ROOT, Tap, called_modules, tapped_value
from jaxcnn.runtime.errors import InputError


def through_time(loss: Loss, params: Any) -> dict[str, Any]:
    """Return the norm of the gradient of the loss with respect to the state of each recurrent layer, by step.

    All steps are read in one backward pass. A recurrent layer is a `flax.linen.RNN` with any of flax's cells, anywhere
    in the network; a cell in a scan of one's own is not read.

    Args:
        loss: scalar function of the parameters, for example from `network_loss`.
        params: parameters.

    Returns:
        `layers`: by layer [steps], in the order in which the layer processes its input, the Euclidean norm, over images
        and units and over all parts of the state, of the gradient with respect to the state that enters the step. The
        last entry has a lag of one step. `gradient_evaluations`: the cost.

    Raises:
        InputError: the loss is not a scalar, or the network has no recurrent layer, or has one that is called with
            `seq_lengths` and returns its last state.
    """
    check_scalar(loss, params)
    steps: dict[str, int] = {}

    def note(name: str, length: int) -> None:
        steps[name] = max(length, steps.get(name, 0))

    with _reading(note, lambda name, step, state: state):
        called_modules(loss, params)
    if not steps:
        raise InputError("the network has no flax.linen.RNN, so that it has no time lags.")

    def with_taps(params: Any, zeros: dict[str, jax.Array]) -> jax.Array:
        def read(name: str, step: jax.Array, state: Any) -> Any:
            return tapped_value(_TAP, ((), zeros[name][step]), state)

        with _reading(lambda name, length: None, read):
            return loss(params)

    squares = jax.grad(with_taps, argnums=1)(params, {name: jnp.zeros((n, 2)) for name, n in steps.items()})
    return {
        "layers": OrderedDict((name, root_of_squares(*jnp.moveaxis(squares[name], 1, 0))) for name in steps),
        "gradient_evaluations": jnp.float32(1),
    }


class _Counted(NamedTuple):
    """A state, and the number of steps before it."""

    step: jax.Array
    state: Any


def _reading(
    note: Callable[[str, int], None], tap: Callable[[str, jax.Array, Any], Any]
) -> contextlib.AbstractContextManager[None]:
    """Return a context in which `note(name, steps)` is called for every recurrent layer, and `tap(name, step, state)`
    replaces the state that enters a step."""
    running: list[str] = []

    def intercept(call: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if context.method_name == "__call__" and isinstance(module, nn.RNN):
            return layer(module, call, *args, **kwargs)
        if context.method_name == "__call__" and isinstance(module, nn.RNNCellBase) and isinstance(args[0], _Counted):
            (step, state), *inputs = args
            state, output = call(tap(running[-1], step, state), *inputs, **kwargs)
            return _Counted(step + 1, state), output
        return call(*args, **kwargs)

    def layer(module: nn.RNN, call: Callable[..., Any], inputs: jax.Array, **options: Any) -> Any:
        given = {name: value for name, value in options.items() if value is not None}
        axis = 0 if given.get("time_major", module.time_major) else inputs.ndim - module.cell.num_feature_axes - 1
        name, carried = "/".join(module.path) or ROOT, given.get("return_carry", module.return_carry)
        if carried and "seq_lengths" in given:
            raise InputError(f"{name} is called with seq_lengths and return_carry, so that its states cannot be read.")
        note(name, inputs.shape[axis])
        state = given.pop("initial_carry", None)
        if state is None:
            # As flax does.
            shape = (*inputs.shape[:axis], *inputs.shape[axis + 1 :])
            state = module.cell.initialize_carry(given.get("init_key", jax.random.key(0)), shape)
        running.append(name)
        try:
            result = call(inputs, initial_carry=_Counted(jnp.int32(0), state), **given)
        finally:
            running.pop()
        return (result[0].state, result[1]) if carried else result

    return nn.intercept_methods(intercept)


def _squares(gradient: Any) -> jax.Array:
    leaves = [x.astype(jnp.float32) for x in jax.tree.leaves(gradient)]
    return jnp.stack([sum(jnp.sum(jnp.square(c * x)) for x in leaves) for c in (1, SMALL)])


_TAP = Tap(forward=lambda state: (), backward=_squares)
