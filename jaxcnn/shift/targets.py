"""Images of another population, read from files: nothing is ever downloaded."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.config import Data
from jaxcnn.data import MissingData, Rows, tfds
from jaxcnn.data.digits import digits
from jaxcnn.runtime.errors import InputError

_SEVERITIES = 5
_GRAMMAR = "tfds:NAME[:SPLIT], digits, or FILE.npy[:SEVERITY] of CIFAR-10-C"


@dataclass(frozen=True, eq=False)
class Target:
    """Images with their labels, and what they are.

    Attributes:
        images: uint8 [n, height, width, channels]; may be a memory map, or images that are decoded when indexed.
        labels: int32 [n].
        about: one line that says where they come from.
    """

    images: np.ndarray | Rows
    labels: np.ndarray
    about: str


def read_target(name: str, *, data_dir: str | None = None) -> Target:
    """Read a labelled target from files.

    Args:
        name: one of these.

            * tfds:NAME[:SPLIT], a prepared TFDS data set, which needs no training split: tfds:mnist_corrupted/fog,
              tfds:cifar10_corrupted/fog_5, tfds:mnist:3.0.1:train. The split is test unless another is given.
            * digits, scikit-learn's scans: the test split of 360.
            * FILE.npy[:SEVERITY], a file of CIFAR-10-C with labels.npy beside it: five severities of equal length, of
              which one is read, or all of them.
        data_dir: folder of prepared data sets; None: $TFDS_DATA_DIR, otherwise ~/tensorflow_datasets.

    Raises:
        MissingData: the data set or file is not there.
        InputError: the name is none of these, or the data cannot be used.
    """
    if name == "digits":
        _, test, _ = digits()
        return Target(test.images, test.labels, f"scikit-learn's handwritten digits, test split, {len(test)} images")
    if name.startswith("tfds:"):
        return _read_tfds(name.removeprefix("tfds:"), data_dir)
    file, _, severity = name.partition(".npy")
    if name.startswith(file + ".npy") and (not severity or severity.startswith(":")):
        return _read_array(Path(file + ".npy").expanduser(), severity[1:])
    raise InputError(f"target is {name!r}; it must be {_GRAMMAR}.")


def _read_tfds(name: str, data_dir: str | None) -> Target:
    found = re.fullmatch(r"([\w/]+(?::\d+\.\d+\.\d+)?)(?::(.+))?", name)
    if not found:
        raise InputError(f"target is 'tfds:{name}'; it must be tfds:NAME[:SPLIT], such as tfds:mnist_corrupted/fog.")
    dataset, split = found[1], found[2] or "test"
    part, _ = tfds.load_test(Data(source="tfds", name=dataset, data_dir=data_dir, test_split=split))
    kind = "published corruptions, " if dataset.partition("/")[0].endswith("_corrupted") else ""
    return Target(part.images, part.labels, f"{kind}TFDS {dataset}, split {split}, {len(part)} images")


def _read_array(path: Path, severity: str) -> Target:
    if severity not in ("", *map(str, range(1, _SEVERITIES + 1))):
        raise InputError(f"severity is {severity!r}; after the name of a file it must be from 1 to {_SEVERITIES}.")
    images, labels = (_load(each) for each in (path, path.with_name("labels.npy")))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(f"{path} is {images.dtype} {images.shape}; it must be uint8 [n, height, width, channels].")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or len(labels) % _SEVERITIES:
        raise InputError(
            f"{path} has {len(images)} images, and labels.npy beside it is {labels.dtype} {labels.shape}; it must be "
            f"integers, one for each image, for {_SEVERITIES} severities of equal length."
        )
    each = len(labels) // _SEVERITIES
    rows = slice(None) if not severity else slice((int(severity) - 1) * each, int(severity) * each)
    text = f"severity {severity}" if severity else f"severities 1 to {_SEVERITIES}"
    images, labels = images[rows], labels[rows].astype(np.int32)
    return Target(
        images, labels, f"published corruptions, {path.stem} of {path.parent.name}, {text}, {len(labels)} images"
    )


def _load(path: Path) -> np.ndarray:
    """Return the array of a file as a memory map."""
    if not path.is_file():
        raise MissingData(f"{path} does not exist; unpack the archive of CIFAR-10-C, and give one of its files.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path} cannot be read as a NumPy array; unpack the archive again.") from None
