"""Many short rows of images, with a name above each."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcnn.plots.page import MARGIN, WIDTH, add_tile, blank_page, heading, save
from jaxcnn.plots.words import SMALL, add_text, line_height, shortened

_BLOCKS, _BETWEEN, _GAP = 3, 24, 3


def gallery(rows: Mapping[str, np.ndarray], path: str | Path, *, title: str, subtitle: str) -> Path:
    """Draw rows of images, from top to bottom in three columns.

    Args:
        rows: by name images [k, height, width, channels] in 0..1 with 1 or 3 channels, all of the same size.
        path: PNG file to write.
        title, subtitle: texts above.

    Returns:
        `path`.
    """
    most = max(map(len, rows.values()))
    height, width = next(iter(rows.values())).shape[1:3]
    room = (WIDTH - 2 * MARGIN - (_BLOCKS - 1) * _BETWEEN) // _BLOCKS
    wide = (room + _GAP) // most - _GAP
    high = max(1, round(wide * height / width))
    pitch = line_height(SMALL) + 4 + high + 12
    lines = math.ceil(len(rows) / _BLOCKS)
    head = heading(title, subtitle)
    page = blank_page(WIDTH, head.height + lines * pitch + MARGIN // 2)
    top = head.draw(page)
    # Enlarged to whole squares first, so that all pixels have the same size after the reduction to the tile.
    factor = max(1, math.ceil(4 * wide / width))
    for place, (name, images) in enumerate(rows.items()):
        x, y = MARGIN + place // lines * (room + _BETWEEN), top + place % lines * pitch
        add_text(page, x, y + line_height(SMALL) - 4, shortened(name, room, SMALL), SMALL, va="baseline")
        for image in images:
            shown = image.repeat(factor, 0).repeat(factor, 1)
            shown = shown if shown.shape[-1] == 3 else shown[..., 0]
            add_tile(page, shown, x, y + line_height(SMALL) + 4, wide, high, smooth=True, cmap="gray", vmin=0, vmax=1)
            x += wide + _GAP
    return save(page, path)
