"""Scales of axes, linear or logarithmic, and positions of labels beside them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near `wanted`, in the same order, at least `gap` apart, inside [low, high] if they fit."""
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, np.float64)[order]
    floor = low + gap / 2
    for i in range(len(places)):
        places[i] = floor = max(places[i], floor)
        floor += gap
    ceiling = high - gap / 2
    for i in reversed(range(len(places))):
        places[i] = ceiling = min(places[i], ceiling)
        ceiling -= gap
    return places[np.argsort(order)].tolist()


def set_scale(
    panel: "Axes",
    values: ArrayLike,
    *,
    axis: Literal["x", "y"] = "y",
    linear: bool = False,
    ticks: int = 5,
    ratio: float = 10.0,
) -> None:
    """Set scale, limits and ticks of an axis for values, some of which may not be finite.

    Args:
        panel: the panel.
        values: values to show.
        axis: the axis.
        linear: never use a logarithmic scale.
        ticks: about how many ticks there are.
        ratio: ratio of the largest to the smallest positive value above which the scale is logarithmic.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    line = getattr(panel, f"{axis}axis")
    limits, rescale = (getattr(panel, f"set_{axis}{what}") for what in ("lim", "scale"))
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    positive = values[values > 0]
    if linear or low < 0 or not positive.size or high <= ratio * positive.min():
        margin = 0.05 * ((high - low) or abs(high) or 1.0)
        limits(low - margin, high + margin)
        locator = MaxNLocator(ticks, steps=[1, 2, 5, 10])
    else:
        least = positive.min()
        decades = math.log10(high / least)
        marks = _decade_ticks(least, high, 8 if ticks > 3 else 3)
        if low > 0:
            rescale("log")
            limits(least / 10 ** (0.05 * decades), high * 10 ** (0.05 * decades))
        else:
            rescale("symlog", linthresh=least, linscale=max(0.5, decades / 8))
            limits(-0.1 * least, high * 10 ** (0.05 * decades))
            marks = [0.0, *marks]
        locator = FixedLocator(marks)
    line.set_major_locator(locator)
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _decade_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values in [low, high], evenly spaced on a logarithmic scale: 1, 2, 5 per decade or powers of ten."""
    decades = math.log10(high / low)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if 3 * decades <= most else (1,)
    stride = max(1, math.ceil(decades / most))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    # Rates such as 0.1 * 0.1 differ from the round value by a rounding error.
    return [tick for tick in ticks if 0.999 * low <= tick <= 1.001 * high][::stride]
