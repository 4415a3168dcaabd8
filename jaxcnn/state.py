"""What changes from step to step, and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Arrays only; the model and the optimizer are closed over by the step functions.

    Attributes:
        step: updates done, int32 scalar.
        params: trainable parameters by layer name.
        batch_stats: running statistics of batch normalization; empty for networks without.
        opt_state: state of the optax chain.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    Args:
        variables: from `model.init` or a checkpoint: `params` and, where the network has them, `batch_stats`.
        optimizer: its `init` gives the optimizer state.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )
