"""The pictures of the probes: what happens to gradients, units and the loss in each layer during training."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.plots.figures import Figure
from jaxcnn.plots.probe_drawings import SHARES, band, bars, heat, heat_height, lines, ridge
from jaxcnn.probes.diagnosis import DEAD, EXPLODING, SATURATED, VANISHING, dead_word, last, middle, per_step_back, power
from jaxcnn.probes.record import Record

if TYPE_CHECKING:
    pass

# The darker, the smaller: where no gradient arrives it is dark.
_GRADIENTS = ("#05060f", "#1d2f6f", "#3f7fb5", "#9fd0d6", "#fff6c8")
_ROWS = 12
"""Largest number of layers of which distributions are drawn."""


def probe_figures(records: Sequence[Record]) -> list[list[Figure]]:
    """Return the figures of networks that were probed alike: rows of figures that belong together.

    Args:
        records: records with the same instruments; several are compared.
    """
    norms = [_log10(record.gradient_norms()) for record in records if record.layers]
    rows = []
    if norms:
        low = min(float(x[np.isfinite(x)].min(initial=0)) for x in norms)
        high = max(float(x[np.isfinite(x)].max(initial=low)) for x in norms)
        limits = (math.floor(min(low, high - 3)), math.ceil(high))
        rows.append([_gradients(i, record, limits, len(records)) for i, record in enumerate(records)])
    together = (_losses, _loss_along_step, _smoothness, _eigenvalues, _lags)
    rows.append([figure for make in together if (figure := make(records)) is not None])
    for make in (_distributions, _bands, _saturation, _dead, _update_ratios, _shift, _drift):
        found = (make(i, record, len(records)) for i, record in enumerate(records))
        rows.append([figure for figure in found if figure is not None])
    return [row for row in rows if row] if len(records) > 1 else [[figure for row in rows for figure in row]]


def _named(record: Record, several: int, title: str) -> str:
    return f"{record.label}: {title[:1].lower()}{title[1:]}" if several > 1 else title


# One figure for each network.


def _gradients(i: int, record: Record, limits: tuple[float, float], several: int) -> Figure:
    names, decay = record.weighted, record.decay()
    end, first, final = decay[-1], names[0], names[-1]
    if math.isnan(end):
        title = "No gradient leaves the last layer"
    elif end < VANISHING:
        title = f"The gradient dies here: {power(end)} of it is left at {first}"
    elif end > EXPLODING:
        title = f"The gradient explodes: {first} gets {power(end)} times that of {final}"
    else:
        title = f"The gradient reaches {first}: {power(end)} of that at {final}"
    note = (
        "Base 10 logarithm of the standard deviation of the gradient with respect to a layer's output (times the root "
        "of its number of values), by layer and step. The loss is above, the input below. Under the white line less "
        "than 1 % is left."
    )
    values = _log10(record.gradient_norms())
    lost = values < values[-1:] + VANISHING
    # The layers that have lost the gradient, counted from the input.
    boundary = np.where(lost.any(axis=0), lost.shape[0] - np.argmax(lost[::-1], axis=0), 0)
    draw = functools.partial(
        heat,
        values=values,
        names=names,
        steps=record.steps,
        stops=_GRADIENTS,
        limits=limits,
        write=lambda x: f"{x:g}",
        boundary=boundary,
    )
    return Figure(f"gradients{i}", _named(record, several, title), note, heat_height(len(names)), draw)


def _update_ratios(i: int, record: Record, several: int) -> Figure | None:
    ratios = record.update_ratios()
    if not ratios:
        return None
    values = _log10(np.stack([*ratios.values()]))
    finite = values[:, -1][np.isfinite(values[:, -1])]
    usual = f"{10 ** np.median(finite):.1e}" if finite.size else "nothing"
    title = f"An update changes the kernels by {usual} of their norm (median of the layers)"
    note = "Base 10 logarithm of the norm of an update divided by that of the kernel. Near -3 is usual."
    draw = functools.partial(
        heat,
        values=values,
        names=[*ratios],
        steps=record.steps,
        stops=_GRADIENTS,
        limits=(-7, 0),
        write=lambda x: f"{x:g}",
    )
    return Figure(f"updates{i}", _named(record, several, title), note, heat_height(len(ratios)), draw)


def _saturation(i: int, record: Record, several: int) -> Figure | None:
    shares = record.by_layer("saturated")
    if not shares:
        return None
    values = np.stack([*shares.values()])
    worst = int(np.argmax(values[:, -1]))
    name, share = [*shares][worst], values[worst, -1]
    title = f"{share:.0%} of the outputs of {name} are saturated" if share > SATURATED else (
        f"No layer is saturated: at most {share:.0%} of the outputs, in {name}"
    )  # fmt: skip
    note = "Share of outputs within a twentieth of a bound of the activation, where it is almost flat."
    draw = functools.partial(
        heat,
        values=values,
        names=[*shares],
        steps=record.steps,
        stops=SHARES,
        limits=(0, 1),
        write=lambda x: f"{x:.0%}",
    )
    return Figure(f"saturated{i}", _named(record, several, title), note, heat_height(len(shares)), draw)


def _shift(i: int, record: Record, several: int) -> Figure | None:
    if "ics" not in record.history.readings:
        return None
    layers = record.history.readings["ics"]["layers"]
    cosines = {name: middle(value["cosine"]) for name, value in layers.items()}
    known = {name: cosine for name, cosine in cosines.items() if math.isfinite(cosine)}
    title = "The gradients are 0, so that they have no direction"
    if known:
        name = min(known, key=known.__getitem__)
        angle = math.degrees(math.acos(max(-1.0, min(1.0, known[name]))))
        title = f"The updates of earlier layers turn the gradient of {name} by {angle:.0f}° (median), no other by more"
    note = (
        "Cosine of the angle between a layer's gradient before and after the earlier layers have moved: internal "
        "covariate shift after Santurkar et al. 1: no shift; below 0 the layer's own update then goes uphill."
    )
    draw = functools.partial(
        heat,
        values=np.stack([value["cosine"] for value in layers.values()]),
        names=[*layers],
        steps=record.steps,
        stops=SHARES[::-1],
        limits=(-1, 1),
        write=lambda x: f"{x:g}",
    )
    return Figure(f"ics{i}", _named(record, several, title), note, heat_height(len(layers)), draw)


def _drift(i: int, record: Record, several: int) -> Figure | None:
    if "drift" not in record.history.readings:
        return None
    layers = record.history.readings["drift"]["layers"]
    shifts = {name: middle(value["distance"]) for name, value in layers.items()}
    name = max(shifts, key=lambda each: shifts[each] if math.isfinite(shifts[each]) else -1)
    size = f"{shifts[name]:.2g} of their deviation (median)"
    title = f"An update shifts the inputs of layer {name} by {size}, no other by more"
    note = (
        "Base 10 logarithm of the change of mean and deviation of a layer's inputs in one update: internal covariate "
        "shift as Ioffe & Szegedy mean it."
    )
    draw = functools.partial(
        heat,
        values=_log10(np.stack([value["distance"] for value in layers.values()])),
        names=[*layers],
        steps=record.steps,
        stops=SHARES,
        limits=(-4, 0),
        write=lambda x: f"{x:g}",
    )
    return Figure(f"drift{i}", _named(record, several, title), note, heat_height(len(layers)), draw)


def _distributions(i: int, record: Record, several: int) -> Figure | None:
    if not record.layers:
        return None
    names = _thinned(record.weighted)
    count = len(record.weighted) - 1
    change = record.decay()[-1]
    factor = 10 ** (change / count) if count and math.isfinite(change) else math.nan
    title = f"From layer to layer the gradient is multiplied by {factor:.2f} (geometric mean)"
    if math.isnan(factor):
        title = "The distribution of the gradient by layer"
    note = (
        "Distribution of the absolute values of the gradient with respect to each layer's output, on a logarithmic "
        "axis, at the first, the middle and the last reading (from light to dark)."
    )
    height = 50 + 30 * (len(names) + 1)
    draw = functools.partial(ridge, record=record, names=names, height=height - 50)
    return Figure(f"distributions{i}", _named(record, several, title), note, height, draw)


def _bands(i: int, record: Record, several: int) -> Figure | None:
    names = [*record.by_layer("saturated"), *record.by_layer("active")] or (record.weighted if record.layers else [])
    names = [name for name in record.layers if name in names]
    if not names:
        return None
    low, high = (float(record.layers[names[-1]]["activations"][key][-1]) for key in ("low", "high"))
    title = f"96 % of the outputs of {names[-1]} are between {low:.2g} and {high:.2g}"
    note = (
        "Outputs of each layer from the 2nd to the 98th percentile, at the first reading (light) and the last (dark)."
    )
    draw = functools.partial(band, record=record, names=names)
    return Figure(f"bands{i}", _named(record, several, title), note, 290, draw)


def _dead(i: int, record: Record, several: int) -> Figure | None:
    if not record.by_layer("active"):
        return None
    dead, images = record.dead_units()
    worst, word = max(dead, key=dead.__getitem__), dead_word(images)
    title = (
        f"{dead[worst]:.0%} of the units of {worst} are {word}"
        if dead[worst] > DEAD
        else f"Few units are {word}: at most {dead[worst]:.0%}, in {worst}"
    )
    note = f"Units whose output was 0 on the last {images:,} images (dark), and in the last batch (light)."
    draw = functools.partial(bars, dead=dead, inactive={n: x[-1] for n, x in record.by_layer("inactive").items()})
    return Figure(f"dead{i}", _named(record, several, title), note, 290, draw)


# One figure for all networks.


def _losses(records: Sequence[Record]) -> Figure:
    curves = [_smoothed(record) for record in records]
    ends = {record.label: curve[1][-1] for record, curve in zip(records, curves, strict=True)}
    title = f"The loss goes from {curves[0][1][0]:.3g} to {curves[0][1][-1]:.3g} in {len(records[0].losses) - 1} steps"
    if len(records) > 1:
        title = _smallest(ends, "has the lowest loss", "")
    note = "Training loss by step, mean of the batches from one reading to the next."
    return Figure("loss", title, note, 264, functools.partial(lines, curves=curves, labels=_labels(records)))


def _loss_along_step(records: Sequence[Record]) -> Figure | None:
    if any("landscape" not in record.history.readings for record in records):
        return None
    bands = []
    for record in records:
        found = record.history.readings["landscape"]
        low, high = found["loss_range"].T - found["loss"]
        bands.append((record.steps, (low + high) / 2, low, high))
    widths = {record.label: last(high - low) for record, (_, _, low, high) in zip(records, bands, strict=True)}
    return Figure(
        "range",
        _smallest(widths, "varies least along a step", "Along a step the loss varies by"),
        "Change of the loss between a half and four times the step, along the gradient (Santurkar et al., loss range).",
        264,
        functools.partial(lines, curves=bands, labels=_labels(records)),
    )


def _smoothness(records: Sequence[Record]) -> Figure | None:
    if any("landscape" not in record.history.readings for record in records):
        return None
    bands = []
    for record in records:
        found = record.history.readings["landscape"]
        slopes = found["gradient_changes"] / np.array([0.5, 1, 2, 4])
        with np.errstate(invalid="ignore", divide="ignore"):
            slopes = slopes * (found["smoothness"] / slopes.max(axis=1))[:, None]
        bands.append((record.steps, np.median(slopes, axis=1), slopes.min(axis=1), slopes.max(axis=1)))
    ends = {record.label: last(band[3]) for record, band in zip(records, bands, strict=True)}
    return Figure(
        "smoothness",
        _smallest(ends, "has the smoothest loss", "The effective β-smoothness is"),
        "Change of the gradient divided by the distance, from a half to four times the step (band and median); the "
        "upper end is the effective β. Smaller is smoother.",
        264,
        functools.partial(lines, curves=bands, labels=_labels(records)),
    )


def _eigenvalues(records: Sequence[Record]) -> Figure | None:
    if any("hessian" not in record.history.readings for record in records):
        return None
    curves = []
    for record in records:
        found = record.history.readings["hessian"]
        value, residual = found["eigenvalue"], found["residual"]
        curves.append((record.steps, value, value - residual, value + residual))
    ends = {record.label: last(curve[1]) for record, curve in zip(records, curves, strict=True)}
    note = "Eigenvalue of the Hessian with the largest magnitude, by power iteration, and its residual as a band."
    title = _smallest(ends, "has the smallest curvature", "The largest curvature of the loss is")
    return Figure("hessian", title, note, 264, functools.partial(lines, curves=curves, labels=_labels(records)))


def _lags(records: Sequence[Record]) -> Figure | None:
    curves, labels, titles = [], [], []
    for record in records:
        for name, norms in record.history.readings.get("lags", {}).get("layers", {}).items():
            lags = np.arange(norms.shape[1], 0, -1)
            curves.append((lags[::-1], _log10(norms[-1])[::-1]))
            labels.append(name if len(records) == 1 else f"{record.label}: {name}")
            titles.append(f"each step back multiplies the gradient of {name} by {per_step_back(norms[-1])[0]:.2f}")
    if not curves:
        return None
    note = "Base 10 logarithm of the norm of the gradient with respect to the state, by time lag, at the last reading."
    title = titles[0][:1].upper() + titles[0][1:]
    draw = functools.partial(lines, curves=curves, labels=labels, axis="steps back in time", linear=True)
    return Figure("lags", title, note, 264, draw)


def _smallest(values: Mapping[str, float], best: str, alone: str) -> str:
    """Return a title about one value, or about the smallest of several."""
    if len(values) == 1:
        return f"{alone} {next(iter(values.values())):.2g}"
    known = {label: abs(value) for label, value in values.items() if math.isfinite(value)} or {"none": math.nan}
    label, *others = sorted(known, key=known.__getitem__)
    other = next(iter(values)) if label != next(iter(values)) else (others or [label])[-1]
    return f"{label} {best}: {values.get(label, math.nan):.3g}; {other} has {values.get(other, math.nan):.3g}"


def _labels(records: Sequence[Record]) -> list[str]:
    return [record.label for record in records] if len(records) > 1 else [""]


def _smoothed(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of the readings, and the mean loss of the updates from each of them to the next."""
    starts = record.steps - record.steps[0]
    parts = np.split(record.losses, starts[1:])
    parts = [part for part in parts if part.size]
    return record.steps[: len(parts)], np.array([part.mean() for part in parts])


def _log10(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(np.asarray(values, np.float64))


def _thinned(names: Sequence[str]) -> list[str]:
    """Return at most `_ROWS` names, with the first and the last."""
    places = np.unique(np.linspace(0, len(names) - 1, min(_ROWS, len(names))).round().astype(int))
    return [names[i] for i in places]
