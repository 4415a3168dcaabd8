"""Conversion of a training state to the items of a checkpoint and back, including checkpoints of earlier versions.

The items are `variables` (params, batch_stats and other collections) and `optimizer` (step, key, hyper, opt_state).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.runs.digests import tree_of
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import TrainState

_LATER = ("key", "hyper")
"""Parts of the state that checkpoints from before version 0.2 lack. They also lack the momentum if it was 0."""


def items_of(state: TrainState) -> dict[str, Any]:
    """Return the items of a state, whose leaves may be ShapeDtypeStructs."""
    return {
        "variables": {"batch_stats": {}, **state.variables},
        "optimizer": {name: getattr(state, name) for name in ("step", *_LATER, "opt_state")},
    }


def without_later(optimizer: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the optimizer item without the parts that a checkpoint with these paths lacks."""
    kept = optimizer if "key" in saved else {k: v for k, v in optimizer.items() if k not in _LATER}
    if "momentum" in kept["opt_state"] and not any(path.startswith("opt_state/momentum/") for path in saved):
        # The state of the chain is an ordered dict; its order determines the order of the leaves.
        stages = {name: stage for name, stage in kept["opt_state"].items() if name != "momentum"}
        kept = kept | {"opt_state": type(kept["opt_state"])(stages)}
    return kept


def state_of(variables: dict[str, Any], optimizer: dict[str, Any], like: TrainState) -> TrainState:
    """Return the state of restored items; a part that an old checkpoint lacks is 0 (momentum) or as in `like`."""
    added = {name: getattr(like, name) for name in _LATER if name not in optimizer}
    opt_state = optimizer["opt_state"]
    if "momentum" in like.opt_state and "momentum" not in opt_state:
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype, device=x.sharding), like.opt_state["momentum"])
        stages = {name: zeros if name == "momentum" else opt_state[name] for name in like.opt_state}
        opt_state = type(like.opt_state)(stages)
    model_state = {k: v for k, v in variables.items() if k != "params" and v}
    return TrainState(
        step=optimizer["step"], params=variables["params"], model_state=model_state, opt_state=opt_state,
        **{name: optimizer[name] for name in _LATER if name in optimizer}, **added,
    )  # fmt: skip


def check_same(step_folder: Path, info: dict[str, Any], like: TrainState) -> None:
    """Check that a checkpoint has the same arrays as a state.

    Raises:
        InputError: the checkpoint is from another network or optimizer; the message names the first difference.
    """
    for name, item in items_of(like).items():
        saved = info[name]["tree"]
        now = tree_of(without_later(item, saved) if name == "optimizer" else item)
        for path in sorted(saved.keys() | now.keys()):
            if saved.get(path) != now.get(path):
                what = {"variables": "network", "optimizer": "optimizer"}[name]
                raise InputError(
                    f"{step_folder} is from another {what}: {path} was {_shown(saved.get(path))} and is now "
                    f"{_shown(now.get(path))}. Give a new workdir; "
                    f"init_from={step_folder.parent.parent} initializes it from the weights that fit."
                )


def _shown(entry: list | None) -> str:
    return "absent" if entry is None else f"{entry[1]}{entry[0]}"
