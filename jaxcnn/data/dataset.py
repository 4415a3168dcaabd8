"""A data set: training, validation and test splits of images with labels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.runtime.errors import InputError


class MissingData(InputError):
    """The data are not where the configuration expects them; the message says how to get them there."""


class Rows:
    """Selected rows of an array, read when they are indexed, so that a large memory map is never copied as a whole.

    Attributes:
        source: the array, or an object with its shape and indexing.
        index: int [n], the selected rows of `source`, in order.
    """

    def __init__(self, source: Any, index: np.ndarray) -> None:
        self.source, self.index = source, index
        self.shape, self.dtype, self.ndim = (len(index), *source.shape[1:]), source.dtype, source.ndim
        self.nbytes = math.prod(self.shape) * source.dtype.itemsize

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.source[self.index[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.source[self.index], dtype)


class Mapped:
    """Images that a function computes from other images when they are indexed.

    Attributes:
        source: the other images.
        function: `(images, rows) -> images`, of some images and their rows in `source`, which may serve as seeds.
    """

    # Images that are computed at once where all are read.
    _CHUNK = 500

    def __init__(
        self, source: Any, function: Callable[[np.ndarray, np.ndarray], np.ndarray], shape: tuple[int, int, int]
    ) -> None:
        """Keep the images; `shape` is the height, width and channels of what the function returns, in the dtype of
        `source`."""
        self.source, self.function = source, function
        self.shape, self.dtype, self.ndim = (len(source), *shape), source.dtype, 4
        self.nbytes = math.prod(self.shape) * source.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        index = np.arange(len(self))[rows]
        some = np.atleast_1d(index)
        parts = [some[i : i + self._CHUNK] for i in range(0, len(some), self._CHUNK)]
        empty = np.zeros((0, *self.shape[1:]), self.dtype)
        images = np.concatenate([empty, *(self.function(np.asarray(self.source[part]), part) for part in parts)])
        return images if np.ndim(index) else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def chosen(images: Any, rows: np.ndarray) -> Rows:
    """Return rows of images without copying an image; rows of `Rows` are rows of what these select from."""
    return Rows(images.source, images.index[rows]) if isinstance(images, Rows) else Rows(images, rows)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: [n, height, width, channels]; uint8 in 0..255, or float32 in any scale; may be a memory map,
            rows of one, or images that are decoded when they are indexed.
        labels: int32 [n], from 0.
    """

    images: np.ndarray | Rows
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of a data set.

    Attributes:
        train: the split to train on; None if `load` received only test images.
        test: the split to report results on.
        validation: the split for model selection, taken from the training images; None if `Data.validation` is 0.
        class_names: a name for each class of the source.
        unlabelled: images of the target to train on, without their labels; None if `Data.target` is empty.
        target: labelled images of the target, for the score at the end and nothing else; None likewise.
        about_target: one line that says what the target images are.
    """

    train: Split | None
    test: Split
    validation: Split | None
    class_names: tuple[str, ...]
    unlabelled: Any = None
    target: Split | None = None
    about_target: str = ""


def check_labels(dataset: Dataset, num_classes: int) -> None:
    """Check that every label is a class of the network.

    Raises:
        InputError: a label is `num_classes` or more; gathering its logit would silently return another class's.
    """
    parts = {name: getattr(dataset, name) for name in ("train", "validation", "test", "target")}
    for name, part in parts.items():
        outside = part.labels[part.labels >= num_classes] if part else ()
        if len(outside):
            raise InputError(
                f"Label {outside.max()} is outside 0..{num_classes - 1}, the classes of the network (num_classes "
                f"{num_classes}); so are {len(outside)} of {len(part)} {name} labels. "
                + _label_hint(np.unique(np.concatenate([p.labels for p in parts.values() if p])), num_classes)
            )


def _label_hint(labels: np.ndarray, num_classes: int) -> str:
    """Return what to do about labels (sorted, unique), the largest of which is not a class of the network."""
    first, last = int(labels[0]), int(labels[-1])
    if first and last - first < num_classes:
        return f"Labels begin at {first} instead of 0; subtract {first} from each."
    if len(labels) <= num_classes:
        values = f"Only {len(labels)} different labels occur"
        return f"{values}; renumber them 0..{len(labels) - 1}, or set config.model.num_classes to {last + 1}."
    return f"Set config.model.num_classes to {last + 1}."


def fit(image: Any, size: int) -> Any:
    """Resize the short side of a PIL image to `size` (bilinear, antialiased) and cut out the central square.

    The long side is rounded down and the margin is rounded to even, as torchvision's Resize and CenterCrop do.
    """
    from PIL import Image

    width, height = image.size
    short = min(width, height)
    if short != size:
        width, height = width * size // short, height * size // short
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def padded(images: np.ndarray, pad: int) -> np.ndarray:
    """Pad images [n, height, width, channels] with `pad` rows and columns of zeros on every side."""
    return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else images


def framed(images: np.ndarray, image_size: int | None, pad: int) -> np.ndarray:
    """Resize images [n, height, width, channels] to a short side (None: leave them), crop the central square, and pad
    them with zeros."""
    from PIL import Image

    if image_size and len(images):
        planes = np.moveaxis(images, -1, 1)
        resized = [[np.asarray(fit(Image.fromarray(p), image_size)) for p in image] for image in planes]
        images = np.moveaxis(np.asarray(resized), 1, -1)
    return padded(images, pad)
