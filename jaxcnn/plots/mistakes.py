"""The misclassified images with the most confident predictions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.plots.page import MARGIN, WIDTH, add_tile, blank_page, save
from jaxcnn.plots.words import NARROW, SMALL, TITLE, add_text, line_height, one_line, shortened, text_width
from jaxcnn.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def most_confident_errors(labels: ArrayLike, probabilities: ArrayLike, most: int = 25) -> np.ndarray:
    """Return the wrong predictions, sorted by the probability of the wrong class, largest first.

    Args:
        labels: true classes, integers [n].
        probabilities: class probabilities [n, c]; the prediction is the largest, in a tie the first.
        most: maximum number; 25 fill a picture.

    Returns:
        Indices of examples, int64 [at most `most`]; ties keep their order.

    Raises:
        InputError: the shapes do not match, or `most` is not positive.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(f"probabilities are {probabilities.shape}; with labels {labels.shape} they must be [n, c].")
    if most < 1:
        raise InputError(f"most is {most}; it must be at least 1.")
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:most]]


def confident_errors(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    path: str | Path,
    most: int = 25,
) -> Path:
    """Draw the images whose wrong class has the largest probability, each under `true → predicted, probability`.

    Pixels are enlarged by a whole factor without smoothing; images above 180 pixels are reduced. Only the images that
    are drawn are read, so that `images` may be decoded when they are indexed.

    Args:
        images: [n, height, width, channels]; uint8, or floats, which are rescaled to [0, 1] if they exceed it. Three
            channels are RGB; with any other number the first is shown, in grey.
        labels: true classes, integers [n].
        probabilities: class probabilities [n, c].
        class_names: one name per class, in order; long names are shortened.
        path: PNG file to write. If there are no errors, the picture says so.
        most: maximum number; 25 fill a picture.

    Returns:
        `path`.

    Raises:
        InputError: the shapes do not match.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    worst = most_confident_errors(labels, probabilities, most)
    images = images if hasattr(images, "shape") else np.asarray(images)
    shape, total = images.shape, len(labels)
    if len(shape) != 4 or shape[0] != total:
        raise InputError(f"images are {shape}; with {total} labels they must be [{total}, height, width, channels].")
    if probabilities.shape[1] != len(class_names):
        raise InputError(
            f"class_names has {len(class_names)} names; it must have one for each of {probabilities.shape[1]} classes."
        )
    predictions = probabilities.argmax(axis=1)
    wrong = int((predictions != labels).sum())
    if not wrong:
        return save(_sentence(f"No errors, n = {total}"), path)

    height, width = shape[1:3]
    tile = 180
    factor = tile / max(height, width)
    factor = math.floor(factor) if factor > 1 else factor
    high, wide = math.ceil(height * factor), math.ceil(width * factor)
    names = one_line(class_names)
    pairs = [(names[labels[i]], names[predictions[i]], probabilities[i].max()) for i in worst]
    columns, size, captions = _captions(pairs)
    lines = 1 + max(caption.count("\n") for caption in captions)
    across = min(columns, len(worst))
    pitch = (WIDTH - 2 * MARGIN) // columns
    header, row = 56, lines * line_height(size) + 6 + high + 18
    heading = f"{wrong} error{'s' * (wrong > 1)}, n = {total}"
    heading = f"{len(worst)} most confident of {heading}" if len(worst) < wrong else heading
    page_width = max(across * pitch, math.ceil(text_width(heading, TITLE, "bold"))) + 2 * MARGIN
    page = blank_page(page_width, header + math.ceil(len(worst) / columns) * row)
    add_text(page, page_width / 2, 14, heading, TITLE, ha="center", va="top", weight="bold")
    start = (page_width - across * pitch) / 2
    drawn = np.asarray(images[worst])
    for place, (caption, image) in enumerate(zip(captions, _unit(drawn), strict=True)):
        centre = start + (place % columns + 0.5) * pitch
        top = header + place // columns * row + lines * line_height(size) + 6
        add_text(page, centre, top - 6, caption, size, ha="center", va="bottom")
        add_tile(page, image, round(centre - wide / 2), top, wide, high, smooth=factor < 1, cmap="gray", vmin=0, vmax=1)
    return save(page, path)


def _sentence(text: str) -> "Axes":
    """Return a page with only this text."""
    page = blank_page(math.ceil(text_width(text, TITLE, "bold")) + 8 * MARGIN, 120)
    add_text(page, page.get_xlim()[1] / 2, 60, text, TITLE, ha="center", va="center", weight="bold")
    return page


def _captions(pairs: Sequence[tuple[str, str, float]]) -> tuple[int, float, list[str]]:
    """Return grid columns, font size, and captions that fit: one line, two lines, or two lines in a smaller font."""
    room = (WIDTH - 2 * MARGIN) // 5 - 10
    captions = [f"{true} → {predicted}, {p:.2f}" for true, predicted, p in pairs]
    if max(text_width(caption, SMALL) for caption in captions) <= room:
        return 5, SMALL, captions
    columns, size = 5, SMALL
    halves = [text for true, predicted, p in pairs for text in (true, f"→ {predicted}, {p:.2f}")]
    if max(text_width(half, SMALL) for half in halves) > room:
        columns, size, room = 4, NARROW, (WIDTH - 2 * MARGIN) // 4 - 10
    rest = room - text_width("→ , 0.00", size)
    cut = [(shortened(true, room, size), shortened(predicted, rest, size), p) for true, predicted, p in pairs]
    return columns, size, [f"{true}\n→ {predicted}, {p:.2f}" for true, predicted, p in cut]


def _unit(images: np.ndarray) -> np.ndarray:
    """Convert images to floats in [0, 1], RGB [n, height, width, 3] or grey [n, height, width]."""
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        images = (images - low) / ((high - low) or 1)
    return images if images.shape[3] == 3 else images[..., 0]
