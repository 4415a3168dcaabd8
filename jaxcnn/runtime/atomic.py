"""Files that are replaced in one move."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file so that a reader sees the old one or the new one, never half of one.

    Args:
        path: file to write, in a folder that exists.

    Yields:
        A path beside it to write to. It takes the place of `path` when the block ends, and is removed if that fails.

    Raises:
        OSError: the file cannot be put in its place.
    """
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; a reader sees the old file or the new one, never half of one.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot express.
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
