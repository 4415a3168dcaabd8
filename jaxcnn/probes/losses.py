"""The loss of a network on a batch as a function of its parameters, which every probe reads."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.objectives import Batch, CrossEntropy, Objective
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
    """
    arguments = inspect.signature(model.__call__).parameters.values()
    takes_train = any(each.name == "train" or each.kind == each.VAR_KEYWORD for each in arguments)
    apply = training_apply(model, **({"train": True} if takes_train else {}))
    model_state = {name: collection for name, collection in variables.items() if name != "params"}
    key = jax.random.key(0, impl=IMPLEMENTATION) if key is None else key
    return lambda params: objective(apply, params, model_state, batch, key)[0]


def check_scalar(loss: Loss, params: Any) -> None:
    """Raise InputError unless the loss is a floating scalar."""
    value = jax.eval_shape(loss, params)
    if not hasattr(value, "shape"):
        raise InputError(f"the loss gives {type(value).__name__}; it must give one scalar.")
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"the loss has shape {value.shape} and type {value.dtype}; it must be one floating scalar.")
