"""Initialization from the weights of another run, and a warning if that run was trained on validation images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.config import Data
from jaxcnn.data.sources import validation_rows
from jaxcnn.models import ConvNet
from jaxcnn.objectives import network_params
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.selection import Choice, select
from jaxcnn.runs.workdir import Source, load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object


def starting_weights(plan: Plan, source: Source, report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the weights that a run takes from another run, or None if it takes none.

    Args:
        plan: of the run that takes them.
        source: names the other run and its checkpoint.
        report: takes a line that says what was taken, and one about validation images that the other run has seen.

    Raises:
        InputError: as in `transfer`.
    """
    if source.init_from is None:
        return None
    variables, line = transfer(plan, source.init_from, source.init_from_checkpoint)
    report(line)
    if line := validated_before(plan, source):
        report(line)
    return variables


def transfer(plan: Plan, run: str | Path, checkpoint: Choice = "last") -> tuple[dict[str, Any], str]:
    """Return weights from a checkpoint of another run, for the network of a plan.

    If the network names the layers that it initializes from the other network (`ConvNet.takes_from`), only these are
    returned; otherwise all are, and both networks must have equal arrays. Parameters of an objective are left out.

    Returns:
        `params` and `batch_stats` by layer, and a line that says which layers are used and which are not.

    Raises:
        InputError: the run has no such checkpoint, or its network does not fit; the message names an array.
    """
    selection = select(run, checkpoint)
    variables, source = selection.variables, f"init_from={run} ({selection})"
    model = plan.experiment.model
    names = model.takes_from(load_saved(run).model) if isinstance(model, ConvNet) else None
    want = {"batch_stats": {}, **plan.state.variables, "params": network_params(plan.state.params)}
    if names is None:
        _check(want, variables, source)
        return variables, f"{source}: all weights are used."
    both = [name for name in names if name in want["params"] and name in variables["params"]]
    taken = {part: {name: x for name, x in layers.items() if name in both} for part, layers in variables.items()}
    _check({part: {name: layers[name] for name in taken[part]} for part, layers in want.items()}, taken, source)
    drawn = [name for name in want["params"] if name not in both]
    left = [name for name in variables["params"] if name not in both]
    return taken, f"{source}: used: {', '.join(both)}; not used: {', '.join(left)}; from the seed: {', '.join(drawn)}."


def validated_before(plan: Plan, source: Source) -> str | None:
    """Return a warning that another run was trained on images of the plan's validation split, and what to do.

    Args:
        plan: plan of this run.
        source: the other run, from which this run is initialized, and the data of this run.

    Returns:
        One line; None if there are no such images, or if the runs have different data.
    """
    if plan.dataset.validation is None:
        return None
    mine, run = plan.experiment, source.init_from
    try:
        other = load_saved(run)
    except InputError:
        # Its weights fit, although its settings cannot be read.
        return None
    if not _same_images(mine.data, other.data, source):
        return None
    n = len(plan.dataset.train) + len(plan.dataset.validation)
    seeds = [e.seed if e.data.split_seed is None else e.data.split_seed for e in (mine, other)]
    rows = [validation_rows(n, e.data.validation, s) for e, s in zip((mine, other), seeds, strict=True)]
    if not (seen := len(np.setdiff1d(*rows))):
        return None
    advice = f"set data.split_seed to {seeds[1]}, as in that run"
    if not other.data.validation:
        advice = f"train that run with data.validation={mine.data.validation} and data.split_seed={seeds[0]}"
    elif other.data.validation < mine.data.validation:
        advice += f", and data.validation to at most {other.data.validation}"
    return (
        f"warning: {run} was trained on {seen:,} of the {len(rows[0]):,} validation images, so validation errors are "
        f"biased low; {advice}"
    )


def _same_images(mine: Data, other: Data, source: Source) -> bool:
    """Return whether two runs use the same set of training images, according to their settings and records."""
    record = Path(source.init_from) / "provenance.json"
    if mine.source == other.source == "arrays" and record.is_file():
        saved = read_object(record)
        return all(saved.get(name) == getattr(source, name) for name in ("arrays", "data_file"))

    def images(data: Data) -> tuple:
        # A TFDS data set may be named with or without a version.
        name = data.name.partition(":")[0] if data.source == "tfds" else data.name
        return data.source, name, data.train_split, data.source == "fake" and data.fake

    return images(mine) == images(other)


def _check(want: dict[str, Any], have: dict[str, Any], source: str) -> None:
    """Raise InputError unless both have the same arrays."""
    found = dict(jax.tree_util.tree_leaves_with_path(have))
    for path, leaf in jax.tree_util.tree_leaves_with_path(want):
        array = found.pop(path, None)
        if array is None or array.shape != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            fault = "is absent" if array is None else f"has shape {array.shape}"
            raise InputError(f"{source} is from another network: {name} {fault}; this network needs {leaf.shape}.")
    if found:
        name = jax.tree_util.keystr(next(iter(found)), simple=True, separator="/")
        raise InputError(f"{source} is from another network: it has {name}, which this network lacks.")
