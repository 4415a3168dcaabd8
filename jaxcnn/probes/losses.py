"""The loss of a network on a batch as a function of its parameters, which every probe reads."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.objectives import OWN, Batch, CrossEntropy, Objective
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import IMPLEMENTATION
from jaxcnn.training.steps import training_apply

Loss = Callable[[Any], jax.Array]
"""A scalar loss of the parameters."""


def network_loss(
    model: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    *,
    objective: Objective = CrossEntropy(),
    key: jax.Array | None = None,
) -> Loss:
    """Return the loss of a batch in training mode, as a function of the parameters.

    Args:
        model: any linen module. It is called with `train=True` if its `__call__` has this argument.
        variables: its variables; collections other than `params` stay as they are.
        batch: `image`, preprocessed, and the streams that the objective needs, usually `label`.
        objective: an objective, or a function with the arguments and results of its `__call__`.
        key: random key of dropout; None: `jax.random.key(0)`. All calls of the loss use the same.

    Raises:
        InputError: the variables have other collections but not `params`, or the batch has no `image`. The loss raises
            it if the batch lacks another stream, or the objective gives no tuple.
    """
    if variables and "params" not in variables:
        raise InputError(
            f"variables has {', '.join(map(str, variables))}, but not 'params'; pass the result of model.init."
        )
    if "image" not in batch:
        raise InputError(f"the batch has {', '.join(map(repr, batch)) or 'nothing'}, but no 'image'.")
    arguments = inspect.signature(model.__call__).parameters.values()
    takes_train = any(each.name == "train" or each.kind == each.VAR_KEYWORD for each in arguments)
    apply = training_apply(model, **({"train": True} if takes_train else {}))
    model_state = {name: collection for name, collection in variables.items() if name != "params"}
    key = jax.random.key(0, impl=IMPLEMENTATION) if key is None else key

    def loss(params: Any) -> jax.Array:
        try:
            result = objective(apply, params, model_state, batch, key)
        except KeyError as missing:
            name = missing.args[0]
            if name in batch or name == OWN:
                raise
            known = ", ".join(map(repr, batch))
            raise InputError(f"the batch has {known}, but no {name!r}, which the objective needs.") from None
        if not isinstance(result, tuple):
            raise InputError(
                f"the objective gives {type(result).__name__}; it must give a tuple of which the first is the loss."
            )
        return result[0]

    return loss


def check_scalar(loss: Loss, params: Any) -> None:
    """Raise InputError unless the loss is a floating scalar."""
    value = jax.eval_shape(loss, params)
    if not hasattr(value, "shape"):
        raise InputError(f"the loss gives {type(value).__name__}; it must give one scalar.")
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"the loss has shape {value.shape} and type {value.dtype}; it must be one floating scalar.")


def check_updates(updates: Any, params: Any) -> None:
    """Raise InputError unless updates have the names and shapes of the parameters."""
    found, expected = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(x) for path, x in leaves}
        for leaves in map(jax.tree.leaves_with_path, (updates, params))
    )
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            raise InputError(
                f"updates has {_shape(found.get(name))} at {name!r}, where params has {_shape(expected.get(name))}; "
                "pass what the optimizer adds to these parameters."
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else f"shape {shape}"
