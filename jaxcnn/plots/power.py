"""How often tests raise an alarm, over the number of images: without a shift, and with one."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_panel, blank_page, heading, save
from jaxcnn.plots.sweeps import COLOURS, end_labels
from jaxcnn.plots.words import LABEL, MUTED, SMALL, add_text, text_width

_LEFT, _TALL, _GAP = 72, 190, 62


def power_curves(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    sizes: Sequence[int],
    path: str | Path,
    *,
    title: str,
    subtitle: str,
    level: float,
    limits: tuple[float, float],
) -> Path:
    """Draw the share of alarms of every test, one panel below the other; in the first there is no shift.

    Args:
        panels: by the sentence above a panel, the shares in 0..1 by name of the test, one for each size; at most as
            many tests as `COLOURS`.
        sizes: numbers of images of each sample.
        path: PNG file to write.
        title, subtitle: texts above; long ones are broken into lines.
        level: the largest accepted share of false alarms, a dashed line.
        limits: shares that are compatible with the level, a band in the first panel.

    Returns:
        `path`.
    """
    names = [*next(iter(panels.values()))]
    right = 24 + math.ceil(max(text_width(name, SMALL, "bold") for name in names))
    width = WIDTH - _LEFT - right
    head = heading(title, subtitle)
    page = blank_page(WIDTH, head.height + len(panels) * (_TALL + _GAP) + 36)
    top = head.draw(page) + 24
    for place, (sentence, shares) in enumerate(panels.items()):
        y = top + place * (_TALL + _GAP)
        panel = add_panel(page, _LEFT, y, width, _TALL)
        add_text(page, MARGIN, y - 10, sentence, LABEL, va="bottom", weight="bold")
        # False alarms are rare; on the scale of power they would be a line at the bottom.
        most = max(2 * limits[1], *(1.1 * share for each in shares.values() for share in each)) if not place else 1
        panel.set(xscale="log", xlim=(0.93 * sizes[0], 1.07 * sizes[-1]), ylim=(-0.03 * most, 1.03 * most))
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        panel.grid(True, axis="y", color=FAINT, linewidth=0.6, linestyle="-")
        panel.set_axisbelow(True)
        panel.axhline(level, color=MUTED, linewidth=1.2, linestyle="--")
        if not place:
            panel.axhspan(*limits, color=FAINT, alpha=0.5, linewidth=0)
        ends = []
        for name, colour in zip(names, COLOURS, strict=False):
            style = {"linestyle": "-", "linewidth": 1.8, "marker": "o", "markersize": 4}
            panel.plot(sizes, shares[name], color=colour, **style)
            ends.append((shares[name][-1], [name], colour))
        end_labels(page, panel, ends)
    add_text(page, _LEFT + width / 2, y + _TALL + 48, "images of each sample", LABEL, ha="center", va="bottom")
    return save(page, path)
