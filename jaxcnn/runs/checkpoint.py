"""Checkpoints of a run: the one wrapper around orbax.

A step folder holds three items: `variables` (params, batch_stats and other collections), `optimizer` (step, key, hyper,
opt_state) and `info` (names,
shapes, dtypes and digests of the other two, what the training loop carries, and a digest of all that). Orbax restores
a damaged array without a word, so the digests decide whether a checkpoint is good.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import TrainState


class SaveError(RuntimeError):
    """A checkpoint or another file of a run could not be written; the message names the folder and the cause."""


class RestoreError(RuntimeError):
    """A checkpoint could not be read, and nothing shows that it is damaged; the message names it and the cause."""


class Checkpoints:
    """Writes the checkpoints of one run in the background; the latest two and the best one are kept.

    Use as a context manager: leaving it waits for the last write and raises what went wrong in it.
    """

    def __init__(self, folder: Path) -> None:
        """Open `folder` (made if needed) for writing."""
        ocp, self.folder, self._keep = _orbax(), folder, _LatestAndBest()
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
        ocp, step = _orbax(), int(state.step)
        items = _items(state)
        info = {name: {"tree": _tree(item), "digest": _digest(item)} for name, item in items.items()} | {"carry": carry}
        arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        arguments["info"] = ocp.args.JsonSave({**info, "digest": _info_digest(info)})
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


def _orbax() -> ModuleType:
    """Orbax, imported when a checkpoint is first written or read."""
    import orbax.checkpoint

    return orbax.checkpoint


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
    info = _read_info(step_folder)
    if info is None:
        return None
    _compare(step_folder, info, like)
    wanted = _items(like)
    wanted["optimizer"] = _without_later(wanted["optimizer"], info["optimizer"]["tree"])
    items = {}
    for name, item in wanted.items():
        items[name] = _read_item(step_folder, name, info, item)
        if items[name] is None:
            return None
    return _state(items["variables"], items["optimizer"], like), info["carry"]


Order = Callable[[Sequence[int]], Iterable[int]]
"""From the steps of the checkpoints in a folder, ascending, to the steps to read: the first that is good is taken."""


def restore_variables(folder: Path, order: Order = reversed) -> tuple[int, dict[str, Any]]:
    """Step and variables (`params`, `batch_stats`, NumPy arrays) of a good checkpoint; changes nothing.

    Args:
        folder: the run's `checkpoints`; where a run that trains saves or removes one meanwhile, all is begun again.
        order: which checkpoints to try; by default the newest first.

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
            return step, variables
        if steps(folder) != saved:
            return restore_variables(folder, order)
    if others := [step for step in saved if step not in tried]:
        raise InputError(
            f"checkpoint {folder}/{tried[0]} is damaged; there are also those of steps {', '.join(map(str, others))}."
        )
    raise InputError(f"{folder} has no checkpoint that can be read; give a folder in which a run has saved one.")


def _read_variables(step_folder: Path) -> dict[str, Any] | None:
    """The variables as NumPy arrays, or None where the checkpoint is damaged."""
    info = _read_info(step_folder)
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
    variables = _read_item(step_folder, "variables", info, like)
    return None if variables is None else jax.tree.map(np.asarray, variables)


def variables_digest(folder: Path, order: Order = reversed) -> str | None:
    """Digest of the variables that `restore_variables` would read, as recorded in their checkpoint; None where none can
    be read."""
    with contextlib.suppress(InputError, RestoreError, OSError):
        for step in order(steps(folder)):
            info = _read_info(folder / str(step))
            if info is not None:
                return info["variables"]["digest"]
    return None


_LATER = ("key", "hyper")
"""Parts of the state that checkpoints made before version 0.2 lack, and with them a momentum of 0."""


def _items(state: TrainState) -> dict[str, Any]:
    return {
        "variables": {"batch_stats": {}, **state.variables},
        "optimizer": {name: getattr(state, name) for name in ("step", *_LATER, "opt_state")},
    }


def _without_later(optimizer: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer item without those parts that a checkpoint of these paths does not have."""
    kept = optimizer if "key" in saved else {k: v for k, v in optimizer.items() if k not in _LATER}
    if "momentum" in kept["opt_state"] and not any(path.startswith("opt_state/momentum/") for path in saved):
        # The chain's state is an ordered dict, whose order is that of its leaves.
        stages = {name: stage for name, stage in kept["opt_state"].items() if name != "momentum"}
        kept = kept | {"opt_state": type(kept["opt_state"])(stages)}
    return kept


def _state(variables: dict[str, Any], optimizer: dict[str, Any], like: TrainState) -> TrainState:
    """The state of restored items; what an old checkpoint lacks is 0 (a momentum) or as in `like`."""
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


def _tree(item: Any) -> dict[str, list]:
    leaves = jax.tree_util.tree_leaves_with_path(item)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): [list(x.shape), str(x.dtype)] for path, x in leaves}


def _digest(item: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(jax.device_get(item)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _info_digest(info: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(info, sort_keys=True).encode(), digest_size=16).hexdigest()


def _compare(step_folder: Path, info: dict[str, Any], like: TrainState) -> None:
    for name, item in _items(like).items():
        saved = info[name]["tree"]
        now = _tree(_without_later(item, saved) if name == "optimizer" else item)
        for path in sorted(saved.keys() | now.keys()):
            if saved.get(path) != now.get(path):
                what = {"variables": "network", "optimizer": "optimizer"}[name]
                raise InputError(
                    f"{step_folder} was saved by another {what}: {path} was {_shown(saved.get(path))}, is now "
                    f"{_shown(now.get(path))}. Start in a new workdir; "
                    f"init_from={step_folder.parent.parent} takes over weights that fit."
                )


def _shown(entry: list | None) -> str:
    return "absent" if entry is None else f"{entry[1]}{entry[0]}"


def _read_info(step_folder: Path) -> dict[str, Any] | None:
    """The info item, or None if it is damaged."""
    ocp = _orbax()
    with _damage(step_folder):
        info = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(step_folder / "info")
        return info if info.pop("digest") == _info_digest(info) else None
    return None


def _read_item(step_folder: Path, name: str, info: dict[str, Any], like: Any) -> Any:
    """The item, or None if it is damaged."""
    ocp = _orbax()
    with _damage(step_folder):
        checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        item = checkpointer.restore(step_folder / name, args=ocp.args.StandardRestore(like))
        return item if _digest(item) == info[name]["digest"] else None
    return None


_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
# Malformed files raise all kinds of errors. Those of the machine are few: no memory, the operating system's, and what
# orbax's storage library reports of both, with a status and the cause in the message of a ValueError.
_MACHINE = re.compile(
    "^(PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|UNAUTHENTICATED): |"
    "input/output error|permission denied|too many open files|cannot allocate|out of memory|stale file",
    re.IGNORECASE,
)


@contextlib.contextmanager
def _damage(step_folder: Path) -> Iterator[None]:
    """Suppress what shows that the files of a checkpoint are malformed, or that one is missing in a folder that can be
    listed. Everything else (no memory, no permission, an error of the disk or the network) says nothing of them.

    Raises:
        RestoreError: something else; naming the folder and the cause.
    """
    try:
        yield
    except Exception as raised:
        error: Exception = raised
        try:
            list(step_folder.iterdir())
        except OSError as unlisted:
            error = unlisted
        of_machine = isinstance(error, MemoryError | OSError) or _MACHINE.search(str(error))
        if not of_machine or (isinstance(error, _MISSING) and step_folder.is_dir()):
            return
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RestoreError(
            f"checkpoint {step_folder} could not be read: {cause}. Nothing was changed; the same command tries again."
        ) from error
