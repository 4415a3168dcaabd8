"""The states of several members as one state for `jax.vmap`, and back."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxcnn.training.state import TrainState


def stack(states: Sequence[TrainState]) -> TrainState:
    """Return the states of members at the same step as one state of NumPy arrays, stacked along a new first axis.

    The step belongs to all members and has no such axis; nor has the key, if it is the same for all.
    """
    first, common = states[0], ["step"]
    if all(np.array_equal(state.key, first.key) for state in states):
        common.append("key")
    stacked = jax.tree.map(lambda *x: np.stack(x), *states)
    return stacked.replace(**{name: np.asarray(getattr(first, name)) for name in common})


def member_axes(state: TrainState) -> TrainState:
    """Return the axis of the members in each part of a stacked state, as `jax.vmap` takes it; None: it has none."""
    key = 0 if state.key.ndim > 1 else None
    return TrainState(step=None, key=key, hyper=0, params=0, model_state=0, opt_state=0)


def unstack(state: TrainState, members: int) -> list[TrainState]:
    """Return the states of the members of a stacked state, as copies in NumPy arrays."""
    host, axes = jax.device_get(state), member_axes(state)

    def member(index: int) -> TrainState:
        parts = {}
        for field in dataclasses.fields(TrainState):
            where = (index, ...) if getattr(axes, field.name) == 0 else ...
            parts[field.name] = jax.tree.map(lambda x, where=where: np.array(x[where]), getattr(host, field.name))
        return TrainState(**parts)

    return [member(index) for index in range(members)]
