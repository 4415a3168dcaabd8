"""Pictures of batch normalization and local response normalization on real images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.describe.norm_examples import BatchNormExample, LocalResponseExample, response_share
from jaxcnn.norms import Statistics
from jaxcnn.plots.page import MARGIN, SIGNED, WIDTH, add_panel, add_tile, blank_page, colour_map, save
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, TITLE, add_text, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Their lightness differs, so that a greyscale print distinguishes them.
_DARK, _LIGHT = "#00558c", "#b7d3ea"
_BINS = 60
_MARKS = {
    "a training batch": {"marker": "o", "markersize": 3.5, "color": _LIGHT, "mec": _DARK, "mew": 0.4},
    "moving average": {"marker": "D", "markersize": 8, "mfc": "none", "mec": INK, "mew": 1.4},
    "the batch shown": {"marker": "s", "markersize": 4.5, "color": INK},
}
_BEFORE = {"marker": "s", "markersize": 9, "color": _LIGHT, "mec": _DARK, "mew": 0.8}
_AFTER = {"marker": "s", "markersize": 9, "color": _DARK}
_RAW = {"marker": "o", "markersize": 6, "color": _DARK}
_UNIT = {"marker": "s", "markersize": 7, "mfc": "white", "mec": INK, "mew": 1.2}


def batch_norm(example: BatchNormExample, path: str | Path) -> Path:
    """Draw the values of every map after each step, and the statistics that inference may use.

    Args:
        example: result of `norm_examples.batch_norm_example`.
        path: .svg or .png file to write; an existing file is replaced only when the new one is complete.

    Returns:
        `path`.
    """
    n, height, width, channels = example.x.shape
    wide, tall, pitch, top = 200, 70, 102, 230
    bottom = top + channels * pitch
    page = blank_page(WIDTH, bottom + 54)
    add_text(page, MARGIN, 14, "Batch normalization, step by step", TITLE, va="top", weight="bold")
    note = f"After C1 of an untrained LeNet-5, {n} digits. Histograms of {n} x {height} x {width} values per map; "
    note += "the background's bar is cut off."
    add_text(page, MARGIN, 40, note, SMALL, va="top", color=MUTED)
    side = 46
    for i, image in enumerate(example.images[: (WIDTH - 2 * MARGIN + 6) // (side + 6)]):
        add_tile(page, image[..., 0], MARGIN + i * (side + 6), 68, side, side, cmap="gray_r", vmin=0, vmax=255)

    columns = (96, 314, 532, 790)
    heads = (
        ("1  output of C1", "x, with mean μ, deviation σ"),
        ("2  normalized", "(x − μ) / √(σ² + ε)"),
        ("3  scaled and shifted", "filled: training, line: inference"),
        ("4  population", "→ μ error, in σ   ↑ σ ratio"),
    )
    for left, (head, note) in zip(columns, heads, strict=True):
        add_text(page, left, top - 88, head, LABEL, va="top", weight="bold")
        add_text(page, left, top - 66, note, SMALL, va="top", color=MUTED)

    batch, scale, shift = (np.asarray(v) for v in (example.batch, example.scale, example.shift))
    means, deviations = batch[0], np.sqrt(batch[1])
    captions = (
        [f"μ {_signed(means[c])}   σ {deviations[c]:.2f}" for c in range(channels)],
        ["μ 0.00   σ 1.00"] * channels,
        [f"γ {scale[c]:.2f}   β {_signed(shift[c])}" for c in range(channels)],
    )
    steps = ((example.x, example.x), (example.normalised, example.normalised), (example.y, example.inferred))
    for left, (filled, line), words in zip(columns, steps, captions, strict=False):
        _histograms(page, (left, top, wide, tall, pitch), np.asarray(filled), np.asarray(line), words)
    _statistics(page, (columns[3], top, WIDTH - MARGIN - columns[3], tall, pitch), example)

    kernel = np.asarray(example.kernel)[:, :, 0]
    limit = float(np.abs(kernel).max())
    for c in range(channels):
        middle = top + c * pitch + tall / 2
        add_text(page, MARGIN, middle - 20, f"map {c + 1}", LABEL, va="center", weight="bold")
        style = {"cmap": colour_map(SIGNED), "vmin": -limit, "vmax": limit}
        add_tile(page, kernel[..., c], MARGIN, middle - 6, 35, 35, **style)
    _legend(page, bottom + 22, len(example.batches.mean))
    return save(page, path)


def local_response_norm(example: LocalResponseExample, path: str | Path) -> Path:
    """Draw the responses of all maps at one position before and after the norm, and the share that is left of each.

    Args:
        example: result of `norm_examples.local_response_example`.
        path: .svg or .png file to write; an existing file is replaced only when the new one is complete.

    Returns:
        `path`.
    """
    maps, i, window = len(example.raw), example.channel, example.window(example.channel)
    left, top, tall, lower, low = 268, 112, 236, 436, 118
    page = blank_page(WIDTH, lower + low + 118)
    add_text(page, MARGIN, 14, "Local response normalization, at one position", TITLE, va="top", weight="bold")
    note = f"C3 of an untrained LeNet-5, {maps} maps after ReLU, pixels in 0..255; "
    note += f"n = {example.size}, k = {example.k:g}, "
    note += f"α = {example.alpha:g}, β = {example.beta:g}, as in the paper"
    add_text(page, MARGIN, 40, note, SMALL, va="top", color=MUTED)
    wide = WIDTH - MARGIN - left
    _seen(page, example, MARGIN, top, 168)
    _profile(page, example, (left, top, wide, tall))
    _shares(page, example, (left, lower, wide, low))
    unit = response_share(example.unit, example.unit_normalised)
    trap = (
        "Small responses are only",
        f"scaled, by 1/k^β = {example.k**-example.beta:.4f}.",
        "Large responses inhibit",
        "their neighbours.",
        f"Pixels in 0..1: b/a from\n{np.nanmin(unit):.4f} to {np.nanmax(unit):.4f}.",
    )
    add_text(page, MARGIN, lower, "\n".join(trap), SMALL, va="top")
    squares = " + ".join(f"{value:.0f}²" for value in example.raw[window.start : window.stop])
    words = f"map {i + 1}:   b = {example.raw[i]:.0f} / ({example.k:g} + {example.alpha:g} · ({squares})) ^ "
    words += f"{example.beta:g} = {example.raw_normalised[i]:.1f}"
    add_text(page, left, lower + low + 98, words, LABEL, va="bottom", weight="bold")
    return save(page, path)


def _seen(page: "Axes", example: LocalResponseExample, left: int, top: int, side: int) -> None:
    """Draw the image and, on it, the receptive field of the position."""
    from matplotlib.patches import Rectangle

    add_tile(page, example.image[..., 0], left, top, side, side, cmap="gray_r", vmin=0, vmax=255)
    pixel = side / len(example.image)
    row, column = example.corner
    place, length = (left + column * pixel, top + row * pixel), example.side * pixel
    for colour, line in (("white", 4.0), (INK, 1.8)):
        page.add_patch(Rectangle(place, length, length, fill=False, edgecolor=colour, linewidth=line, zorder=3))
    words = f"receptive field of the\nposition, {example.side}x{example.side} pixels"
    add_text(page, left, top + side + 10, words, SMALL, va="top")


def _profile(page: "Axes", example: LocalResponseExample, place: tuple[int, int, int, int]) -> None:
    """Draw the responses before and after as bars, and above them the windows of the largest and of a map at an end."""
    left, top, wide, tall = place
    count, most = len(example.raw), float(example.raw.max())
    maps = np.arange(1, count + 1)
    panel = add_panel(page, left, top, wide, tall)
    panel.bar(maps, example.raw, width=0.8, color=_LIGHT, edgecolor=_DARK, linewidth=0.8)
    panel.bar(maps, example.raw_normalised, width=0.5, color=_DARK)
    panel.set(xlim=(0.4, count + 0.6), ylim=(0, 1.3 * most))
    panel.set_xticks(maps)
    panel.tick_params(axis="x", length=0)
    for channel in (example.channel, count - 1 if example.channel < count / 2 else 0):
        window, y, hook = example.window(channel), 1.08 * most, 0.03 * most
        low, high = window.start + 0.55, window.stop + 0.45
        panel.plot([low, low, high, high], [y - hook, y, y, y - hook], color=INK, linewidth=1.4)
        panel.plot([channel + 1], [y], marker="v", markersize=7, color=INK)
        words = f"window of map {channel + 1}: {window.start + 1} to {window.stop}"
        if len(window) < example.size:
            words += ", truncated at the end"
        middle = (low + high) / 2
        align = "left" if middle < 3 else "right" if middle > count - 2 else "center"
        add_text(
            panel, {"left": low, "right": high}.get(align, middle), y + 1.8 * hook, words, SMALL, ha=align, va="bottom"
        )
    _heading(page, left, top, wide, "Responses", ("a, before", _BEFORE), ("b, after", _AFTER))


def _heading(page: "Axes", left: int, top: int, wide: int, title: str, *keys: tuple[str, dict]) -> None:
    """Write the title above a panel and, flush right, the marks with their meanings."""
    add_text(page, left, top - 14, title, LABEL, va="bottom", weight="bold")
    right = left + wide
    for words, style in reversed(keys):
        right -= text_width(words, SMALL)
        add_text(page, right, top - 14, words, SMALL, va="bottom")
        right -= 14
        page.plot([right], [top - 22], linestyle="none", **style)
        right -= 22


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _histograms(
    page: "Axes", place: tuple[int, ...], filled: np.ndarray, line: np.ndarray, captions: list[str]
) -> None:
    """Draw a column of histograms on one scale, one per map, each with a dashed line at the mean and a caption."""
    left, top, wide, tall, pitch = place
    low, high = min(filled.min(), line.min()), max(filled.max(), line.max())
    edges = np.linspace(low, high, _BINS + 1)
    for c, caption in enumerate(captions):
        panel = add_panel(page, left, top + c * pitch, wide, tall)
        counts, others = (np.histogram(values[..., c], edges)[0] for values in (filled, line))
        # The background of the images has a single value, whose bar would dwarf the others.
        panel.set(xlim=(low, high), ylim=(0, 1.2 * np.sort(counts)[-4]), yticks=[])
        panel.stairs(counts, edges, fill=True, color=_LIGHT)
        panel.stairs(others, edges, color=_DARK, linewidth=1.1)
        panel.axvline(filled[..., c].mean(), color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
        panel.spines["left"].set_visible(False)
        panel.tick_params(labelbottom=c == len(captions) - 1, left=False)
        add_text(page, left, top + c * pitch - 4, caption, SMALL, va="bottom")


def _statistics(page: "Axes", place: tuple[int, ...], example: BatchNormExample) -> None:
    """Draw a column of scatter plots on one scale, one per map, of statistics relative to the population's."""
    left, top, wide, tall, pitch = place
    mean, sd = (np.asarray(v) for v in (example.population.mean, np.sqrt(example.population.var)))

    def relative(statistics: Statistics) -> np.ndarray:
        """Return the relative mean and standard deviation, [2, ..., channels]."""
        return np.stack([(np.asarray(statistics.mean) - mean) / sd, np.sqrt(np.asarray(statistics.var)) / sd])

    drawn = [relative(statistics) for statistics in (example.batches, example.running, example.batch)]
    across, up = (np.concatenate([values[i].ravel() for values in drawn]) for i in (0, 1))
    margin = 0.08 * np.ptp(up)
    for c in range(len(mean)):
        panel = add_panel(page, left, top + c * pitch, wide, tall)
        panel.axvline(0, color=MUTED, linewidth=0.8)
        panel.axhline(1, color=MUTED, linewidth=0.8)
        for values, style in zip(drawn, _MARKS.values(), strict=True):
            panel.plot(*values[..., c], linestyle="none", clip_on=False, **style)
        limit = 1.08 * np.abs(across).max()
        panel.set(xlim=(-limit, limit), ylim=(up.min() - margin, up.max() + margin), yticks=[1.0, 1.1])
        panel.tick_params(labelbottom=c == len(mean) - 1)


def _legend(page: "Axes", y: float, batches: int) -> None:
    """Draw the legend of the fourth column, flush right."""
    words = [*_MARKS, f"crossing of the lines: population, algorithm 2 on {batches} batches"]
    right = WIDTH - MARGIN
    for word in reversed(words):
        right -= text_width(word, SMALL)
        add_text(page, right, y, word, SMALL, va="center")
        if word in _MARKS:
            right -= 15
            page.plot([right], [y], linestyle="none", **_MARKS[word])
        right -= 22


def _shares(page: "Axes", example: LocalResponseExample, place: tuple[int, int, int, int]) -> None:
    """Draw the share that is left of each response, for pixels in 0..255 and in 0..1."""
    left, top, wide, tall = place
    maps = np.arange(1, len(example.raw) + 1)
    panel = add_panel(page, left, top, wide, tall)
    panel.axhline(example.k**-example.beta, color=MUTED, linewidth=0.8)
    panel.plot(maps, response_share(example.unit, example.unit_normalised), linestyle="none", **_UNIT)
    panel.plot(maps, response_share(example.raw, example.raw_normalised), linestyle="none", **_RAW)
    panel.set(xlim=(0.4, len(maps) + 0.6), ylim=(0, 0.7))
    panel.set_xticks(maps)
    add_text(page, left + wide / 2, top + tall + 50, "map", LABEL, ha="center", va="bottom")
    keys = ("pixels in 0..255", _RAW), ("the same pixels in 0..1", _UNIT)
    _heading(page, left, top, wide, "Share left, b/a", *keys)
