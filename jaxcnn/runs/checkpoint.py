"""Checkpoints of a run: written in the background, kept or removed, restored.

A step folder holds the items of a state (`items`) and `info`, which has their digests (`digests`).
"""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jaxcnn.runs.digests import RestoreError, info_of, orbax, read_info, read_item
from jaxcnn.runs.items import check_same, items_of, state_of, without_later
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import TrainState


class SaveError(RuntimeError):
    """A checkpoint or another file of a run could not be written; the message names the folder and the cause."""


class Checkpoints:
    """Writes the checkpoints of one run in the background; the latest two and the best one are kept.

    Use as a context manager: leaving it waits for the last write and raises what went wrong in it.
    """

    def __init__(self, folder: Path) -> None:
        """Open `folder` (made if needed) for writing."""
        ocp, self.folder, self._keep = orbax(), folder, _LatestAndBest()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep,
            cleanup_tmp_directories=True,
            # Where folders cannot be made in the background, orbax keeps the process from ending for five minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        with self._failures(None):
            self._manager = ocp.CheckpointManager(folder, options=options)

    def save(self, state: TrainState, *, carry: dict[str, Any], accuracies: Mapping[int, float]) -> None:
        """Start writing `state`; returns when its arrays may be donated.

        Args:
            state: what to save, under its own step.
            carry: JSON values that the loop needs back on resume.
            accuracies: of all evaluations so far, by step; they decide which checkpoint is best.

        Raises:
            SaveError: this write or the one before it failed.
        """
        ocp, step = orbax(), int(state.step)
        items = items_of(state)
        arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        arguments["info"] = ocp.args.JsonSave(info_of(items, carry))
        self._keep.accuracies = accuracies
        with self._failures(None):
            self._manager.wait_until_finished()
        with self._failures(step):
            if not self._manager.save(step, args=ocp.args.Composite(**arguments), force=True):
                raise SaveError(f"orbax declined to save step {step}")

    def check(self) -> None:
        """Raise SaveError if a write in the background has failed."""
        with self._failures(None):
            if not self._manager.is_saving_in_progress():
                self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _failures(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SaveError(f"{what} could not be saved in {self.folder}: {cause}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            with self._failures(None):
                self._manager.wait_until_finished()
        finally:
            self._manager.close()


def best(accuracies: Mapping[int, float], saved: Iterable[int]) -> int | None:
    """The step of the best checkpoint: the one with the highest accuracy; among equal accuracies, the newest.

    Args:
        accuracies: of evaluations, by step; NaN is no accuracy.
        saved: steps with a checkpoint.

    Returns:
        None where no checkpoint has been evaluated.
    """
    known = (step for step in saved if not math.isnan(accuracies.get(step, math.nan)))
    return max(known, key=lambda step: (accuracies[step], step), default=None)


class _LatestAndBest:
    """Orbax's preservation policy: the latest two and the best one.

    Orbax's own best-of-n knows accuracies by a file in the step folder, one more that may be damaged, and passes over a
    checkpoint that was saved before it was evaluated.
    """

    accuracies: Mapping[int, float] = MappingProxyType({})

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Which of the checkpoints, ascending by step, stay."""
        saved = [checkpoint.step for checkpoint in checkpoints]
        kept = {*saved[-2:], best(self.accuracies, saved)}
        return [step in kept for step in saved]


def steps(folder: Path) -> list[int]:
    """Steps with a finished checkpoint folder, good or not, ascending."""
    if not os.path.isdir(folder):
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def restore_state(
    folder: Path, like: TrainState, report: Callable[[str], None]
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest good state and what the loop carried, or None where there is none.

    A step folder that is empty, truncated or damaged is reported and the one before is tried. When the search is over,
    damaged ones are moved to `<folder>_damaged`.

    Args:
        folder: the run's `checkpoints`.
        like: a state of ShapeDtypeStructs with the shardings wanted now; those of the saved arrays do not matter.
        report: takes one line for every step folder that is passed over.

    Raises:
        InputError: a good checkpoint of another network or optimizer, naming the first difference.
        RestoreError: a checkpoint could not be read for a reason that is not its own; nothing has been moved.
    """
    damaged: list[int] = []
    found, saved = None, steps(folder)
    for step in reversed(saved):
        found = _read_state(folder / str(step), like)
        if found is not None:
            break
        damaged.append(step)
        before = [s for s in saved if s < step]
        report(f"checkpoint {step} is damaged, using {before[-1] if before else 'the initial weights'}")
    aside = folder.with_name(folder.name + "_damaged")
    for step in damaged:
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / str(step), ignore_errors=True)
        (folder / str(step)).rename(aside / str(step))
    return found


def _read_state(step_folder: Path, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The state and what the loop carried, or None where the checkpoint is damaged."""
    info = read_info(step_folder)
    if info is None:
        return None
    check_same(step_folder, info, like)
    wanted = items_of(like)
    wanted["optimizer"] = without_later(wanted["optimizer"], info["optimizer"]["tree"])
    items = {}
    for name, item in wanted.items():
        items[name] = read_item(step_folder, name, info, item)
        if items[name] is None:
            return None
    return state_of(items["variables"], items["optimizer"], like), info["carry"]


Order = Callable[[Sequence[int]], Iterable[int]]
"""From the steps of the checkpoints in a folder, ascending, to the steps to read: the first that is good is taken."""


def restore_variables(
    folder: Path, order: Order = reversed, report: Callable[[int], None] = lambda _: None
) -> tuple[int, dict[str, Any]]:
    """Step and variables (`params`, `batch_stats`, NumPy arrays) of a good checkpoint; changes nothing.

    Args:
        folder: the run's `checkpoints`; where a run that trains saves or removes one meanwhile, all is begun again.
        order: which checkpoints to try; by default the newest first.
        report: takes the step of every damaged checkpoint that was tried before the good one.

    Raises:
        InputError: there is no good checkpoint among them, or what `order` raises.
        RestoreError: one could not be read, and nothing shows that it is damaged.
    """
    saved = steps(folder)
    tried = [*order(saved)]
    for step in tried:
        try:
            variables = _read_variables(folder / str(step))
        except RestoreError:
            if steps(folder) == saved:
                raise
            variables = None
        if variables is not None:
            for damaged in tried[: tried.index(step)]:
                report(damaged)
            return step, variables
        if steps(folder) != saved:
            return restore_variables(folder, order, report)
    if others := [step for step in saved if step not in tried]:
        raise InputError(
            f"checkpoint {folder}/{tried[0]} is damaged; there are also those of steps {', '.join(map(str, others))}."
        )
    raise InputError(f"{folder} has no checkpoint that can be read; give a folder in which a run has saved one.")


def _read_variables(step_folder: Path) -> dict[str, Any] | None:
    """The variables as NumPy arrays, or None where the checkpoint is damaged."""
    info = read_info(step_folder)
    if info is None:
        return None
    like: dict[str, Any] = {"params": {}, "batch_stats": {}}
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for path, (shape, dtype) in info["variables"]["tree"].items():
        *parents, leaf = path.split("/")
        node = like
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = jax.ShapeDtypeStruct(shape, dtype, sharding=here)
    variables = read_item(step_folder, "variables", info, like)
    return None if variables is None else jax.tree.map(np.asarray, variables)


def variables_digest(folder: Path, order: Order = reversed) -> str | None:
    """Digest of the variables that `restore_variables` would read, as recorded in their checkpoint; None where none can
    be read."""
    with contextlib.suppress(InputError, RestoreError, OSError):
        for step in order(steps(folder)):
            info = read_info(folder / str(step))
            if info is not None:
                return info["variables"]["digest"]
    return None
