"""Digests of the items of a checkpoint, which reveal damage. Only this module reads orbax's files.

`info` in a step folder contains the names, shapes, dtypes and a digest of every other item, the `loop_state`, and a
digest of all of these. Orbax restores a damaged array without an error, so the digests decide whether a checkpoint is
good.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np


class RestoreError(RuntimeError):
    """A checkpoint could not be read, and nothing shows that it is damaged; the message gives folder and cause."""


def info_of(items: Mapping[str, Any], loop_state: dict[str, Any]) -> dict[str, Any]:
    """Return the `info` of a checkpoint with these items, as JSON values.

    Args:
        items: trees of arrays, by name.
        loop_state: JSON values that the loop needs on resume.
    """
    info = {name: {"tree": tree_of(item), "digest": _digest(item)} for name, item in items.items()} | {
        "carry": loop_state
    }
    return {**info, "digest": _info_digest(info)}


def tree_of(item: Any) -> dict[str, list]:
    """Return the shape and dtype of every leaf by its path, as in "params/conv1/kernel": [[3, 3, 1, 4], "float32"]."""
    leaves = jax.tree_util.tree_leaves_with_path(item)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): [list(x.shape), str(x.dtype)] for path, x in leaves}


def _digest(item: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(jax.device_get(item)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _info_digest(info: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(info, sort_keys=True).encode(), digest_size=16).hexdigest()


def orbax() -> ModuleType:
    """Return orbax, which is imported only when a checkpoint is written or read."""
    import orbax.checkpoint

    return orbax.checkpoint


def read_info(step_folder: Path) -> dict[str, Any] | None:
    """Return the `info` of a checkpoint, without its own digest; None if it is damaged.

    Raises:
        RestoreError: `info` could not be read, and nothing shows that it is damaged.
    """
    ocp = orbax()
    with _damage(step_folder):
        info = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(step_folder / "info")
        return info if info.pop("digest") == _info_digest(info) else None
    return None


def read_item(step_folder: Path, name: str, info: dict[str, Any], like: Any) -> Any:
    """Return an item of a checkpoint; None if it is damaged.

    Args:
        step_folder: folder of the checkpoint.
        name: name of the item.
        info: result of `read_info`.
        like: the item as ShapeDtypeStructs with the requested shardings.

    Raises:
        RestoreError: the item could not be read, and nothing shows that it is damaged.
    """
    ocp = orbax()
    with _damage(step_folder):
        checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        item = checkpointer.restore(step_folder / name, args=ocp.args.StandardRestore(like))
        return item if _digest(item) == info[name]["digest"] else None
    return None


_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
# Malformed files raise many kinds of errors. Errors of the machine are few: a lack of memory, errors of the operating
# system, and both as reported by orbax's storage library, with a status and the cause in the message of a ValueError.
_MACHINE = re.compile(
    "^(PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|UNAUTHENTICATED): |"
    "input/output error|permission denied|too many open files|cannot allocate|out of memory|stale file",
    re.IGNORECASE,
)


@contextlib.contextmanager
def _damage(step_folder: Path) -> Iterator[None]:
    """Suppress errors which show that files of a checkpoint are malformed, or missing from a folder that can be listed.

    Other errors (lack of memory, a missing permission, an error of the disk or the network) do not show damage.

    Raises:
        RestoreError: another error occurred; the message names the folder and the cause.
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
            f"checkpoint {step_folder} could not be read: {cause}. Nothing was changed; run the command again."
        ) from error
