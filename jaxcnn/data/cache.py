"""Splits in the user's cache folder: decoded images as memory maps, with labels; or labels alone."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxcnn.runtime.errors import InputError

# Seconds after which an unfinished folder is considered the leftover of a killed process.
_STALE = 24 * 3600


def read(entry: Path) -> tuple[np.memmap | None, np.ndarray, tuple[str, ...]] | None:
    """Return a cached split, or None if it is missing or damaged.

    Returns:
        Images uint8 [n, height, width, channels] mapped into memory, or None if only labels were written; labels
        int32 [n]; class names.
    """
    try:
        meta = json.loads((entry / "meta.json").read_text())
        labels = np.load(entry / "labels.npy")
        images = np.load(entry / "images.npy", mmap_mode="r") if len(meta["shape"]) > 1 else None
        shape, dtype = (labels.shape, np.uint8) if images is None else (images.shape, images.dtype)
        if (list(shape), dtype, labels.shape, labels.dtype) == (meta["shape"], np.uint8, shape[:1], np.int32):
            return images, labels, tuple(meta["class_names"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        pass
    return None


def write(
    entry: Path,
    shape: tuple[int, ...],
    parts: Iterable[tuple[np.ndarray | None, np.ndarray]],
    class_names: Iterable[str],
) -> None:
    """Write a split so that a reader never sees an incomplete one.

    Files are written in a temporary folder and renamed one by one, the description last. Two concurrent processes write
    the same bytes, so it does not matter whose file remains.

    Args:
        entry: folder to write.
        shape: shape of all images, [n, height, width, channels]; (n,) writes labels alone.
        parts: pairs of images (uint8; None for labels alone) and labels, in order, n in total.
        class_names: names that `read` returns.

    Raises:
        InputError: the disk is too small (checked before anything is written), or the folder cannot be written.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        pixels = int(np.prod(shape)) if len(shape) > 1 else 0
        needed, free = pixels + 4 * shape[0], shutil.disk_usage(entry.parent).free
        if needed > free:
            raise InputError(
                f"Decoded images need {needed / 1e9:.1f} GB in {entry.parent}, which has {free / 1e9:.1f} GB free; "
                "free some, set $JAXCNN_CACHE_DIR to a larger disk, choose a smaller config.data.image_size, or set "
                "config.data.decode to 'always'."
            )
        with tempfile.TemporaryDirectory(prefix=".building-", dir=entry.parent, ignore_cleanup_errors=True) as folder:
            labels = []
            # Plain writes, because a full disk raises an error there but crashes a memory map.
            with open(Path(folder) / "images.npy", "wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for images, some in parts:
                    if images is not None:
                        file.write(images.tobytes())
                    labels.append(some)
                file.flush()
                os.fsync(file.fileno())
            np.save(Path(folder) / "labels.npy", np.concatenate(labels).astype(np.int32))
            (Path(folder) / "meta.json").write_text(json.dumps({"shape": shape, "class_names": list(class_names)}))
            entry.mkdir(exist_ok=True)
            for name in ("images.npy", "labels.npy", "meta.json")[len(shape) == 1 :]:
                os.replace(Path(folder) / name, entry / name)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "its disk is full" if full else str(error)
        raise InputError(
            f"Cannot write the cache in {entry.parent}: {why}; set $JAXCNN_CACHE_DIR to another folder."
        ) from None


def _remove_stale(folder: Path) -> None:
    for unfinished in folder.glob(".building-*"):
        # Another process may be finishing this folder.
        with contextlib.suppress(FileNotFoundError):
            newest = max(p.stat().st_mtime for p in [unfinished, *unfinished.glob("*")])
            if time.time() - newest > _STALE:
                shutil.rmtree(unfinished, ignore_errors=True)
