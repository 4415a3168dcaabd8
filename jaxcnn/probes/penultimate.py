"""Penultimate features: the input of the last layer of a network, from the same pass as its logits."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.objectives import Apply
from jaxcnn.probes.taps import ROOT, CalledModule, called_modules, listening
from jaxcnn.runtime.errors import InputError

_COLLECTION = "~features"


def last_layer(modules: Mapping[str, CalledModule]) -> str:
    """Return the name of the last layer of a network, whose input is the penultimate features.

    It is the last module that has parameters or changes the number of values, so that an activation or a reshaping at
    the end does not count.

    Args:
        modules: result of `called_modules`.

    Raises:
        InputError: there is no such layer.
    """
    changing = [
        name
        for name, each in modules.items()
        if name != ROOT
        and each.input is not None
        and each.output is not None
        and (each.parameters or each.input.size != each.output.size)
    ]
    if not changing:
        raise InputError("the network has no layer whose input could serve as features.")
    return changing[-1]


def with_features(
    apply: Apply, params: Any, model_state: Any, images: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, Any]:
    """Apply a network as an objective does, and return its penultimate features too.

    The network needs no change, and nothing is computed twice. The features are differentiable, and leave the network
    in a collection of variables of their own, so that this also works if its layers are inside `nn.remat`.

    Args:
        apply: the network, as objectives receive it.
        params, model_state, images, key: its arguments.

    Returns:
        Logits [n, classes], features float32 [n, d], flattened, and the new `model_state`.

    Raises:
        InputError: the network has no layer whose input could serve as features, or its last layer is inside a
            transformation that keeps its values, such as `nn.scan`.
    """
    last = last_layer(called_modules(lambda params: apply(params, model_state, images, key), params))

    def listen(name: str, module: nn.Module, x: Any, call: Callable[[Any], Any]) -> Any:
        if name == last:
            module.sow(_COLLECTION, "features", x, init_fn=lambda: None, reduce_fn=lambda _, x: x)
        return call(x)

    with listening(listen, set()):
        logits, model_state = apply(params, {**model_state, _COLLECTION: {}}, images, key)
    found = jax.tree.leaves(model_state.pop(_COLLECTION))
    if len(found) != 1:
        raise InputError(
            f"the features before {last} cannot be read, because it is inside a transformation such as nn.scan; move "
            "it outside."
        )
    return logits, found[0].reshape(len(images), -1).astype(jnp.float32), model_state
