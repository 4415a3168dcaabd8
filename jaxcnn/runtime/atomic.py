"""Atomic replacement of files."""

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file atomically: a reader sees either the old file or the new one, never a part of one.

    Args:
        path: file to write, in a folder that exists.

    Yields:
        A path in the same folder to write to. It replaces `path` when the block ends, and is removed after an error.

    Raises:
        OSError: `path` cannot be replaced.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically as in `replacing`.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot represent.
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
