"""Folders of reports: all files are written, or none."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError


def check_out(out: Path) -> Path:
    """Return a folder after a test whether files can be written there; nothing stays.

    Raises:
        InputError: they cannot.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(out)):
            return out
    except OSError as error:
        raise _unwritable(out, error) from error


def write_files(out: Path, files: Mapping[str, Callable[[Path], Any]]) -> None:
    """Write all files or none.

    Args:
        out: folder, created if need be.
        files: for each name the function that writes the file.

    Raises:
        InputError: a file cannot be written.
    """
    existing = _existing(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as drafts:
            for name, write in files.items():
                write(drafts.enter_context(replacing(out / name)))
    except BaseException as error:
        if existing != out:
            shutil.rmtree(existing / out.relative_to(existing).parts[0], ignore_errors=True)
        if isinstance(error, OSError):
            raise _unwritable(out, error) from error
        raise


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def _unwritable(out: Path, error: OSError) -> InputError:
    return InputError(f"--out={out} cannot be written: {error.strerror or error}. Give another folder.")
