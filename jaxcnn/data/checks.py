"""Checks for probable mistakes in images and labels: an error if the values are impossible, otherwise a warning."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jaxcnn.config import Data
from jaxcnn.data.dataset import Split
from jaxcnn.runtime.errors import InputError

# The range of a split is estimated from about this many images, spread evenly over it.
_IMAGES = 1000

# An axis of at most this length is more likely the channel axis than a side of the image.
_CHANNELS = 4

# Ratios of the largest values of training and test images that give a warning and an error; 0..1 against 0..255 is an
# error.
_DOUBTED, _REFUSED = 4, 100


class Range(NamedTuple):
    """Smallest and largest value of images, in the scale of `data.mean` and `data.std`: uint8 is divided by 255."""

    low: float
    high: float

    @property
    def size(self) -> float:
        return max(-self.low, self.high)

    @property
    def signed(self) -> bool:
        """Whether the lowest value is below -10 % of the largest magnitude, more than the ringing of a resize gives."""
        return self.low < -0.1 * self.size


def check_layout(images: np.ndarray, where: str) -> None:
    """Check that channels are the last axis, unless a last or third axis of at most 4 leaves no doubt.

    Args:
        images: [n, height, width, channels].
        where: name of the images in the message.

    Raises:
        InputError: channels come first, as in PyTorch's [n, 3, 32, 32]. An axis of length 1 in that place may be the
            height of a one-dimensional signal, so it is refused only if the other two axes have equal lengths.
    """
    _, first, second, third = images.shape
    if min(second, third) > _CHANNELS and (first in (3, 4) or (first == 1 and second == third)):
        raise InputError(
            f"{where} has shape {images.shape}, which is {first}x{second} pixels of {third} channels. It must be "
            "[n, height, width, channels]; if channels come first, pass images.transpose(0, 2, 3, 1)."
        )


def warnings_about(train: Split | None, test: Split, config: Data) -> Iterator[str]:
    """Yield a warning, one or two sentences with the likely cause, for each probable mistake in the user's images and
    labels.

    Args:
        train, test: splits of one dtype, not empty; train is None if there are only test images, whose labels are then
            not checked.
        config: its `mean` and `std` determine the expected scale.

    Raises:
        InputError: pixels are in an impossible scale.
    """
    first = test if train is None else train
    yield from _scale("test_images" if train is None else "train_images", first.images.dtype, _range(first), config)
    if train is not None:
        yield from _two_ranges(_range(train), _range(test))
        yield from _gaps(np.union1d(train.labels, test.labels))


def unseen_classes(train: Split, test: Split) -> Iterator[str]:
    """Yield a warning if test images have classes that no training image has."""
    unseen = np.setdiff1d(test.labels, train.labels)
    if len(unseen):
        count = int(np.isin(test.labels, unseen).sum())
        yield (
            f"{count} of {len(test)} test images have a class that no training image has (label "
            f"{_listed(unseen)}), which the network cannot learn. Do the training images belong to another split?"
        )


def _range(part: Split) -> Range:
    some = part.images[:: max(1, len(part) // _IMAGES)]
    unit = 255 if some.dtype == np.uint8 else 1
    return Range(float(some.min()) / unit, float(some.max()) / unit)


def _scale(name: str, dtype: np.dtype, found: Range, config: Data) -> Iterator[str]:
    """Yield a warning, or raise InputError if images are uint8 in 0..1, if images are not in 0..1 (uint8: 0..255) and
    mean and std do not account for their scale."""
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
                f"{seen} are for 0..255. Multiply images in 0..1 by 255, or keep 0 and 1 with data.std (1/255,)."
            )
    elif unit == 1 and found.high > 2 and max(mean) <= 1 and max(std) <= 1:
        yield (
            f"{seen} do not scale them down. Pass uint8 in 0..255, or floats in 0..1, or set data.mean and data.std "
            "for this range."
        )


def _two_ranges(train: Range, test: Range) -> Iterator[str]:
    """Yield a warning if the ranges of training and test images differ, or raise InputError from a factor of 100 on."""
    small, large = sorted((train.size, test.size))
    message = (
        f"train_images are in {train.low:.4g}..{train.high:.4g} and test_images in {test.low:.4g}..{test.high:.4g} "
        "(uint8 divided by 255). "
    )
    if small and large >= _REFUSED * small:
        raise InputError(f"{message}Both must have the same scale; was one of them divided by 255 and the other not?")
    if small and large >= _DOUBTED * small:
        yield f"{message}Were they scaled differently?"
    elif train.signed != test.signed:
        yield f"{message}Was the mean subtracted from one of them and not from the other?"


def _gaps(labels: np.ndarray) -> Iterator[str]:
    """Yield a warning if labels, sorted and unique, do not include every number from 0 to the largest."""
    if labels[-1] == len(labels) - 1:
        return
    if labels[0] and labels[-1] - labels[0] == len(labels) - 1:
        yield (
            f"Labels begin at {labels[0]}; classes are numbered from 0, so this needs a network of "
            f"{labels[-1] + 1} classes. Should {labels[0]} be subtracted from every label?"
        )
        return
    yield (
        f"Labels have {len(labels)} different values with gaps ({_listed(labels)}), and the largest needs a network of "
        f"{labels[-1] + 1} classes. Should they be renumbered 0..{len(labels) - 1}, for example with "
        "np.searchsorted(np.unique(train_labels), labels)?"
    )


def _listed(values: Iterable[int], most: int = 5) -> str:
    shown = [str(int(value)) for value in values]
    return ", ".join(shown[:most]) + (f", … ({len(shown)})" if len(shown) > most else "")
