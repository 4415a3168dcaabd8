"""The pictures of a report about a shift, each with its finding as title."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.plots.dot_rows import Dots, dot_rows, make_rows, rows_height
from jaxcnn.plots.figures import COLUMN, Figure
from jaxcnn.plots.page import add_tile
from jaxcnn.plots.words import SMALL, add_text, line_height
from jaxcnn.shift.answers import cost_title, repairs_title, shift_title, where_title
from jaxcnn.shift.detectors.detection import ALPHA, Detection
from jaxcnn.shift.reporting import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SOURCE, _TARGET, _NEUTRAL = "#00558c", "#d55e00", "#8a8a8a"
_VERDICTS = ((True, _TARGET, "shift"), (False, _NEUTRAL, "no shift found"))
_TILES = 9
"""Images in a row of examples."""

_SMALLEST = 1e-12
"""p-values below are drawn here."""


def examples(report: Report) -> Figure:
    """Return images of the source, of the target, and the target images that resemble the source least."""
    rows = {"source": report.images["source"], "target": report.images["target"]}
    if "most unlike the source" in report.images:
        rows["target, most unlike the source"] = report.images["most unlike the source"]
    size = (COLUMN - 3 * (_TILES - 1)) // _TILES
    high = round(size * next(iter(rows.values())).shape[1] / next(iter(rows.values())).shape[2])
    return Figure(
        "examples",
        "Source and target",
        "Images drawn at random, and those that the classifier two-sample test assigns to the target with the most "
        "confidence.",
        len(rows) * (line_height(SMALL) + high + 14),
        functools.partial(_tiles, rows=rows, wide=size, high=high),
    )


def _tiles(page: "Axes", left: float, top: float, *, rows: Mapping[str, np.ndarray], wide: int, high: int) -> None:
    for name, images in rows.items():
        add_text(page, left, top, name, SMALL, va="top")
        factor = max(1, math.ceil(2 * wide / images.shape[2]))
        for place, image in enumerate(images[:_TILES]):
            shown = image.repeat(factor, 0).repeat(factor, 1)
            shown = shown if shown.shape[-1] == 3 else shown[..., 0]
            x = left + place * (wide + 3)
            style = {"cmap": "gray", "vmin": 0, "vmax": 1}
            add_tile(page, shown, x, top + line_height(SMALL) + 3, wide, high, smooth=True, **style)
        top += line_height(SMALL) + high + 14


def tests(report: Report) -> Figure:
    """Return the corrected p-value of every test."""
    found = report.findings.detections
    rows = make_rows([_test_name(each) for each in found], [f"effect {_number(each.effect)}" for each in found])
    dots = [
        Dots(
            [max(each.p_holm, _SMALLEST) if each.shifted is shifted else math.nan for each in found],
            colour,
            label,
        )
        for shifted, colour, label in _VERDICTS
    ]
    return Figure(
        "tests",
        shift_title(report),
        f"p-values with Holm's correction over all tests. At or left of the dashed line, {100 * ALPHA:g} %, a test "
        "finds a shift. Values below 10^-12 are drawn there. KS: Kolmogorov-Smirnov, MMD: maximum mean discrepancy.",
        rows_height(rows),
        functools.partial(dot_rows, rows=rows, dots=dots, axis="corrected p-value", line=ALPHA),
    )


def _test_name(found: Detection) -> str:
    names = {
        "kolmogorov_smirnov": "KS",
        "mmd": "MMD",
        "classifier": "classifier",
        "chi_square": "χ²",
        "frechet": "Fréchet",
    }
    return f"{names[found.detector]} on {found.features.replace('penultimate', 'features')}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def layers(report: Report) -> Figure:
    """Return the distance of the two populations in every layer."""
    found = report.layers
    rows = make_rows([each.features for each in found], [_number(each.effect) for each in found])
    dots = [
        Dots([each.effect if each.shifted is shifted else math.nan for each in found], colour, label)
        for shifted, colour, label in _VERDICTS
    ]
    return Figure(
        "layers",
        where_title(report),
        "Diagonal Fréchet distance of each layer's output, from the input down, divided by its mean for random splits "
        "of the same images; 1 is no shift.",
        rows_height(rows),
        functools.partial(dot_rows, rows=rows, dots=dots, axis="distance / distance without a shift", line=1.0),
    )


def classes(report: Report) -> Figure:
    """Return the accuracy of every class before and after the shift; without target labels the distances by class."""
    cost, names = report.cost, report.class_names
    if cost.target is None:
        found = report.classes
        worst = max(found, key=lambda each: each.effect)
        rows = make_rows([names[each.part] for each in found], [_number(each.effect) for each in found])
        return Figure(
            "classes",
            f"The images predicted as {names[worst.part]} differ most",
            "Diagonal Fréchet distance of the penultimate features of each predicted class, divided by its mean for "
            "random splits.",
            rows_height(rows),
            functools.partial(
                dot_rows, rows=rows, dots=[Dots([each.effect for each in found], _TARGET)], axis="ratio", line=1.0
            ),
        )
    pairs = [
        (name, a, b)
        for name, a, b in zip(names, cost.source.by_class, cost.target.by_class, strict=True)
        if a is not None and b is not None
    ]
    name, before, after = max(pairs, key=lambda pair: pair[1] - pair[2])
    rows = make_rows([pair[0] for pair in pairs], [f"{100 * (b - a):+.1f} points" for _, a, b in pairs])
    dots = [
        Dots([a for _, a, _ in pairs], _SOURCE, "source"),
        Dots([b for _, _, b in pairs], _TARGET, "target"),
    ]
    return Figure(
        "classes",
        f"Class {name} loses most: {100 * before:.0f} % to {100 * after:.0f} %",
        "Accuracy on the images of each class.",
        rows_height(rows),
        functools.partial(
            dot_rows, rows=rows, dots=dots, axis="accuracy", limits=(0.0, 1.0), joined=True, percent=True
        ),
    )


def tilt(report: Report) -> Figure:
    """Return the share of every class among the predictions."""
    cost, names = report.cost, report.class_names
    pairs = [*zip(names, cost.predicted_source, cost.predicted_target, strict=True)]
    name, before, after = max(pairs, key=lambda pair: abs(pair[2] - pair[1]))
    rows = make_rows([*names], [f"{100 * (b - a):+.1f} points" for _, a, b in pairs])
    dots = [Dots(cost.predicted_source, _SOURCE, "source"), Dots(cost.predicted_target, _TARGET, "target")]
    return Figure(
        "tilt",
        f"Predictions of {name} go from {100 * before:.1f} % to {100 * after:.1f} %",
        f"Share of the images with each class as prediction. {100 * cost.tilt:.1f} % of the predictions would have to "
        "change for equal shares.",
        rows_height(rows),
        functools.partial(
            dot_rows,
            rows=rows,
            dots=dots,
            axis="share of predictions",
            limits=(0.0, max(*cost.predicted_source, *cost.predicted_target)),
            joined=True,
            percent=True,
        ),
    )


def cost(report: Report) -> Figure:
    """Return the accuracy on both populations, and its estimate without labels."""
    found = report.cost
    names, values, intervals = ["source"], [found.source.accuracy], [found.source.accuracy_interval]
    if found.target is not None:
        names.append("target")
        values.append(found.target.accuracy)
        intervals.append(found.target.accuracy_interval)
    names.append("target, estimated without labels")
    values.append(found.estimated_accuracy)
    intervals.append((found.estimated_accuracy,) * 2)
    return Figure(
        "cost",
        cost_title(report),
        "Accuracy with 95 % interval (Wilson). The estimate is average thresholded confidence (Garg et al. 2022), "
        "which uses no target labels.",
        rows_height(rows := make_rows(names, [f"{100 * value:.1f} %" for value in values])),
        functools.partial(
            dot_rows,
            rows=rows,
            dots=[Dots(values, _SOURCE, intervals=intervals)],
            axis="accuracy",
            limits=(0.0, 1.0),
            percent=True,
        ),
    )


def repairs(report: Report) -> Figure | None:
    """Return the accuracy on the target after every repair; None without target labels or repairs."""
    if not report.scores:
        return None
    names = ["no repair", *report.scores]
    scores = [report.cost.target, *(each.after for each in report.scores.values())]
    rows = make_rows(names, [f"{100 * each.accuracy:.1f} %" for each in scores])
    dots = [Dots([each.accuracy for each in scores], _TARGET, intervals=[each.accuracy_interval for each in scores])]
    return Figure(
        "repairs",
        repairs_title(report),
        "Accuracy on the target with 95 % interval (Wilson); the dashed line is the source. Target labels only score "
        "the repairs; none of them uses one.",
        rows_height(rows),
        functools.partial(
            dot_rows,
            rows=rows,
            dots=dots,
            axis="accuracy on the target",
            line=report.cost.source.accuracy,
            limits=(0.0, 1.0),
            percent=True,
        ),
    )


def figures(report: Report) -> dict[str, Sequence[Figure]]:
    """Return the figures by question."""
    found: dict[str, Any] = {
        "shift": [examples(report), tests(report)],
        "where": [layers(report), *([classes(report)] if report.cost.target is not None or report.classes else [])],
        "cost": [cost(report), tilt(report)],
        "repairs": [each for each in (repairs(report),) if each is not None],
    }
    return found
