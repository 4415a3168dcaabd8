"""Images and labels that a user probably did not mean: an error where nobody can mean them, else a warning."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jaxcnn.config import Data
from jaxcnn.data.dataset import Split
from jaxcnn.runtime.errors import InputError

# About so many images of a part, from everywhere in it, tell its range.
_IMAGES = 1000

# A side of at most so many pixels is more likely the axis of the channels.
_CHANNELS = 4

# Ratios of the largest values of training and test images: one is doubted, the other is that of 0..1 and 0..255.
_DOUBTED, _REFUSED = 4, 100


class Range(NamedTuple):
    """Smallest and largest value of images, in the scale of `data.mean` and `data.std`: uint8 divided by 255."""

    low: float
    high: float

    @property
    def size(self) -> float:
        return max(-self.low, self.high)

    @property
    def signed(self) -> bool:
        """Whether negative values are more than the ringing of a resize."""
        return self.low < -0.1 * self.size


def check_layout(images: np.ndarray, where: str) -> None:
    """Check that the channels are the last axis.

    Args:
        images: [n, height, width, channels].
        where: names the images in the message.

    Raises:
        InputError: the shape is one of channels first, as PyTorch's [n, 3, 32, 32]. One row of pixels may be a signal,
            and is refused only where the other two axes are as long as each other.
    """
    _, first, second, third = images.shape
    if min(second, third) > _CHANNELS and (first in (3, 4) or (first == 1 and second == third)):
        raise InputError(
            f"{where} has shape {images.shape}, which is {first}x{second} pixels of {third} channels. It must be "
            " [n, height, width, channels]; if channels come first, give images.transpose(0, 2, 3, 1)."
        )


def doubts(train: Split | None, test: Split, config: Data) -> Iterator[str]:
    """What is probably not meant of images and labels that a user gives: one sentence or two for each, with the cause.

    Args:
        train, test: of one dtype, not empty; train is None where there are test images alone.
        config: its `mean` and `std` say which scale is expected.

    Raises:
        InputError: pixels are in a scale that cannot be meant.
    """
    first = test if train is None else train
    yield from _scale("test_images" if train is None else "train_images", first.images.dtype, _range(first), config)
    if train is not None:
        yield from _two_ranges(_range(train), _range(test))
        yield from _gaps(np.union1d(train.labels, test.labels))


def unseen_classes(train: Split, test: Split) -> Iterator[str]:
    """A doubt where test images have classes that no training image has."""
    unseen = np.setdiff1d(test.labels, train.labels)
    if len(unseen):
        count = int(np.isin(test.labels, unseen).sum())
        yield (
            f"{count} of {len(test)} test images have a class that no training image has (label "
            f"{_listed(unseen)}), which the network cannot learn. Are the training images those of another split?"
        )


def _range(part: Split) -> Range:
    some = part.images[:: max(1, len(part) // _IMAGES)]
    unit = 255 if some.dtype == np.uint8 else 1
    return Range(float(some.min()) / unit, float(some.max()) / unit)


def _scale(name: str, dtype: np.dtype, found: Range, config: Data) -> Iterator[str]:
    """A doubt where images are in another scale than 0..1 (uint8: 0..255), and the mean and std do not allow for it."""
    mean, std = config.mean or (0.0,), config.std or (1.0,)
    unit = 255 if dtype == np.uint8 else 1
    seen = f"{name} are {dtype} in {found.low * unit:g}..{found.high * unit:g}, and data.mean {mean} and data.std {std}"
    if found.low < 0:
        return
    if 0 < found.high <= 1 / 8 and min(std) > 1.01 * found.high:
        if unit == 1:
            yield f"{seen} leave hardly any contrast. Were the images divided by 255 twice?"
        elif found.high > 1 / 255:
            yield f"{seen} are for 0..255, which leaves hardly any contrast. Should the images be scaled to 0..255?"
        else:
            raise InputError(
                f"{seen} are for 0..255. Multiply by 255 what was in 0..1, or keep 0 and 1 with data.std (1/255,)."
            )
    elif unit == 1 and found.high > 2 and max(mean) <= 1 and max(std) <= 1:
        yield (
            f"{seen} do not scale them down. Give uint8 in 0..255, or floats in 0..1, or set data.mean and data.std "
            "for this range."
        )


def _two_ranges(train: Range, test: Range) -> Iterator[str]:
    """A doubt where training and test images are in different ranges."""
    small, large = sorted((train.size, test.size))
    message = (
        f"train_images are in {train.low:.4g}..{train.high:.4g} and test_images in {test.low:.4g}..{test.high:.4g} "
        "(uint8 divided by 255). "
    )
    if small and large >= _REFUSED * small:
        raise InputError(f"{message}Both must have one scale; was one of them divided by 255 and the other not?")
    if small and large >= _DOUBTED * small:
        yield f"{message}Were they scaled differently?"
    elif train.signed != test.signed:
        yield f"{message}Was the mean subtracted from one of them and not from the other?"


def _gaps(labels: np.ndarray) -> Iterator[str]:
    """A doubt where labels, sorted and unique, are not all the numbers from 0 to the largest."""
    if labels[-1] == len(labels) - 1:
        return
    if labels[0] and labels[-1] - labels[0] == len(labels) - 1:
        yield (
            f"Labels begin at {labels[0]}; classes are numbered from 0, so this takes a network of "
            f"{labels[-1] + 1} classes. Should {labels[0]} be subtracted from every label?"
        )
        return
    yield (
        f"Labels have {len(labels)} different values with gaps ({_listed(labels)}), and the largest takes a network of "
        f"{labels[-1] + 1} classes. Should they be numbered 0..{len(labels) - 1}, as by np.searchsorted("
        "np.unique(train_labels), labels)?"
    )


def _listed(values: Iterable[int], most: int = 5) -> str:
    shown = [str(int(value)) for value in values]
    return ", ".join(shown[:most]) + (f", … ({len(shown)})" if len(shown) > most else "")
