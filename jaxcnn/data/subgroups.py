"""Subgroups of labelled images, between which there is a shift: thick and thin strokes, classes, shares of classes."""

import re
from typing import Any

import numpy as np

from jaxcnn.data.streams import Stream, shuffled
from jaxcnn.runtime.errors import InputError

GRAMMAR = "thick, thin, classes=0-4 (or classes=0-2.7, joined by dots) or tail=10"
"""The words that name a subgroup."""

# Images whose strokes are measured at once.
_CHUNK = 1000


def subgroup_rows(text: str, images: Any, labels: np.ndarray) -> np.ndarray:
    """Return the rows of a subgroup, in order.

    Args:
        text: one of these words, or several joined by @, each of which selects from what the previous one leaves.

            * thick, thin: the half of the images with the thicker or the thinner strokes, by `stroke_widths`. Of
              images with the median width, those that come first are thin.
            * classes=0-4: the images of these classes; classes=0-2.7 are 0, 1, 2 and 7.
            * tail=10: other shares of the classes, a long tail: of K classes, the k-th keeps 10^(-k/(K-1)) of the
              largest number that these shares allow (Cui et al. 2019, Class-balanced loss, section 5.1); the images
              are drawn with seed 0.
        images: [n, height, width, channels].
        labels: int [n].

    Raises:
        InputError: the text is none of these, or the subgroup is empty.
    """
    rows = np.arange(len(labels))
    for word in text.split("@"):
        rows = rows[_rows(word, images, labels, rows)]
        if not len(rows):
            raise InputError(f"subgroup {text!r} has no images; choose another.")
    return rows


def is_subgroup(word: str) -> bool:
    """Return whether a word names a subgroup."""
    return bool(re.fullmatch(r"thick|thin|classes=\d+(-\d+)?(\.\d+(-\d+)?)*|tail=\d+(\.\d+)?", word))


def stroke_widths(images: Any) -> np.ndarray:
    """Return the mean width of the strokes of each image, in pixels: float32 [n]; 0 for an empty image.

    It is twice the area of the ink over its perimeter, which is the width of a long line. The area is the sum of the
    pixels and the perimeter their total variation, which for a drawing in black and white is the length of its outline
    (by the coarea formula, for a grey one it is the mean over all thresholds), so that no threshold is needed.

    Args:
        images: [n, height, width, channels], ink bright on 0, in any scale; channels are averaged.
    """
    widths = np.zeros(len(images), np.float32)
    for start in range(0, len(images), _CHUNK):
        ink = np.asarray(images[start : start + _CHUNK]).astype(np.float32).mean(-1)
        ink = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
        down, right = np.diff(ink, axis=1)[:, :, :-1], np.diff(ink, axis=2)[:, :-1]
        perimeter = np.hypot(down, right).sum((1, 2))
        area = 2 * ink.sum((1, 2))
        widths[start : start + _CHUNK] = np.divide(area, perimeter, out=np.zeros_like(area), where=perimeter > 0)
    return widths


def balanced_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` rows with numbers of images per class that differ by at most 1, unless a class has too few.

    For the same seed, a smaller selection is a subset of a larger one.
    """
    order = shuffled(len(labels), seed, Stream.LABELLED)
    drawn, turn = labels[order], np.empty(len(labels), np.int64)
    for each in np.unique(drawn):
        turn[drawn == each] = np.arange(np.sum(drawn == each))
    return order[np.argsort(turn, kind="stable")][:count]


def _rows(word: str, images: Any, labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the places in `among`, rows of the images, that a word selects."""
    if not is_subgroup(word):
        raise InputError(f"subgroup is {word!r}; it must be {GRAMMAR}, several joined by @.")
    name, _, value = word.partition("=")
    labels = labels[among]
    if name == "classes":
        ends = ([int(end) for end in part.split("-")] for part in value.split("."))
        return np.flatnonzero(np.isin(labels, [each for part in ends for each in range(part[0], part[-1] + 1)]))
    if name == "tail":
        return _tail(labels, float(value))
    order = np.argsort(_widths_of(images, among), kind="stable")
    half = len(order) // 2
    return np.sort(order[half:] if name == "thick" else order[:half])


def _widths_of(images: Any, rows: np.ndarray) -> np.ndarray:
    parts = [stroke_widths(images[rows[i : i + _CHUNK]]) for i in range(0, len(rows), _CHUNK)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _tail(labels: np.ndarray, ratio: float) -> np.ndarray:
    if ratio < 1:
        raise InputError(f"subgroup is 'tail={ratio:g}'; the ratio of the largest class to the smallest must be >= 1.")
    classes, counts = np.unique(labels, return_counts=True)
    shares = ratio ** (-np.arange(len(classes)) / max(1, len(classes) - 1))
    wanted = np.maximum(1, np.floor(shares * np.min(counts / shares))).astype(int)
    order = shuffled(len(labels), 0, Stream.TAIL)
    kept = [order[labels[order] == each][:count] for each, count in zip(classes, wanted, strict=True)]
    return np.sort(np.concatenate(kept))
