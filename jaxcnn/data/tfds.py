"""Prepared TFDS data sets, read without TensorFlow and without a network.

Reading through TFDS decodes every image again at every launch. Here each split is decoded once into the cache and then
mapped into memory; TFDS itself is only imported if a split is not cached yet. If a split is too large for that
(ImageNet at 256 pixels: 262 GB), only the labels are cached, and images are decoded whenever they are read.
"""

import hashlib
import io
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.config import Data
from jaxcnn.data import cache
from jaxcnn.data.dataset import MissingData, Rows, Split, fit, padded
from jaxcnn.runtime.cache_folder import cache_folder
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.progress import counted

# Images of splits whose decoded size exceeds this are decoded whenever they are read, unless `Data.decode` is set.
DECODE_ONCE_BYTES = 32 * 2**30

# TFDS keeps a data set in data_dir/NAME[/CONFIGURATION]/VERSION, which holds this file.
_INFO, _VERSION = "dataset_info.json", re.compile(r"\d+(\.\d+)*")

# Incremented when the format of the cached files changes; older splits are then decoded again.
_LAYOUT = 1

# Limits on the number of examples, and of bytes of pixels, decoded at a time.
_ROWS, _BYTES = 1000, 16 * 2**20

# Examples that one thread reads and decodes at a time, so that some threads wait for the disk while others work.
_EACH = 8

# Images whose encoding has at least this many bytes on average are decoded in threads; smaller ones spend their time in
# Python code, where threads only wait for each other. The average is taken over `_SAMPLE` examples, spread evenly over
# the split.
_THREADED, _SAMPLE = 16 * 2**10, 16


@dataclass(frozen=True)
class Prepared:
    """A prepared data set on disk.

    Attributes:
        name: with its configuration, without version: "mnist", "imagenet_resized/32x32".
        folder: folder of the version, which contains dataset_info.json.
        file_format: "array_record", "tfrecord", …
        splits: names of the splits.
    """

    name: str
    folder: Path
    file_format: str
    splits: tuple[str, ...]


def data_root(data_dir: str | None) -> Path:
    """Return the folder of prepared data sets: `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()


def prepare_command(name: str, data_dir: str | None) -> str:
    """Return the command line that prepares a data set."""
    return shlex.join(["python", "-m", "jaxcnn", "prepare", name, f"--data_dir={data_root(data_dir)}"])


def find(name: str, data_dir: str | None) -> Prepared | None:
    """Find the prepared data set of that name by its folders; the newest version unless the name includes one.

    Args:
        name: "mnist", "mnist:3.0.1", "imagenet_resized/32x32:0.1.0".
        data_dir: as for `data_root`.

    Returns:
        The data set, or None if it is not prepared.

    Raises:
        InputError: only configurations of the data set are prepared, or dataset_info.json is damaged.
    """
    base, _, version = name.partition(":")
    root = data_root(data_dir) / base
    folders = [p.parent for p in root.glob(f"*/{_INFO}") if _VERSION.fullmatch(p.parent.name)]
    folders = [p for p in folders if version in ("", p.name)]
    if not folders:
        configs = sorted({f"{base}/{p.parent.parent.name}" for p in root.glob(f"*/*/{_INFO}")})
        if configs:
            raise InputError(
                f"data set {name!r} has configurations; set config.data.name to one that is prepared in {root.parent}: "
                f"{', '.join(configs)}."
            )
        return None
    folder = max(folders, key=lambda p: [int(n) for n in p.name.split(".")])
    try:
        info = json.loads((folder / _INFO).read_text())
        splits = tuple(split["name"] for split in info["splits"])
        return Prepared(base, folder, info.get("fileFormat", "tfrecord"), splits)
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{folder}/dataset_info.json is damaged; delete {folder} and prepare {base} again.") from None


def not_prepared(name: str, data_dir: str | None) -> MissingData:
    """Return the error for a data set that `find` does not find, with its prepared versions and configurations."""
    root, dataset = data_root(data_dir), name.partition(":")[0].partition("/")[0]
    folders = sorted(path.parent for depth in ("*", "*/*") for path in (root / dataset).glob(f"{depth}/{_INFO}"))
    folders = [path for path in folders if _VERSION.fullmatch(path.name)]
    there = ", ".join(f"{path.parent.relative_to(root).as_posix()}:{path.name}" for path in folders)
    if there:
        held = f", which contains {there}. Set config.data.name to one of these, or"
    else:
        near = did_you_mean(dataset, sorted({path.parent.parent.name for path in root.glob(f"*/*/{_INFO}")}))
        held = f".{near} Otherwise" if near else ";"
    return MissingData(f"data set {name!r} is not prepared in {root}{held} run: {prepare_command(name, data_dir)}")


def load(config: Data) -> tuple[Split, Split, tuple[str, ...]]:
    """Load the training split, test split and class names of a prepared data set; images are uint8, in memory maps or
    in `Rows` of a reader that decodes them when it is indexed.

    Raises:
        MissingData: the data set is not prepared.
        InputError: the data set is in another format, lacks a split, does not have one image and one class label per
            example, has images of different sizes without `image_size`, or is damaged; or the cache does not fit on the
            disk.
    """
    prepared = _prepared(config, "train_split", "test_split")
    train, class_names = _split(prepared, config.train_split, config)
    test, _ = _split(prepared, config.test_split, config)
    return train, test, class_names


def load_test(config: Data) -> tuple[Split, tuple[str, ...]]:
    """Load the test split and the class names of a prepared data set, which need not have a training split.

    Raises:
        MissingData, InputError: as in `load`.
    """
    return _split(_prepared(config, "test_split"), config.test_split, config)


def _prepared(config: Data, *fields: str) -> Prepared:
    """Return the prepared data set that a configuration names, after checks of its format and of these splits."""
    prepared = find(config.name, config.data_dir)
    if prepared is None:
        raise not_prepared(config.name, config.data_dir)
    root, command = data_root(config.data_dir), prepare_command(config.name, config.data_dir)
    if prepared.file_format != "array_record":
        raise InputError(
            f"data set {config.name!r} in {root} is prepared as {prepared.file_format}; only array_record can be read. "
            f"Delete {prepared.folder} or choose another data_dir, then run: {command}"
        )
    for field in fields:
        split = getattr(config, field)
        if not {re.sub(r"\[.*", "", part).strip() for part in split.split("+")} <= set(prepared.splits):
            raise InputError(
                f"Data.{field} is {split!r}; the splits of {config.name!r} are {', '.join(prepared.splits)}."
            )
    return prepared


def _split(prepared: Prepared, split: str, config: Data) -> tuple[Split, tuple[str, ...]]:
    folder = cache_folder() / "tfds"
    entry = folder / _key(prepared, split, config.image_size, config.pad)
    found = cache.read(entry) if config.decode != "always" else None
    if found is None:
        reader = _Reader(prepared, split, config)
        shape, parts = reader.shape, reader.decoded_parts
        if config.decode == "always" or (config.decode == "auto" and reader.nbytes > DECODE_ONCE_BYTES):
            reader.check_sizes()
            entry, shape, parts = folder / _key(prepared, split, "labels"), reader.shape[:1], reader.label_parts
            found = cache.read(entry)
        if found is None:
            cache.write(entry, shape, parts(folder), reader.class_names)
            found = cache.read(entry)
    if found is None:
        raise InputError(f"The cache in {entry} cannot be read back; set $JAXCNN_CACHE_DIR to another folder.")
    images, labels, class_names = found
    return Split(Rows(reader, np.arange(len(labels))) if images is None else images, labels), class_names


def _key(prepared: Prepared, split: str, *treatment: Any) -> str:
    """Return a readable folder name that differs whenever the cached content would differ."""
    info = (prepared.folder / "dataset_info.json").read_text()
    files = sorted((p.name, p.stat().st_size) for p in prepared.folder.iterdir() if p.is_file())
    source = [_LAYOUT, prepared.name, info, files, split, *treatment]
    digest = hashlib.sha256(json.dumps(source).encode()).hexdigest()[:16]
    words = (prepared.name, prepared.folder.name, split)
    return "-".join([*(re.sub(r"[^\w.]+", "_", word) for word in words), digest])


class _Reader:
    """A reader of one TFDS split. Indexed by rows, it acts as an array of images that are decoded at each access."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, prepared: Prepared, split: str, config: Data) -> None:
        self.prepared, self.split, self.config = prepared, split, config
        self.where = f"split {split!r} of data set {prepared.name!r}"
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise InputError(f"Reading {self.where} needs {error.name}; run: pip install tensorflow-datasets") from None
        try:
            # Built from the folder: a lookup by name would search for its code, and may use the network.
            builder = tfds.builder_from_directory(prepared.folder)
            features, supervised = dict(builder.info.features), builder.info.supervised_keys or ()
            images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
            labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
            skip = dict.fromkeys(images, tfds.decode.SkipDecoding())
            self.examples = builder.as_data_source(split=split, decoders=skip)
        except Exception as error:
            raise self._unreadable(error) from None
        self.image_key, self.label_key = (_only(keys, supervised) for keys in (images, labels))
        if self.image_key is None or self.label_key is None:
            raise InputError(
                f"data set {prepared.name!r} is not for image classification: it has {len(images)} image(s) and "
                f"{len(labels)} class label(s) among {', '.join(sorted(features))}; it needs one of each."
            )
        image, label = features[self.image_key], features[self.label_key]
        if image.np_dtype != np.uint8:
            raise InputError(f"data set {prepared.name!r} has {np.dtype(image.np_dtype)} images; it needs uint8.")
        if not len(self.examples):
            raise InputError(f"{self.where} is empty; it needs images.")
        self.class_names = label.names or list(map(str, range(label.num_classes or 0)))
        self.sized = config.image_size is not None or None not in image.shape[:2]
        self.channels = image.shape[-1] or 3
        sample = np.linspace(0, len(self.examples) - 1, min(_SAMPLE, len(self.examples))).astype(int).tolist()
        encoded = [example[self.image_key] for example in self._read(sample)]
        self.threads = (os.cpu_count() or 1) if sum(map(len, encoded)) >= _THREADED * len(encoded) else 1
        self.decoded = self._decode(encoded[0]).shape
        self.shape = (len(self.examples), *(side + 2 * config.pad for side in self.decoded[:2]), self.channels)
        self.nbytes = math.prod(self.shape)

    def check_sizes(self) -> None:
        """Check that all images have the same size, without reading them.

        Raises:
            InputError: the description of the data set does not fix their size, and `image_size` is not set.
        """
        if not self.sized:
            raise InputError(f"Images of {self.where} may differ in size; set config.data.image_size.")

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        images, _ = self.read(np.atleast_1d(rows))
        return images if np.ndim(rows) else images[0]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images (uint8) and labels of some rows, in their order."""
        images = np.empty((len(rows), *self.decoded), np.uint8)
        labels = np.empty(len(rows), np.int32)

        def read_some(places: np.ndarray) -> None:
            examples = self._read(rows[places].tolist())
            labels[places] = self._labels(examples)
            for place, example in zip(places, examples, strict=True):
                image = self._decode(example[self.image_key])
                if image.shape != self.decoded:
                    raise InputError(
                        f"Images of {self.where} differ in size, for example {self.decoded[:2]} and "
                        f"{image.shape[:2]}; set config.data.image_size."
                    )
                images[place] = image

        step = _EACH if self.threads > 1 else _ROWS
        with ThreadPoolExecutor(self.threads) as pool:
            each = pool.map if self.threads > 1 else map
            list(each(read_some, (np.arange(len(rows))[i : i + step] for i in range(0, len(rows), step))))
        return padded(images, self.config.pad), labels

    def decoded_parts(self, where: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of images and labels, in order; the progress message names the output folder `where`."""
        step = min(_ROWS, max(self.threads * _EACH, _BYTES // math.prod(self.shape[1:])))
        for rows in self._progress("decoding {}", step, where):
            yield self.read(rows)

    def label_parts(self, where: Path) -> Iterator[tuple[None, np.ndarray]]:
        """Yield the same as `decoded_parts`, without the images."""
        for rows in self._progress("reading labels of {}", _ROWS, where):
            yield None, self._labels(self._read(rows.tolist()))

    def _read(self, rows: list[int]) -> list[dict[str, Any]]:
        try:
            return self.examples.__getitems__(rows)
        except Exception as error:
            raise self._unreadable(error) from None

    def _labels(self, examples: list[dict[str, Any]]) -> np.ndarray:
        labels = np.asarray([example[self.label_key] for example in examples], np.int32)
        if labels.min() < 0:
            splits = ", ".join(self.prepared.splits)
            raise InputError(f"{self.where} has no labels; choose another split of {splits}.")
        return labels

    def _decode(self, encoded: bytes) -> np.ndarray:
        """Decode one image: uint8 [height, width, channels], resized and cropped."""
        try:
            mode = {1: "L", 3: "RGB", 4: "RGBA"}[self.channels]
            image = Image.open(io.BytesIO(encoded))
            image = image if image.mode == mode else image.convert(mode)
            image = fit(image, self.config.image_size) if self.config.image_size else image
        except (OSError, SyntaxError, ValueError, KeyError) as error:
            raise self._unreadable(error) from None
        return np.asarray(image).reshape(image.height, image.width, self.channels)

    def _progress(self, what: str, step: int, where: Path) -> Iterator[np.ndarray]:
        """Yield all row numbers in chunks, with a progress bar on a terminal and a line of text otherwise."""
        n, what = len(self.examples), what.format(f"{self.prepared.name} {self.split}")
        if not sys.stderr.isatty():
            print(f"{what} once, {n} images, into {where}", file=sys.stderr)
        with counted(f"{what} once", n, "images") as advance:
            for start in range(0, n, step):
                rows = np.arange(start, min(start + step, n))
                yield rows
                advance(len(rows))

    def _unreadable(self, error: Exception) -> InputError:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        return InputError(
            f"Cannot read {self.where} in {self.prepared.folder}: {why}. If files are damaged, delete the folder and "
            f"run: {prepare_command(self.prepared.name, self.config.data_dir)}"
        )


def _only(keys: list[str], supervised: tuple) -> str | None:
    """Return the key that the data set declares for supervised learning, else the only key, else None."""
    named = [key for key in keys if key in supervised] or keys
    return named[0] if len(named) == 1 else None
