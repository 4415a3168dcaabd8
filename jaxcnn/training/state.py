"""The training state: everything that changes from step to step or may differ between two points of a sweep."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

IMPLEMENTATION = "threefry2x32"
"""The random number generator, pinned so that no setting of JAX changes a run."""


@struct.dataclass
class TrainState:
    """The training state, which has only arrays; the step functions close over the model, the objective and the
    structure of the optimizer.

    Attributes:
        step: number of updates done, int32 scalar.
        key: uint32 [2], the data of a threefry2x32 key; augmentation and dropout are determined by it and `step`.
        hyper: hyperparameters by name (`learning_rate`, `weight_decay`, `momentum`, ...), float32 scalars.
        params: trainable parameters by layer name; parameters of the objective, if any, under `objectives.OWN`.
        model_state: all other collections of the network by name, such as `batch_stats`; empty for many networks.
        opt_state: state of the optax chain.
    """

    step: jax.Array
    key: jax.Array
    hyper: dict[str, jax.Array]
    params: Any
    model_state: dict[str, Any]
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for an evaluation step and, unless the objective has parameters, for `model.apply`."""
        return {"params": self.params, **self.model_state}


def create_state(
    variables: Mapping[str, Any],
    optimizer: optax.GradientTransformation,
    *,
    seed: int | jax.Array = 0,
    hyper: Mapping[str, float | jax.Array] | None = None,
) -> TrainState:
    """Create the state before the first step. It holds copies, so that a step that donates its state keeps `variables`.

    Args:
        variables: from `model.init` or a checkpoint: `params` and any other collections of the network. Parameters of
            an objective, from its `init`, belong under `params[OWN]`.
        optimizer: its `init` creates the optimizer state.
        seed: seed of augmentation and dropout, an integer, traced or not.
        hyper: from `optim.hyperparameters`, for an optimizer from `make_optimizer`; None: the values that the optimizer
            was created with.
    """
    params, model_state = (jax.tree.map(jnp.array, x) for x in (variables["params"], _rest(variables)))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(jax.random.key(seed, impl=IMPLEMENTATION)),
        hyper={name: jnp.array(value, jnp.float32) for name, value in (hyper or {}).items()},
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
    )


def _rest(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: collection for name, collection in variables.items() if name != "params" and collection}
