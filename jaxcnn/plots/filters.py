"""The filters of the first convolution."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.plots.page import MARGIN, SIGNED, WIDTH, add_colour_bar, add_tile, blank_page, colour_map, save
from jaxcnn.plots.words import TITLE, add_text, text_width
from jaxcnn.runtime.errors import InputError


def first_layer_filters(kernel: ArrayLike, path: str | Path, *, channel_order: Literal["rgb", "bgr"] = "rgb") -> Path:
    """Draw the filters of a convolution whose input is the image.

    Filters over three channels are shown in colour, each stretched to its own range. Filters over one channel share one
    scale, symmetric about 0, dark for negative and light for positive weights. For other numbers of channels, the first
    8 input channels (rows) of the first 16 filters (columns) are shown on such a scale.

    Args:
        kernel: weights [height, width, in, out].
        path: PNG file to write.
        channel_order: order of the kernel's input channels, as in `Data.channel_order`, if there are three.

    Returns:
        `path`.

    Raises:
        InputError: the kernel does not have four axes of at least 1.
    """
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim != 4 or not kernel.size:
        raise InputError(f"kernel is {kernel.shape}; it must be a convolution kernel [height, width, in, out].")
    height, width, channels, filters = kernel.shape
    title = f"{filters} filter{'s' * (filters > 1)} of {height}x{width}x{channels}"
    rgb = channels == 3
    if rgb:
        title += ", each stretched to its own range"
        if channel_order == "bgr":
            kernel = kernel[:, :, ::-1]
        low, high = kernel.min(axis=(0, 1, 2)), kernel.max(axis=(0, 1, 2))
        tiles = np.moveaxis((kernel - low) / np.where(high > low, high - low, 1), 3, 0)
    else:
        shown = kernel[:, :, :8, :16] if channels > 1 else kernel
        if shown.size < kernel.size:
            title += f": the first {shown.shape[2]} channels (rows) of the first {shown.shape[3]} (columns)"
        tiles = shown.transpose(2, 3, 0, 1).reshape(-1, height, width)
    columns = math.ceil(filters / math.ceil(filters / 16)) if channels in (1, 3) else shown.shape[3]
    rows, gap, right = math.ceil(len(tiles) / columns), 8, 0 if rgb else 90
    room = (WIDTH - 2 * MARGIN - right) // columns - gap
    factor = max(1, min(room // width, 96 // max(height, width)))
    high, wide, top = height * factor, width * factor, 54
    grid = columns * (wide + gap) - gap
    page_width = max(grid + right, math.ceil(text_width(title, TITLE, "bold"))) + 2 * MARGIN
    page = blank_page(page_width, top + rows * (high + gap) - gap + MARGIN)
    add_text(page, MARGIN, 14, title, TITLE, va="top", weight="bold")
    limit = float(np.abs(tiles).max()) or 1.0
    style = {} if rgb else {"cmap": colour_map(SIGNED), "vmin": -limit, "vmax": limit}
    for place, tile in enumerate(tiles):
        x, y = MARGIN + place % columns * (wide + gap), top + place // columns * (high + gap)
        image = add_tile(page, tile, x, y, wide, high, **style)
    if not rgb:
        tall = min(rows * (high + gap) - gap, 240)
        add_colour_bar(page, image, MARGIN + grid + 20, top, tall, lambda v: f"{v:.2g}")
    return save(page, path)
