"""Data sources: `load` turns a configuration into arrays."""

import dataclasses
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.config import Data, Fake
from jaxcnn.data.checks import check_layout, unseen_classes, warnings_about
from jaxcnn.data.dataset import Dataset, MissingData, Split, chosen, framed
from jaxcnn.data.digits import digits
from jaxcnn.data.streams import Stream, shuffled
from jaxcnn.data.subgroups import balanced_rows, subgroup_rows
from jaxcnn.data.targets import read_targets
from jaxcnn.runtime.errors import InputError

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def load(config: Data, seed: int, arrays: Mapping[str, Any] | None = None, *, need_train: bool = True) -> Dataset:
    """Load the data set that a configuration describes; nothing is ever downloaded.

    Probable mistakes in images and labels (float images in 0..255 that nothing scales, labels that begin at 1, a class
    without training images) give a UserWarning with the likely cause.

    Args:
        config: the source, and how its images are resized and padded.
        seed: seed of the experiment; selects the validation split, unless `config.split_seed` does, and nothing else.
        arrays: for source "arrays" without a file: train_images, train_labels, test_images and test_labels, as arrays
            [n, height, width] or [n, height, width, channels], uint8 or float, and integers [n].
        need_train: False: arrays need not have training images; `train` is then None.

    Raises:
        MissingData: the data are missing.
        InputError: the data are malformed, empty, in a scale or layout that cannot be intended, or their splits do not
            match each other.
    """
    if arrays is not None and config.source != "arrays":
        raise InputError(f"arrays were passed, but Data.source is {config.source!r}; it must be 'arrays'.")
    if config.source == "tfds":
        from jaxcnn.data import tfds

        train, test, class_names = tfds.load(config)
    else:
        read = {
            "digits": digits,
            "fake": lambda: _fake(config.fake),
            "arrays": lambda: _arrays(config.name, arrays, need_train),
        }
        train, test, class_names = read[config.source]()
        train, test = (
            part and Split(framed(part.images, config.image_size, config.pad), part.labels) for part in (train, test)
        )
    _check_parts(train, test, config.source)
    doubtful = [*warnings_about(train, test, config)] if config.source == "arrays" else []
    if config.source in ("arrays", "tfds") and train is not None:
        doubtful += unseen_classes(train, test)
    for doubt in doubtful:
        warnings.warn(doubt, stacklevel=2)
    if config.subgroup:
        train, test = (part and _subgroup(part, config.subgroup) for part in (train, test))
    whole = Dataset(train, test, None, class_names)
    if config.target and train is not None:
        unlabelled, target = read_targets(config.target, whole, config)
        whole = dataclasses.replace(
            whole, unlabelled=unlabelled.images, target=Split(target.images, target.labels), about_target=target.about
        )
    if train is None or not (config.validation or config.train_count):
        return whole
    found = divided(whole, config, seed)
    if type(train.images) is not np.ndarray:
        return found
    # Copies, so that the memory of the whole array is released.
    parts = {name: getattr(found, name) for name in ("train", "validation")}
    copies = {name: part and Split(np.asarray(part.images), part.labels) for name, part in parts.items()}
    return dataclasses.replace(found, **copies)


def divided(dataset: Dataset, config: Data, seed: int) -> Dataset:
    """Return a data set with the validation split and the number of training images that a configuration asks for.

    Args:
        dataset: the data set with all training images.
        config: its `validation`, `train_count` and `split_seed`.
        seed: seed of the experiment, which draws both unless `split_seed` is set.

    Raises:
        InputError: a split would be empty, or there are fewer training images than asked for.
    """
    seed = seed if config.split_seed is None else config.split_seed
    if config.validation:
        dataset = with_validation(dataset, config.validation, seed)
    if config.train_count is None:
        return dataset
    train = dataset.train
    if config.train_count > len(train):
        raise InputError(f"Data.train_count is {config.train_count}; there are {len(train)} training images.")
    rows = np.sort(balanced_rows(train.labels, config.train_count, seed))
    return dataclasses.replace(dataset, train=Split(chosen(train.images, rows), train.labels[rows]))


def validation_rows(n: int, share: float, seed: int) -> np.ndarray:
    """Return which of n training images form a validation split of that share: rows [round(share * n)], unordered. For
    the same seed, a smaller split is a subset of a larger one."""
    return shuffled(n, seed, Stream.VALIDATION)[: round(share * n)]


def _check_parts(train: Split | None, test: Split, source: str) -> None:
    for name, part in (("training", train), ("test", test)):
        if part is not None and not len(part):
            raise InputError(f"The {name} split of the data (source {source!r}) is empty; it needs images.")
    if train is None:
        return
    if train.images.shape[1:] != test.images.shape[1:] or train.images.dtype != test.images.dtype:
        kinds = " and ".join(f"{p.images.dtype} {p.images.shape[1:]}" for p in (train, test))
        raise InputError(f"Training and test images differ in type or shape, {kinds}; they must match.")


def _subgroup(part: Split, text: str) -> Split:
    rows = subgroup_rows(text, part.images, part.labels)
    return Split(chosen(part.images, rows), part.labels[rows])


def with_validation(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return the data set with a share of its training images as the validation split, drawn with a seed.

    Both splits keep their order, and select rows of the training images (`Rows`), so that no image is copied.

    Raises:
        InputError: one of the splits would be empty.
    """
    train, n = dataset.train, len(dataset.train)
    drawn = validation_rows(n, share, seed)
    if not 0 < len(drawn) < n:
        raise InputError(f"Data.validation is {share}; with {n} training images that leaves an empty split.")
    aside = np.zeros(n, bool)
    aside[drawn] = True
    rest, validation = (
        Split(chosen(train.images, rows), train.labels[rows])
        for rows in (np.flatnonzero(~aside), np.flatnonzero(aside))
    )
    return dataclasses.replace(dataset, train=rest, validation=validation)


def _fake(config: Fake) -> tuple[Split, Split, tuple[str, ...]]:
    """Return images with a coarse pattern per class, half the range of uint8, plus uniform noise of the other half."""
    height, width, channels = config.shape
    rng = np.random.default_rng([*config.shape, config.num_classes, config.train, config.test])
    cells = (config.num_classes, -(-height // 4), -(-width // 4), channels)
    coarse = rng.integers(0, 2, cells, dtype=np.uint8) * np.uint8(127)
    patterns = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]

    def part(n: int) -> Split:
        labels = np.arange(n, dtype=np.int32) % config.num_classes
        images = rng.integers(0, 129, (n, *config.shape), dtype=np.uint8)
        images += patterns[labels]
        return Split(images, labels)

    return part(config.train), part(config.test), tuple(map(str, range(config.num_classes)))


def _arrays(
    name: str, arrays: Mapping[str, Any] | None, need_train: bool
) -> tuple[Split | None, Split, tuple[str, ...]]:
    where = "arrays" if arrays is not None else f"Data.name {name!r}"
    if arrays is None:
        arrays = _read_npz(name)
    wanted = _ARRAYS if need_train or any(key in arrays for key in _ARRAYS[:2]) else _ARRAYS[2:]
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; it must have {', '.join(wanted)}.")
    parts = []
    for part in ("train", "test") if wanted is _ARRAYS else ("test",):
        images = _images(np.asarray(arrays[f"{part}_images"]), f"{where}: {part}_images")
        labels = _labels(np.asarray(arrays[f"{part}_labels"]), f"{where}: {part}_labels")
        if len(images) != len(labels):
            moved = len(labels) in images.shape[1:]
            cause = f" Images have shape {images.shape}; the first axis must be the image index." * moved
            raise InputError(
                f"{where} has {len(images)} {part}_images and {len(labels)} {part}_labels; they must match.{cause}"
            )
        parts.append(Split(images, labels))
    train, test = (None, *parts)[-2:]
    classes = 1 + max((int(p.labels.max()) for p in parts if len(p)), default=-1)
    return train, test, tuple(map(str, range(classes)))


def _read_npz(name: str) -> dict[str, np.ndarray]:
    if not name:
        raise InputError("Data.name is empty; source 'arrays' needs the path of an .npz file, or arrays in memory.")
    path = Path(name).expanduser()
    if not path.is_file():
        raise MissingData(f"Data.name is {name!r}; there is no such file. It must be the path of an .npz file.")
    try:
        with np.load(path) as file:
            return {key: file[key] for key in _ARRAYS if key in file}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        raise InputError(f"Data.name is {name!r}; it cannot be read as an .npz file of numeric arrays.") from None


def _images(images: np.ndarray, where: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"{where} has shape {images.shape}; it must be [n, height, width] or [n, height, width, channels]."
        )
    check_layout(images, where)
    if images.dtype.kind in "iu" and (not images.size or (images.min() >= 0 and images.max() <= 255)):
        return images.astype(np.uint8, copy=False)
    if images.dtype.kind != "f":
        raise InputError(f"{where} is {images.dtype}; it must be uint8 in 0..255 or float.")
    with np.errstate(over="ignore"):
        images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images)
    if not finite.all():
        first = tuple(int(i) for i in np.unravel_index(np.argmin(finite), images.shape))
        count = np.sum(~finite)
        raise InputError(f"{where} has {count} NaN or infinite value(s), the first at {first}; all must be finite.")
    return images


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{where} is {labels.dtype} of shape {labels.shape}; it must be integers [n].")
    outside = (labels < 0) | (labels > np.iinfo(np.int32).max)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"{where}[{row}] is {labels[row]}; labels are integers from 0.")
    return labels.astype(np.int32)
