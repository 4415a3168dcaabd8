"""The picture of vanishing gradients."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.describe.gradient_example import DEPTH, IMAGES, RATE, STEPS, UNITS, VANISHING, VanishingExample
from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_panel, blank_page, save
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, TITLE, add_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Their lightness differs, so that a greyscale print distinguishes them.
_DARK, _MIDDLE, _LIGHT = "#00558c", "#6fa3cc", "#b7d3ea"
_BARS = {"weights, Wᵀ": _LIGHT, "slope, f'(z)": _MIDDLE, "their product": _DARK}
_STYLES = (
    {"color": _DARK, "linewidth": 2.8, "marker": "o", "markersize": 5},
    {"color": _DARK, "linewidth": 1.2, "linestyle": (0, (5, 2)), "marker": "v", "markersize": 5},
    {"color": "#a13d00", "linewidth": 1.4, "marker": "s", "markersize": 4},
    {"color": "#e8842a", "linewidth": 1.4, "marker": "D", "markersize": 4},
    {"color": INK, "linewidth": 1.2, "linestyle": (0, (1, 1)), "marker": "^", "markersize": 5},
)
_PLACE = (70, 412, WIDTH - MARGIN - 70)
"""Left edge, top edge and width of the panels whose horizontal axis is the layer."""
_NAMES = 8.6
_RIGHT = 0.6
"""Widths of the space for names left of layer 0 and of the space right of the last layer, in layers."""


def vanishing_gradients(example: VanishingExample, path: str | Path) -> Path:
    """Draw the factors of one layer, their product over the layers and what it does, beside the remedies.

    Args:
        example: result of `gradient_example.vanishing_example`.
        path: .svg or .png file to write; an existing file is replaced only when the new one is complete.

    Returns:
        `path`.
    """
    page = blank_page(WIDTH, 940)
    add_text(page, MARGIN, 14, "Vanishing gradients, step by step", TITLE, va="top", weight="bold")
    note = f"{DEPTH} dense layers of {UNITS} units before training, {IMAGES} digits. "
    note += "The backward pass begins at the loss, above the last layer, and ends at layer 1."
    add_text(page, MARGIN, 40, note, SMALL, va="top", color=MUTED)
    _heading(page, 52, "1  one layer", "factors on the gradient (geometric mean)")
    _one_layer(add_panel(page, 52, 126, 338, 180), example)
    _heading(page, 440, "2  the slope f'(z)", "and values of z, sigmoid network")
    _slope(add_panel(page, 440, 126, 220, 180), example)
    _heading(page, 730, "6  through time", "tanh, by spectral radius of W")
    _through_time(add_panel(page, 730, 126, 170, 180), example)
    left, top, wide = _PLACE
    _heading(page, left, "3  the product, and  5  remedies", "root mean square of dL/dz", top=top - 46)
    _product(add_panel(page, left, top, wide, 330), example)
    _heading(page, left, "4  what it does", f"weights that one step of SGD, rate {RATE:g}, changes in float32", top=786)
    _changed(add_panel(page, left, 834, wide, 56), example)
    middle = left + wide * (_NAMES + (1 + DEPTH) / 2) / (_NAMES + DEPTH + _RIGHT)
    add_text(page, middle, 936, "layer", LABEL, ha="center", va="bottom")
    return save(page, path)


def _heading(page: "Axes", left: float, title: str, note: str, *, top: float = 76) -> None:
    add_text(page, left, top, title, LABEL, va="top", weight="bold")
    add_text(page, left, top + 21, note, SMALL, va="top", color=MUTED)


def _one_layer(panel: "Axes", example: VanishingExample) -> None:
    """Draw the two factors of one layer and their product as bars, for the networks without norms and sums."""
    plain = {name: b for name, b in example.networks.items() if b.is_plain}
    panel.set(xlim=(-0.6, len(plain) - 0.4), ylim=(0, 1.85), yticks=[0, 0.5, 1], xticks=[])
    panel.axhline(1, color=MUTED, linewidth=0.8)
    for i, (name, b) in enumerate(plain.items()):
        by_weights, by_slopes = b.typical
        values = (by_weights, by_slopes, by_weights * by_slopes)
        for j, (value, colour) in enumerate(zip(values, _BARS.values(), strict=True)):
            x = i + 0.32 * (j - 1)
            panel.bar(x, value, width=0.27, color=colour)
            add_text(panel, x, value + 0.03, f"{value:.2f}", SMALL, ha="center", va="bottom")
        add_text(panel, i, -0.08, name.replace(", ", "\n", 1), SMALL, ha="center", va="top")
    for j, (word, colour) in enumerate(_BARS.items()):
        y = 1.74 - 0.2 * j
        panel.plot([-0.5], [y], marker="s", markersize=7, color=colour)
        add_text(panel, -0.4, y, word, SMALL, va="center")


def _slope(panel: "Axes", example: VanishingExample) -> None:
    """Draw the slopes of sigmoid and ReLU, and the distribution of z in the sigmoid network."""
    z = np.linspace(-4, 4, 401)
    hidden = np.concatenate([layer.ravel() for layer in example.networks[VANISHING].preactivations[:-1]])
    counts, edges = np.histogram(hidden, bins=60, range=(-4, 4))
    panel.stairs(0.2 * counts / counts.max(), edges, fill=True, color=FAINT)
    sigmoid = 1 / (1 + np.exp(-z))
    panel.plot(z, sigmoid * (1 - sigmoid), color=_DARK, linewidth=2.2)
    panel.plot([-4, 0, 0, 4], [0, 0, 1, 1], color="#a13d00", linewidth=1.4, linestyle=(0, (4, 2)))
    panel.set(xlim=(-4, 4), ylim=(0, 1.12), yticks=[0, 0.25, 1], xticks=[-4, 0, 4])
    add_text(panel, 0.25, 0.94, "ReLU: 0 or 1", SMALL, va="top")
    add_text(panel, 0.25, 0.4, "sigmoid:\nat most 1/4", SMALL, va="center")
    add_text(panel, 2, -0.06, "z", SMALL, ha="center", va="top")


def _through_time(panel: "Axes", example: VanishingExample) -> None:
    """Draw the gradient of recurrent networks against the number of steps back."""
    panel.set(xlim=(0, STEPS), yscale="log", ylim=(1e-15, 1e4), xticks=[0, STEPS], yticks=[1e-12, 1e-6, 1])
    for (radius, rms), style in zip(example.recurrent.items(), _STYLES, strict=False):
        line = {key: style[key] for key in ("color", "linestyle") if key in style}
        panel.plot(rms, linewidth=1.8, **line)
        add_text(panel, STEPS + 1.5, rms[-1], f"radius {radius:g}", SMALL, va="center")
    panel.minorticks_off()
    add_text(panel, STEPS / 2, 1e-17, "steps back", SMALL, ha="center", va="top")


def _product(panel: "Axes", example: VanishingExample) -> None:
    """Draw the gradient of every layer and network, with the names at layer 1."""
    layers = np.arange(1, DEPTH + 1)
    panel.set(
        xlim=(-_NAMES, DEPTH + _RIGHT), yscale="log", ylim=(1e-25, 10), yticks=[10.0**-k for k in range(0, 25, 4)]
    )
    panel.set_xticks(layers)
    panel.minorticks_off()
    ends = {}
    for (name, b), style in zip(example.networks.items(), _STYLES, strict=True):
        panel.plot(layers, b.rms, zorder=4 if name == VANISHING else 3, **style)
        ends[name] = np.log10(b.rms[0])
    places = _apart(ends, 1.45)
    for name, b in example.networks.items():
        weight = "bold" if name == VANISHING else "normal"
        words = f"{name}: {_number(b.rms[0] / b.rms[-1])}"
        add_text(panel, 0.3, 10 ** places[name], words, SMALL, ha="right", va="center", weight=weight)
    vanishing = example.networks[VANISHING]
    dead = layers[: vanishing.unchanged]
    panel.fill_between(dead, 1e-25, vanishing.rms[: len(dead)], color=FAINT, linewidth=0)
    add_text(panel, dead[-1] - 0.1, 3e-24, "dies here", SMALL, ha="right", va="center", weight="bold")
    add_text(panel, (1 + DEPTH) / 2, 0.7, "←  backward pass", SMALL, ha="center", va="center", color=MUTED)
    words = (
        f"Numbers: the gradient of layer 1 relative to layer {DEPTH}.",
        f"{VANISHING}: every layer multiplies it by {vanishing.per_layer:.2f},",
        f"in layers {dead[-1]} to 1 it is too small to change a weight (4).",
    )
    add_text(panel, DEPTH + 0.4, 1e-24, "\n".join(words), SMALL, ha="right", va="bottom")


def _number(value: float) -> str:
    """Return `0.30` or `3.8·10⁻¹³`."""
    if value >= 0.01:
        return f"{value:#.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}·10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _apart(values: dict[str, float], distance: float) -> dict[str, float]:
    """Return the values, lowered where necessary so that neighbours are this distance apart."""
    placed, above = {}, np.inf
    for name, value in sorted(values.items(), key=lambda item: -item[1]):
        placed[name] = above = min(value, above - distance)
    return placed


def _changed(panel: "Axes", example: VanishingExample) -> None:
    """Draw the share of the weights of each layer that one step changes."""
    vanishing = example.networks[VANISHING]
    panel.set(xlim=(-_NAMES, DEPTH + _RIGHT), ylim=(0, 1), yticks=[0, 1])
    panel.set_yticks([0, 1], labels=["0 %", "100 %"])
    panel.set_xticks(np.arange(1, DEPTH + 1))
    panel.bar(np.arange(1, DEPTH + 1), vanishing.changed, width=0.8, color=_DARK)
    add_text(panel, 0.3, 0.5, VANISHING, SMALL, ha="right", va="center", weight="bold")
    middle = (1 + vanishing.unchanged) / 2
    add_text(panel, middle, 0.5, "none: nothing is learned", SMALL, ha="center", va="center")
