"""Checkpoints of a run: saving them in the background, selecting which are kept, and restoring them.

A step folder holds the items of a state (`items`) and `info`, which contains their digests (`digests`).
"""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    """Writes the checkpoints of one run in the background, and keeps the latest two and the best one.

    Use it as a context manager: on exit it waits for the last write, and raises SaveError if that failed.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder for writing; it is created if needed."""
        ocp, self.folder, self._keep = orbax(), folder, _LatestAndBest()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep,
            cleanup_tmp_directories=True,
            # If a folder cannot be created in the background, orbax keeps the process from ending for five minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        with self._failures(None):
            self._manager = ocp.CheckpointManager(folder, options=options)

    def save(self, state: TrainState, *, loop_state: dict[str, Any], accuracies: Mapping[int, float]) -> None:
        """Start to write a state, and return as soon as its arrays may be donated.

        Args:
            state: state to save, under its own step.
            loop_state: JSON values that the loop needs on resume.
            accuracies: accuracy of every evaluation so far, by step; it decides which checkpoint is the best.

        Raises:
            SaveError: this write or the previous one failed.
        """
        ocp, step = orbax(), int(state.step)
        items = items_of(state)
        arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        arguments["info"] = ocp.args.JsonSave(info_of(items, loop_state))
        self._keep.accuracies = accuracies
        self.wait()
        with self._failures(step):
            if not self._manager.save(step, args=ocp.args.Composite(**arguments), force=True):
                raise SaveError(f"orbax declined to save step {step}")

    def check(self) -> None:
        """Raise SaveError if a background write has failed."""
        with self._failures(None):
            if not self._manager.is_saving_in_progress():
                self._manager.wait_until_finished()

    def wait(self) -> None:
        """Wait for the last write; raise SaveError if it has failed."""
        with self._failures(None):
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
            self.wait()
        finally:
            self._manager.close()


def best(accuracies: Mapping[int, float], saved: Iterable[int]) -> int | None:
    """Return the step of the checkpoint with the highest accuracy; among equal accuracies, the newest.

    Args:
        accuracies: accuracy of each evaluation, by step; NaN counts as no accuracy.
        saved: steps that have a checkpoint.

    Returns:
        The step; None if no checkpoint has been evaluated.
    """
    known = (step for step in saved if not math.isnan(accuracies.get(step, math.nan)))
    return max(known, key=lambda step: (accuracies[step], step), default=None)


class _LatestAndBest:
    """A preservation policy for orbax that keeps the latest two checkpoints and the best one.

    Orbax's own best-of-n policy reads accuracies from a file in the step folder, which may be damaged too, and ignores
    a checkpoint that was saved before it was evaluated.
    """

    accuracies: Mapping[int, float] = MappingProxyType({})

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Return for each checkpoint, in ascending order of steps, whether it is kept."""
        saved = [checkpoint.step for checkpoint in checkpoints]
        kept = {*saved[-2:], best(self.accuracies, saved)}
        return [step in kept for step in saved]


def steps(folder: Path) -> list[int]:
    """Return the steps that have a finished checkpoint folder, damaged or not, in ascending order."""
    if not os.path.isdir(folder):
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps."""
    for later in steps(folder):
        if later > step:
            shutil.rmtree(folder / str(later))


def restore_state(
    folder: Path, like: TrainState, report: Callable[[str], None], among: Collection[int] | None = None
) -> tuple[TrainState, dict[str, Any]] | None:
    """Restore the newest good state and the values that the loop saved with it (`loop_state`); None if there is none.

    A step folder that is empty, truncated or damaged is reported, and the previous one is tried. After the search,
    damaged folders are moved to `<folder>_damaged`.

    Args:
        folder: the folder `checkpoints` of the run.
        like: the state as ShapeDtypeStructs with the requested shardings; those of the saved arrays do not matter.
        report: called with one line for every damaged step folder.
        among: the steps that may be restored; None: all.

    Raises:
        InputError: a good checkpoint belongs to another network or optimizer; the message names the first difference.
        RestoreError: a checkpoint could not be read, and nothing shows that it is damaged; nothing has been moved.
    """
    found, damaged = read_state(folder, like, report, among)
    aside = folder.with_name(folder.name + "_damaged")
    for step in damaged:
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / str(step), ignore_errors=True)
        (folder / str(step)).rename(aside / str(step))
    return found


def read_state(
    folder: Path, like: TrainState, report: Callable[[str], None], among: Collection[int] | None = None
) -> tuple[tuple[TrainState, dict[str, Any]] | None, list[int]]:
    """Return what `restore_state` returns, and the steps of the damaged folders that were tried; change no file.

    Args, raises: as for `restore_state`.
    """
    damaged: list[int] = []
    found, saved = None, [step for step in steps(folder) if among is None or step in among]
    for step in reversed(saved):
        found = _read_state(folder / str(step), like)
        if found is not None:
            break
        damaged.append(step)
        before = [s for s in saved if s < step]
        report(f"checkpoint {step} is damaged, using {before[-1] if before else 'the initial weights'}")
    return found, damaged


def _read_state(step_folder: Path, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """Return the state and the values that the loop saved with it; None if the checkpoint is damaged."""
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
"""A function from the steps of all checkpoints, ascending, to the steps to try in order; the first good one is used."""


def restore_variables(
    folder: Path, order: Order = reversed, report: Callable[[int], None] = lambda _: None
) -> tuple[int, dict[str, Any]]:
    """Return the step and the variables (`params`, `batch_stats`, NumPy arrays) of a good checkpoint; change no file.

    Args:
        folder: the folder `checkpoints` of the run. If a run that is training saves or removes a checkpoint meanwhile,
            the search starts again.
        order: which checkpoints to try; the default is the newest first.
        report: called with the step of every damaged checkpoint that was tried before the good one.

    Raises:
        InputError: none of them is good, or `order` raises it.
        RestoreError: a checkpoint could not be read, and nothing shows that it is damaged.
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
            f"checkpoint {folder}/{tried[0]} is damaged; give one of the other steps: {', '.join(map(str, others))}."
        )
    raise InputError(f"{folder} has no checkpoint that can be read; give a folder in which a run has saved one.")


def _read_variables(step_folder: Path) -> dict[str, Any] | None:
    """Return the variables as NumPy arrays; None if the checkpoint is damaged."""
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
    """Return the digest of the variables that `restore_variables` would read, as recorded in their checkpoint; None if
    no checkpoint can be read."""
    with contextlib.suppress(InputError, RestoreError, OSError):
        for step in order(steps(folder)):
            info = read_info(folder / str(step))
            if info is not None:
                return info["variables"]["digest"]
    return None
