"""The pictures of a sweep's summary: which are drawn, and their data."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcnn.plots import Arm, heat_map, learning_curves_of_arms, response_curves, strip_plot
from jaxcnn.plots.sweeps import COLOURS
from jaxcnn.runs.metrics import read_rows
from jaxcnn.sweep.table import COUNTED, Row, Table, Value
from jaxcnn.sweep.units import Unit, p_text

STRIPS = 30
"""Most arms that the strip plot shows; the best ones."""


def draw_summary(table: Table, folder: str | Path) -> list[Path]:
    """Draw the pictures of a summary; those of an earlier summary in the same folder are replaced.

    They are `summary_strip.png`, every run of each arm; `summary_curves.png`, learning curves of the best arms;
    `summary_response.png`, the metric over each numeric setting of `by` with three values or more; and
    `summary_heat_map.png`, the metric over two settings.

    Args:
        table: result of `summarize`.
        folder: existing folder for the PNG files.

    Returns:
        The files that were drawn.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    draw = {"strip": _strip, "curves": _curves, "response": _response, "heat_map": _heat_map}
    drawn = []
    try:
        for name, function in draw.items():
            path = folder / f"summary_{name}.png"
            if function(table, path):
                drawn.append(path)
    finally:
        # Also after an error, because a picture of an earlier summary would be taken for one of this.
        for name in draw:
            if (path := folder / f"summary_{name}.png") not in drawn:
                path.unlink(missing_ok=True)
    return drawn


def _arm(row: Row, unit: Unit, position: float = 0.0) -> Arm:
    counts = {name: getattr(row, name) for name in COUNTED}
    return Arm(
        label=_label(row),
        values=[unit.factor * value for value in row.values.values()],
        mean=None if row.mean is None else unit.factor * row.mean,
        interval=row.interval and (unit.factor * row.interval[0], unit.factor * row.interval[1]),
        note=", ".join(f"{count} {name}" for name, count in counts.items() if count),
        diverged=bool(row.diverged),
        position=position,
    )


def _label(row: Row) -> str:
    """Return the settings of a row as text, and those that were selected in brackets."""
    chosen = ", ".join(f"{path.rpartition('.')[2]}={value.text}" for path, value in row.chosen.items())
    return _named(row.settings, named=len(row.settings) > 1) + f" ({chosen})" * bool(chosen)


def _named(settings: Mapping[str, Value], *, named: bool) -> str:
    """Return the values of settings as one text, numbers with the name of their setting: `batch, learning_rate=0.1`."""
    texts = [
        value.text if isinstance(value.plain, str) or not named else f"{path.rpartition('.')[2]}={value.text}"
        for path, value in settings.items()
    ]
    return ", ".join(texts) or "all"


def _title(table: Table) -> str:
    """Return the answer in a sentence: the best value of `by` and its mean."""
    unit, best = Unit.of(table.metric), table.rows[0]
    mean = unit.text(best.mean) + "\N{NO-BREAK SPACE}%" * (unit.factor == 100)
    if len(table.rows) == 1:
        return f"{unit.name.capitalize()}: {mean}"
    by = f" by {table.by[0]}" if len(table.by) == 1 else ""
    return f"{unit.name.capitalize()}{by}: {_label(best)} is best with {mean}"


def _subtitle(table: Table) -> str:
    """Return how to read the strip plot, and the difference of the best value from the baseline."""
    unit, best = Unit.of(table.metric), table.rows[0]
    parts = [
        "dots: single runs" + "; bar and line: their mean and its 95 % interval" * any(r.n > 1 for r in table.rows)
    ]
    if table.select:
        parts.append(f"settings in brackets are selected by {Unit.of(table.select).name}")
    if best.difference is not None:
        difference = unit.text(best.difference.mean, sign=True) + unit.points.removeprefix(",")
        corrected = " after Holm's correction" * (len(table.rows) > 2)
        p = "" if best.difference.p is None else f" (p-value {p_text(best.difference.p_holm)}{corrected})"
        parts.append(f"{best.label} against {table.baseline}, paired by seed: {difference}{p}")
    if len(table.rows) > STRIPS:
        parts.append(f"the best {STRIPS} of {len(table.rows)}")
    return "; ".join(parts)


def _strip(table: Table, path: Path) -> Path:
    unit, rows = Unit.of(table.metric), table.rows[:STRIPS]
    return strip_plot(
        [_arm(row, unit) for row in rows],
        path,
        title=_title(table),
        subtitle=_subtitle(table),
        axis=unit.heading,
        form=unit.form,
        baseline=next((_label(row) for row in rows if row.label == table.baseline), None),
    )


def _curves(table: Table, path: Path) -> Path | None:
    finished = [row for row in table.rows if row.values]
    best = finished[: len(COLOURS)]
    split, _, last = table.metric.rpartition(".")
    more = f", the best {len(best)} of {len(finished)}" if len(finished) > len(best) else ""
    return learning_curves_of_arms(
        {_label(row): [read_rows(workdir / "metrics.jsonl") for workdir in row.workdirs.values()] for row in best},
        path,
        title=f"Learning curves by {', '.join(table.by) or 'run'}{more}",
        split="validation" if split == "validation" else "test",
        quantity="loss" if last == "loss" else "error",
    )


def _response(table: Table, path: Path) -> Path | None:
    unit = Unit.of(table.metric)
    numeric = [field for field in table.by if _is_numeric(table, field) and len(_texts(table, field)) >= 3]
    if not numeric:
        return None

    def lines(axis: str, others: Sequence[str]) -> dict[str, list[Arm]]:
        found: dict[str, list[Arm]] = {}
        for row in table.rows:
            label = _named({field: row.settings[field] for field in others}, named=True)
            found.setdefault(label, []).append(_arm(row, unit, float(row.settings[axis].raw)))
        return found

    if grid := _is_grid(table):
        axis = max(numeric, key=lambda field: len(_texts(table, field)))
        panels = {axis: lines(axis, [field for field in table.by if field != axis])}
        if len(panels[axis]) > len(COLOURS):
            return None
    else:
        panels = {axis: lines(axis, []) for axis in numeric}
    return response_curves(
        panels,
        path,
        title=_title(table),
        axis=unit.heading.capitalize(),
        connected=grid,
        worse="up" if unit.lower_is_better else "down",
    )


def _heat_map(table: Table, path: Path) -> Path | None:
    if len(table.by) != 2 or not _is_grid(table):
        return None
    unit = Unit.of(table.metric)
    rows, columns = sorted(table.by, key=lambda field: len(_texts(table, field)))
    cells = {(row.settings[rows].text, row.settings[columns].text): row for row in table.rows}
    shape = (len(_texts(table, rows)), len(_texts(table, columns)))
    means, notes = np.full(shape, np.nan), [[""] * shape[1] for _ in range(shape[0])]
    for i, one in enumerate(_texts(table, rows)):
        for j, two in enumerate(_texts(table, columns)):
            if (row := cells.get((one, two))) is not None and row.mean is not None:
                means[i, j] = unit.factor * row.mean
            elif row is not None:
                notes[i][j] = next(name for name in COUNTED if getattr(row, name))
    return heat_map(
        means,
        notes,
        path,
        rows=_texts(table, rows),
        columns=_texts(table, columns),
        row_name=rows,
        column_name=columns,
        title=_title(table),
        form=unit.form,
        lower_is_better=unit.lower_is_better,
    )


def _is_numeric(table: Table, field: str) -> bool:
    values = [row.settings[field].raw for row in table.rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _texts(table: Table, field: str) -> list[str]:
    """Return the different values of a field: numbers in ascending order, others from the best."""
    values = {row.settings[field].text: row.settings[field].raw for row in table.rows}
    return sorted(values, key=lambda text: values[text]) if _is_numeric(table, field) else list(values)


def _is_grid(table: Table) -> bool:
    """Return whether at least half of the combinations of the values of `by` have a row."""
    return 2 * len(table.rows) >= math.prod(len(_texts(table, field)) for field in table.by)
