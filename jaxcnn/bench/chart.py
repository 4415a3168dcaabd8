"""Speed of the libraries as a bar chart."""

from pathlib import Path
from typing import Any

from jaxcnn.bench.tables import NAMES, machine, shown_ratio, step_name
from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_panel, blank_page, save
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, TITLE, add_text, shortened

# Their lightness differs, so that a greyscale print distinguishes them.
_COLOURS = {"jaxcnn": "#00558c", "flax": "#e69f00"}
_BAR, _SPACE = 18, 16


def speed_chart(record: dict[str, Any], path: str | Path) -> Path | None:
    """Draw the speed of each library relative to PyTorch for every step, or relative to plain flax without PyTorch.

    Args:
        record: record of a benchmark; steps that lack the reference library, or have too few rounds for a ratio, are
            left out.
        path: .png or .svg file to write; an existing file is replaced only when the new one is complete.

    Returns:
        `path`; None, with nothing drawn, if nothing was compared.
    """
    ours = {name: [m for m in record["steps"] if shown_ratio(m, "jaxcnn", name)] for name in ("torch", "flax")}
    peer = next((name for name, steps in ours.items() if steps), None)
    if peer is None:
        return None
    steps = ours[peer]
    drawn = [name for name in _COLOURS if name != peer and any(shown_ratio(m, name, peer) for m in steps)]
    top, left, right = 92, 210, 60
    tall = len(drawn) * _BAR + _SPACE
    height = tall * len(steps)
    page = blank_page(WIDTH, top + height + 64)
    add_text(page, MARGIN, 14, f"Speed, {NAMES[peer]} = 1", TITLE, va="top", weight="bold")
    add_text(page, MARGIN, 40, shortened(machine(record), WIDTH - 2 * MARGIN, SMALL), SMALL, va="top", color=MUTED)
    panel = add_panel(page, left, top, WIDTH - left - right, height)
    speeds = [
        (i * tall + _SPACE / 2 + (k + 0.5) * _BAR, name, found["ratio"])
        for i, m in enumerate(steps)
        for k, name in enumerate(drawn)
        if (found := shown_ratio(m, name, peer))
    ]
    panel.set(xlim=(0, 1.05 * max(1, *(speed for _, _, speed in speeds))), ylim=(height, 0))
    panel.grid(True, axis="x", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    for y, name, speed in speeds:
        panel.barh(y, speed, height=0.9 * _BAR, color=_COLOURS[name])
        add_text(panel, speed, y, f" {speed:.2f}", SMALL, va="center", bbox={"color": "white", "pad": 0})
    panel.axvline(1, color=INK, linewidth=1.4)
    panel.set_yticks([(i + 0.5) * tall for i in range(len(steps))], labels=[step_name(m) for m in steps])
    panel.tick_params(axis="y", length=0)
    for place, name in enumerate(drawn):
        x = left + place * 140
        page.plot([x, x + 14], [top - 16] * 2, color=_COLOURS[name], linewidth=8, solid_capstyle="butt")
        add_text(page, x + 22, top - 16, NAMES[name], LABEL, va="center")
    return save(page, path)
