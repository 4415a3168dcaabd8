"""What a checkpoint says of its items, so that damage shows: the one place that reads files of orbax.

`info` in a step folder has names, shapes, dtypes and a digest of every other item, what the training loop carries, and
a digest of all that. Orbax restores a damaged array without a word, so the digests decide whether a checkpoint is good.
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
    """A checkpoint could not be read, and nothing shows that it is damaged; the message names it and the cause."""


def info_of(items: Mapping[str, Any], carry: dict[str, Any]) -> dict[str, Any]:
    """The `info` of a checkpoint with these items, in JSON's types.

    Args:
        items: trees of arrays.
        carry: JSON values that the loop needs back on resume.
    """
    info = {name: {"tree": tree_of(item), "digest": _digest(item)} for name, item in items.items()} | {"carry": carry}
    return {**info, "digest": _info_digest(info)}


def tree_of(item: Any) -> dict[str, list]:
    """Shape and dtype of every leaf by its path, "params/conv1/kernel": [[3, 3, 1, 4], "float32"]."""
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
    """Orbax, imported when a checkpoint is first written or read."""
    import orbax.checkpoint

    return orbax.checkpoint


def read_info(step_folder: Path) -> dict[str, Any] | None:
    """The `info` of a checkpoint, without its own digest; None if it is damaged.

    Raises:
        RestoreError: it could not be read, and nothing shows that it is damaged.
    """
    ocp = orbax()
    with _damage(step_folder):
        info = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(step_folder / "info")
        return info if info.pop("digest") == _info_digest(info) else None
    return None


def read_item(step_folder: Path, name: str, info: dict[str, Any], like: Any) -> Any:
    """An item of a checkpoint; None if it is damaged.

    Args:
        step_folder: the checkpoint.
        name: of the item.
        info: from `read_info`.
        like: the item as ShapeDtypeStructs with the shardings that its arrays shall have.

    Raises:
        RestoreError: it could not be read, and nothing shows that it is damaged.
    """
    ocp = orbax()
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
