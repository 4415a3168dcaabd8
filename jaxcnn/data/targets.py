"""Images of another population, read from files: nothing is ever downloaded."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.config import Data
from jaxcnn.corruptions import CORRUPTIONS, corrupt
from jaxcnn.data.dataset import Dataset, Mapped, MissingData, Rows, Split, chosen, framed
from jaxcnn.data.digits import digits
from jaxcnn.data.subgroups import GRAMMAR, is_subgroup, subgroup_rows
from jaxcnn.runtime.errors import InputError

_SEVERITIES = 5
_NAMES = "tfds:NAME[:SPLIT], digits[:SPLIT], FILE.npy[:SEVERITY] of CIFAR-10-C, or corruption:NAME:SEVERITY"

# Weights of red, green and blue in a grey image (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Target:
    """Images with their labels, and what they are.

    Attributes:
        images: uint8 [n, height, width, channels]; may be a memory map, or images that are computed when indexed.
        labels: int32 [n].
        about: one line that says where they come from.
    """

    images: np.ndarray | Rows | Mapped
    labels: np.ndarray
    about: str


def read_target(
    name: str,
    *,
    data_dir: str | None = None,
    own: Split | Target | None = None,
    shape: tuple[int, int, int] | None = None,
    config: Data | None = None,
) -> Target:
    """Read a labelled target from files.

    Args:
        name: one of these.

            * tfds:NAME[:SPLIT], a prepared TFDS data set, which needs no training split: tfds:mnist_corrupted/fog,
              tfds:cifar10_corrupted/fog_5, tfds:mnist:3.0.1:train. The split is test unless another is given.
            * digits[:SPLIT], scikit-learn's scans: test, 360 images, unless train is given, 1437 images.
            * FILE.npy[:SEVERITY], a file of CIFAR-10-C with labels.npy beside it: five severities of equal length, of
              which one is read, or all of them.
            * corruption:NAME:SEVERITY, the images in `own`, corrupted by `corrupt` with a key of 0 when they are read.

            Each may be followed by @ and a subgroup, as in tfds:mnist@thick (see `subgroups.subgroup_rows`), and by @
            and a size: digits@20 are resized to a short side of 20 pixels and cropped to the central square, then
            padded with zeros, or cropped, to `shape`.
        data_dir: folder of prepared data sets; None: $TFDS_DATA_DIR, otherwise ~/tensorflow_datasets.
        own: images that corruption:NAME:SEVERITY corrupts.
        config: resizes and pads images as its `image_size` and `pad` say, unless the name has a size; None: not at all.
            Corruptions are applied before padding, as in the published files.
        shape: height, width and channels that the images must have; with @SIZE they are made to fit, and grey images
            become colour images, or colour images grey ones. None: any.

    Raises:
        MissingData: the data set or file is not there.
        InputError: the name is none of these, the data cannot be used, or their shape does not fit.
    """
    size, pad = (None, 0) if config is None else (config.image_size, config.pad)
    return _read(_parsed(name), _Frame(data_dir, size, pad, shape), own)


def read_targets(name: str, dataset: Dataset, config: Data) -> tuple[Target, Target]:
    """Return the images of a target to train on and those to score on.

    A target that has a training split besides its test split (tfds:NAME and digits without a split, corruptions) is
    trained on the one and scored on the other. Otherwise both are the same images, which `about` says.

    Args:
        name: as for `read_target`. Images are resized and padded as `config` says, unless the name has a size.
        dataset: the data set of the run, whose images give the shape and are those that a corruption corrupts.
        config: its `image_size`, `pad` and `data_dir`.

    Raises:
        MissingData, InputError: as for `read_target`.
    """
    parsed, like = _parsed(name), dataset.train.images
    frame = _Frame(config.data_dir, config.image_size, config.pad, tuple(like.shape[1:]), like.dtype)
    if not _has_parts(parsed.base, config.data_dir):
        target = _read(parsed, frame, None)
        return target, replace(target, about=f"{target.about}; to train on without labels, the same images")
    found = {}
    for part, own in (("train", dataset.train), ("test", dataset.test)):
        base = parsed.base if parsed.base.startswith("corruption:") else f"{parsed.base}:{part}"
        found[part] = _read(replace(parsed, base=base), frame, own)
    count = len(found["train"].labels)
    about = f"{found['test'].about}; to train on without labels, {count:,} images of its training split"
    return found["train"], replace(found["test"], about=about)


@dataclass(frozen=True)
class _Name:
    """The name of a target: what is read, and what is made of it.

    Attributes:
        text: the whole name.
        base: the name without the words after @.
        subgroup: words that select images, joined by @.
        size: short side in pixels, or None.
    """

    text: str
    base: str
    subgroup: str
    size: int | None


@dataclass(frozen=True)
class _Frame:
    """How images are read, and what they must be then: see `Data` and `read_target`."""

    data_dir: str | None
    image_size: int | None = None
    pad: int = 0
    shape: tuple[int, ...] | None = None
    dtype: Any = None


def _parsed(name: str) -> _Name:
    # The path of a file may have an @.
    at = name.find("@", max(0, name.find(".npy")))
    base, words = (name, []) if at < 0 else (name[:at], name[at + 1 :].split("@"))
    sizes = [word for word in words if word.isdecimal()]
    groups = [word for word in words if word not in sizes]
    if len(sizes) > 1 or "0" in sizes or not all(map(is_subgroup, groups)):
        raise InputError(f"target is {name!r}; after @ it must have {GRAMMAR}, or a size in pixels above 0.")
    return _Name(name, base, "@".join(groups), int(sizes[0]) if sizes else None)


def _has_parts(base: str, data_dir: str | None) -> bool:
    """Return whether a target without a split has a training split besides its test split."""
    if not base.startswith("tfds:"):
        return base == "digits" or base.startswith("corruption:")
    from jaxcnn.data import tfds

    dataset, split = _tfds_name(base)
    prepared = None if split else tfds.find(dataset, data_dir)
    return prepared is not None and {"train", "test"} <= {*prepared.splits}


def _read(name: _Name, frame: _Frame, own: Split | Target | None) -> Target:
    if name.size:
        frame = replace(frame, image_size=name.size, pad=0)
    target = _images(name, frame, own)
    if name.subgroup:
        measured = own.images if name.base.startswith("corruption:") else target.images
        rows = subgroup_rows(name.subgroup, measured, target.labels)
        about = f"{target.about}, of which {len(rows)} are {name.subgroup.replace('@', ' and ')}"
        target = Target(chosen(target.images, rows), target.labels[rows], about)
    if frame.dtype is not None and target.images.dtype != frame.dtype:
        raise InputError(
            f"target {name.text!r} has {target.images.dtype} images, and the run has {frame.dtype}; give the run uint8 "
            "images in 0..255."
        )
    shape = tuple(target.images.shape[1:])
    if frame.shape is None or shape == frame.shape:
        return target
    if not name.size or {shape[2], frame.shape[2]} - {1, 3, frame.shape[2]}:
        theirs, ours = ("x".join(map(str, each)) for each in (shape, frame.shape))
        raise InputError(
            f"target {name.text!r} has images of {theirs}, and the run has {ours}. Add @ and a size, as in "
            f"{name.text}@{min(frame.shape[:2])}, to resize them to that many pixels and then pad or crop them to fit; "
            "or change config.data.image_size and config.data.pad, which apply to both."
        )
    fit = "x".join(map(str, frame.shape))
    about = f"{target.about}, resized to {name.size} pixels and made to fit {fit}"
    images = Mapped(target.images, lambda images, rows: fitted(images, frame.shape), frame.shape)
    return Target(images, target.labels, about)


def fitted(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return images [n, height, width, channels] padded with zeros or cropped around their centre, and made grey or
    given three equal channels, so that they have a shape (height, width, channels). Odd margins are larger below and
    to the right."""
    for axis, length in ((1, shape[0]), (2, shape[1])):
        missing = length - images.shape[axis]
        before = abs(missing) // 2
        if missing > 0:
            margins = [(0, 0)] * 4
            margins[axis] = (before, missing - before)
            images = np.pad(images, margins)
        else:
            images = np.take(images, np.arange(before, before + length), axis)
    if images.shape[3] == shape[2]:
        return images
    if shape[2] == 1:
        grey = images @ _GREY
        return (np.rint(grey) if images.dtype == np.uint8 else grey).astype(images.dtype)[..., None]
    return np.repeat(images, shape[2], axis=3)


def _images(name: _Name, frame: _Frame, own: Split | Target | None) -> Target:
    """Return the images that the base of a name means, resized and padded."""
    base = name.base
    if base.startswith("tfds:"):
        return _read_tfds(base, frame)
    if base.startswith("corruption:"):
        target = _corrupted(base, own, frame.pad)
        # Images of the run have their size already.
        return target if not name.size else replace(target, images=framed(np.asarray(target.images), name.size, 0))
    if base in ("digits", "digits:train", "digits:test"):
        split = base.partition(":")[2] or "test"
        part = digits(name.size or 32)[split == "test"]
        images = part.images if name.size else framed(part.images, frame.image_size, frame.pad)
        return Target(
            images, part.labels, f"scikit-learn's handwritten digits, {split} split, {len(part.labels)} images"
        )
    file, _, severity = base.partition(".npy")
    if not base.startswith(file + ".npy") or (severity and not severity.startswith(":")):
        raise InputError(f"target is {name.text!r}; it must be {_NAMES}; then @SIZE or @SUBGROUP.")
    target = _read_array(Path(file + ".npy").expanduser(), severity[1:])
    if not frame.image_size and not frame.pad:
        return target
    return replace(target, images=framed(np.asarray(target.images), frame.image_size, frame.pad))


def _corrupted(base: str, own: Split | Target | None, pad: int) -> Target:
    found = re.fullmatch(r"corruption:(\w+):([1-5])", base)
    if not found:
        raise InputError(f"target is {base!r}; it must be corruption:NAME:SEVERITY, with a severity from 1 to 5.")
    kind, severity = found[1], int(found[2])
    if kind not in CORRUPTIONS:
        # For its message.
        corrupt(kind, np.zeros((1, 1, 1, 1), np.float32), key=jax.random.key(0))
    if own is None:
        raise InputError(f"target is {base!r}; it needs own=, the images to corrupt.")

    def function(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        whole = images.dtype == np.uint8
        floats = images.astype(np.float32) / 255 if whole else images
        key = jax.random.key(0, impl="threefry2x32")
        inner = floats[:, pad : floats.shape[1] - pad, pad : floats.shape[2] - pad]
        found = np.asarray(corrupt(kind, inner, severity, key=key, index=rows, truncate=whole))
        found = np.pad(found, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        return np.rint(found * 255).astype(np.uint8) if whole else found

    images = Mapped(own.images, function, own.images.shape[1:])
    return Target(images, own.labels, f"images of the run with {kind}, severity {severity}, {len(own.labels)} images")


def _tfds_name(base: str) -> tuple[str, str | None]:
    found = re.fullmatch(r"tfds:([\w/]+(?::\d+\.\d+\.\d+)?)(?::(.+))?", base)
    if not found:
        raise InputError(f"target is {base!r}; it must be tfds:NAME[:SPLIT], such as tfds:mnist_corrupted/fog.")
    return found[1], found[2]


def _read_tfds(base: str, frame: _Frame) -> Target:
    from jaxcnn.data import tfds

    dataset, split = _tfds_name(base)
    split = split or "test"
    settings = Data(
        source="tfds",
        name=dataset,
        data_dir=frame.data_dir,
        test_split=split,
        image_size=frame.image_size,
        pad=frame.pad,
    )
    part, _ = tfds.load_test(settings)
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
