"""Weights taken over from another run."""

from pathlib import Path
from typing import Any

import jax

from jaxcnn.models import ConvNet
from jaxcnn.runs import checkpoint
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError


def transfer(plan: Plan, run: str | Path) -> tuple[dict[str, Any], str]:
    """The weights of another run's newest checkpoint, for the network of a plan.

    Where the network says which layers it takes from the other (`ConvNet.takes_from`), those alone; else all of them,
    and the networks must have equal arrays.

    Returns:
        `params` and `batch_stats` by layer, and a line that says what was taken and what was left.

    Raises:
        InputError: the run has no checkpoint, or one of another network, naming an array that does not fit.
    """
    step, variables = checkpoint.restore_variables(Path(run).absolute() / "checkpoints")
    source = f"init_from={run} (step {step})"
    model = plan.experiment.model
    names = model.takes_from(load_saved(run).model) if isinstance(model, ConvNet) else None
    want = {"batch_stats": {}, **plan.state.variables}
    if names is None:
        _check(want, variables, source)
        return variables, f"{source}: all weights taken."
    both = [name for name in names if name in want["params"] and name in variables["params"]]
    taken = {part: {name: x for name, x in layers.items() if name in both} for part, layers in variables.items()}
    _check({part: {name: layers[name] for name in taken[part]} for part, layers in want.items()}, taken, source)
    drawn = [name for name in want["params"] if name not in both]
    left = [name for name in variables["params"] if name not in both]
    return taken, f"{source}: took {', '.join(both)}; left {', '.join(left)}; from the seed: {', '.join(drawn)}."


def _check(want: dict[str, Any], have: dict[str, Any], source: str) -> None:
    """InputError unless both have the same arrays."""
    found = dict(jax.tree_util.tree_leaves_with_path(have))
    for path, leaf in jax.tree_util.tree_leaves_with_path(want):
        array = found.pop(path, None)
        if array is None or array.shape != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            shown = "absent" if array is None else f"of shape {array.shape}"
            raise InputError(f"{source} is of another network: {name} is {shown}; this needs {leaf.shape}.")
    if found:
        name = jax.tree_util.keystr(next(iter(found)), simple=True, separator="/")
        raise InputError(f"{source} is of another network: it has {name}, this one does not.")
