"""A lock that allows one launch at a time in a run's folder."""

import contextlib
import errno
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from jaxcnn.runtime.errors import InputError

# Without locks: seconds between two heartbeats of an owner, and after the last one until the owner counts as dead.
_BEAT, _DEAD_AFTER = 30.0, 600.0


class InUse(InputError):
    """Another process holds the lock of a run's folder."""


_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is created if needed; of several JAX processes, process 0 holds it.

    It is an operating system lock on `.lock`, so it is released however its owner ends, and it covers a shared file
    system as far as that system's own locks do; NFS has not been tested. `.owner.json` names the owner. If the file
    system does not support locks, `.owner.json` is the lock: the owner updates its modification time every 30 seconds,
    and a record that is older than 10 minutes belongs to a dead owner.

    When the block ends, both files are removed, and so are the folders that were created for them if they are empty.

    Raises:
        InUse: another process holds the lock.
        InputError: the folder cannot be written; nothing has been changed.
    """
    if jax.process_index() > 0:
        yield
    else:
        with _alone(workdir):
            yield


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Hold the lock of a folder, as `locked` does in process 0."""
    existing = next(p for p in (workdir, *workdir.parents) if os.path.exists(p))
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, workdir, existing)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_system_lock(workdir) if _has_locks(workdir) else _record(workdir))
        except OSError as error:
            raise _not_writable(workdir, error) from error
        yield


def check_writable(folder: Path) -> None:
    """Raise InputError if a folder, or the nearest one above it that exists, cannot be written."""
    existing = next(p for p in (folder, *folder.parents) if os.path.exists(p))
    try:
        with _scratch(existing):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(workdir: Path, error: OSError) -> InputError:
    return InputError(f"workdir {workdir} cannot be written: {error.strerror or error}. Give another workdir.")


def is_locked(workdir: Path) -> bool:
    """Return whether another process holds the lock of a folder; the files of an owner that has died are removed.

    It does not ask JAX for its processes, because that would reserve the memory of a GPU.
    """
    if not os.path.exists(workdir / ".owner.json"):
        return False
    try:
        with _alone(workdir):
            return False
    except InUse:
        return True
    except InputError:
        return False


@contextlib.contextmanager
def _system_lock(workdir: Path) -> Iterator[None]:
    import filelock

    lock, owner = filelock.FileLock(workdir / ".lock"), workdir / ".owner.json"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise _in_use(workdir, _read(owner)) from None
    try:
        with contextlib.suppress(OSError):
            owner.write_text(json.dumps(_myself()))
        yield
    finally:
        # Unlink while the lock is held: a process that has opened the old file then sees this and opens a new one.
        for path in (owner, workdir / ".lock"):
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()


@contextlib.contextmanager
def _record(workdir: Path) -> Iterator[None]:
    """Lock a folder by its owner record, on a file system without locks."""
    owner, mine = workdir / ".owner.json", _myself() | {"token": uuid.uuid4().hex}
    _remove_dead(owner)
    try:
        with owner.open("x") as file:
            file.write(json.dumps(mine))
    except FileExistsError:
        hint = f"Its record {owner} expires 10 minutes after its last update."
        raise _in_use(workdir, _read(owner), hint) from None
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT) and _read(owner) == mine:
            with contextlib.suppress(OSError):
                os.utime(owner)

    thread = threading.Thread(target=beat, name="owner record", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _read(owner) == mine:
            with contextlib.suppress(OSError):
                owner.unlink()


def _remove_dead(owner: Path) -> None:
    """Remove the record of a dead owner, but no other record, even if two processes do so at once."""
    found = _read(owner)
    with contextlib.suppress(FileNotFoundError):
        if _now(owner.parent) - owner.stat().st_mtime <= _DEAD_AFTER:
            return
        aside = owner.with_name(f".{uuid.uuid4().hex}.dead")
        os.rename(owner, aside)
        if _read(aside) == found:
            aside.unlink()
        else:
            os.rename(aside, owner)


def _has_locks(workdir: Path) -> bool:
    """Return whether the file system of a folder supports locks."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows supports locks.
    with _scratch(workdir) as path, path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
    return True


def _now(folder: Path) -> float:
    """Return the time by the clock of a folder's file system."""
    with _scratch(folder) as path:
        return path.stat().st_mtime


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Create an empty file that exists until the block ends."""
    path = folder / f".{uuid.uuid4().hex}.tmp"
    path.touch()
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _myself() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _read(owner: Path) -> dict[str, Any] | None:
    try:
        return json.loads(owner.read_text())
    except (OSError, ValueError):
        return None


def _in_use(workdir: Path, owner: Any, hint: str = "") -> InUse:
    try:
        who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (KeyError, TypeError):
        who = "another process"
    text = f"workdir {workdir} is in use by {who}. Wait until it ends, stop it, or give another workdir. {hint}"
    return InUse(text.rstrip())


def _remove_empty(folder: Path, existing: Path) -> None:
    """Remove a folder and its parents up to one that existed before, as long as they are empty."""
    while folder != existing:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
