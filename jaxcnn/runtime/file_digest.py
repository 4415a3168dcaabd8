"""Digests of files by their content."""

import functools
import hashlib
import os
from pathlib import Path

from jaxcnn.runtime.errors import InputError


def file_digest(path: str | Path) -> str:
    """Return the first 32 hexadecimal digits of a file's SHA-256. A process reads a file again only if it has changed.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path).resolve()
    try:
        found = os.stat(path)
        return _digest(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


@functools.lru_cache(maxsize=256)
def _digest(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
