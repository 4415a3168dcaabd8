"""The table of a sweep's summary, and the formats in which it is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.describe.tables import Grid, csv_text
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.comparisons import Difference, Interval
from jaxcnn.sweep.units import Unit, p_text

if TYPE_CHECKING:
    from pandas import DataFrame


COUNTED = ("diverged", "failed", "unfinished")
"""Runs without a result, which a row counts."""


@dataclass(frozen=True)
class Value:
    """The value of a setting.

    Attributes:
        raw: the value in JSON types.
        text: how it reads in a table.
    """

    raw: Any
    text: str

    @property
    def plain(self) -> Any:
        """The value if it is a number, a string or None, otherwise its text."""
        return self.raw if self.raw is None or isinstance(self.raw, bool | int | float | str) else self.text


@dataclass(frozen=True)
class Row:
    """The runs with one value of `by`, over their seeds.

    Attributes:
        settings: value of each field of `by`.
        chosen: settings that `select` has chosen; empty without `select`, or without a finished run.
        values: the metric of every finished run, by seed.
        workdirs: folders of these runs, by seed.
        mean: mean of the values; None if no run is finished.
        sd: standard deviation with n - 1; None if fewer than two are.
        interval: 95 % interval of the mean by Student's t distribution; None if fewer than two are.
        diverged, failed, unfinished: numbers of the other runs.
        difference: difference from the baseline, paired by seed; None for the baseline, without one, or without pairs.
    """

    settings: Mapping[str, Value]
    chosen: Mapping[str, Value]
    values: Mapping[int, float]
    workdirs: Mapping[int, Path]
    mean: float | None
    sd: float | None
    interval: Interval | None
    diverged: int
    failed: int
    unfinished: int
    difference: Difference | None = None

    @property
    def label(self) -> str:
        """The values of `by` as one text: `batch, 0.1`; `all` if `by` is empty."""
        return ", ".join(value.text for value in self.settings.values()) or "all"

    @property
    def n(self) -> int:
        """The number of finished runs."""
        return len(self.values)


@dataclass(frozen=True)
class Table:
    """A metric of a sweep's runs by the value of some settings, the best value first.

    Attributes:
        metric: the metric, as in `test.error`.
        by: fields whose values the rows are.
        rows: one for each value, the best mean first; rows without a finished run last.
        baseline: text of the value that the others are compared with; None if there is none.
        select: metric by which the other settings were chosen; None if they were not.
        notes: remarks that are shown under the table.
    """

    metric: str
    by: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str | None = None
    select: str | None = None
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the table as aligned text, errors and accuracies in percent."""
        return "\n".join([*(grid.text() for grid in self._grids()), *self.notes])

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, errors and accuracies in percent."""
        return "\n\n".join([*(grid.markdown() for grid in self._grids()), *self.notes])

    def csv(self) -> str:
        """Return one line for each row, with its numbers at full precision, errors and accuracies as fractions."""
        records = self._records()
        return csv_text([records[0].keys(), *(record.values() for record in records)])

    def json(self) -> str:
        """Return the rows with the value of every seed, and the folders of the runs, as JSON."""
        rows = [
            {
                "settings": {path: value.plain for path, value in row.settings.items()},
                "chosen": {path: value.plain for path, value in row.chosen.items()},
                **_numbers(row),
                "values": {str(seed): value for seed, value in row.values.items()},
                "workdirs": {str(seed): str(workdir) for seed, workdir in row.workdirs.items()},
                "difference": row.difference and vars(row.difference),
            }
            for row in self.rows
        ]
        head = {"metric": self.metric, "by": self.by, "baseline": self.baseline, "select": self.select}
        return json.dumps(head | {"rows": rows, "notes": self.notes}, indent=2, allow_nan=False)

    def frame(self) -> "DataFrame":
        """Return the lines of `csv` as a pandas frame.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise InputError("frame() needs pandas, which is not installed: pip install pandas.") from None
        return DataFrame(self._records())

    @property
    def _chosen(self) -> dict[str, str]:
        """The headings of the settings that `select` has chosen, by their paths."""
        return {path: f"{path} (selected)" for row in self.rows for path in row.chosen}

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for row in self.rows:
            record = {path: value.plain for path, value in row.settings.items()}
            for path, heading in self._chosen.items():
                record[heading] = row.chosen[path].plain if path in row.chosen else None
            record |= {"metric": self.metric} | ({"selected_by": self.select} if self.select else {})
            record |= _flat(_numbers(row))
            if self.baseline is not None:
                compared = {each.name: getattr(row.difference, each.name, None) for each in fields(Difference)}
                record |= {f"difference_{name}": value for name, value in _flat(compared).items()}
            records.append(record)
        return records

    def _grids(self) -> list[Grid]:
        return [self._means()] + ([self._differences()] if any(row.difference for row in self.rows) else [])

    def _means(self) -> Grid:
        unit, by = Unit.of(self.metric), self.by or ("runs",)
        counted = [name for name in COUNTED if any(getattr(row, name) for row in self.rows)]
        return Grid(
            title=unit.heading + (f", settings selected by {Unit.of(self.select).name}" if self.select else ""),
            headings=(*by, *self._chosen.values(), "mean", "sd", "n", "95 % interval", *counted),
            rows=tuple(
                (
                    *self._labels(row),
                    *(row.chosen[path].text if path in row.chosen else "" for path in self._chosen),
                    unit.text(row.mean),
                    unit.text(row.sd),
                    str(row.n),
                    unit.range(row.interval),
                    *(str(getattr(row, name) or "") for name in counted),
                )
                for row in self.rows
            ),
            left=(*by, *self._chosen.values()),
        )

    def _differences(self) -> Grid:
        unit, by = Unit.of(self.metric), self.by or ("runs",)
        return Grid(
            title=f"{unit.name}, difference from {self.baseline}{unit.points}, paired by seed",
            headings=(*by, "mean", "95 % interval", "p", "p (Holm)", "pairs"),
            rows=tuple(
                (
                    *self._labels(row),
                    unit.text(row.difference and row.difference.mean, sign=True),
                    unit.range(row.difference and row.difference.interval, sign=True),
                    p_text(row.difference and row.difference.p),
                    p_text(row.difference and row.difference.p_holm),
                    str(row.difference.pairs if row.difference else 0),
                )
                for row in self.rows
                if row.label != self.baseline
            ),
            left=by,
        )

    def _labels(self, row: Row) -> Sequence[str]:
        return [value.text for value in row.settings.values()] or [row.label]


def _numbers(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("mean", "sd", "n", "interval", *COUNTED)}


def _flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers with both ends of the interval: `interval_low` and `interval_high`."""
    flat: dict[str, Any] = {}
    for name, value in numbers.items():
        low, high = value if name == "interval" and value else (None, None)
        flat |= {"interval_low": low, "interval_high": high} if name == "interval" else {name: value}
    return flat
