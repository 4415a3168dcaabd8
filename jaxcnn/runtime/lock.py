"""One launch at a time in a run's folder."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from jaxcnn.runtime.errors import InputError


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if needed.

    It is a lock of the operating system on `.lock`, so it ends with its owner, however that ends, and reaches over a
    shared file system as far as that system's own locks do. `.owner.json` says who holds it, for the message alone.
    When the block ends, both files are removed, and the folders that were made for them if nothing else is in them.

    Raises:
        InputError: another process holds it, or the folder cannot be written; nothing has been changed.
    """
    import filelock

    existing = next(p for p in (workdir, *workdir.parents) if os.path.exists(p))
    lock, owner = filelock.FileLock(workdir / ".lock"), workdir / ".owner.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"workdir {workdir} is in use by {_owner(owner)}. Wait until it ends, stop it, or give another workdir."
        ) from None
    except (OSError, NotImplementedError) as error:
        _remove_empty(workdir, existing)
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"workdir {workdir} cannot be written: {cause}. Give another workdir.") from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):
            owner.write_text(json.dumps(record))
        yield
    finally:
        # Removed while the lock is held: who opened the old file meanwhile finds it unlinked and opens it again.
        for path in (owner, workdir / ".lock"):
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()
        _remove_empty(workdir, existing)


def _owner(path: Path) -> str:
    try:
        record = json.loads(path.read_text())
        return f"process {record['pid']} on {record['host']} since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _remove_empty(folder: Path, existing: Path) -> None:
    """Remove a folder and its parents up to one that existed before, as long as they are empty."""
    while folder != existing:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
