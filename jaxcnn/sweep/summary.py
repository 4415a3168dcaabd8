"""The summary of a sweep: a metric over the seeds by what varies, best first, and differences from a baseline."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.config.paths import nearest
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.comparisons import deviation, paired_differences, t_interval
from jaxcnn.sweep.settings import Tree, paths_of, setting, texts_of, varying, without
from jaxcnn.sweep.table import COUNTED, Row, Table, Value
from jaxcnn.sweep.trials import Trial, read_trials
from jaxcnn.sweep.units import Unit

Key = tuple[str, ...]
"""Values of several settings as JSON texts."""


def summarize(
    folder: str | Path,
    *,
    by: str | Sequence[str] | None = None,
    baseline: str | None = None,
    metric: str = "test.error",
    select: str | None = None,
) -> Table:
    """Summarize the finished runs of a sweep over their seeds, for each value of some settings.

    Only the run folders are read (config.json, results.json, failure.json), so the sweep may still be running.

    Args:
        folder: folder of the sweep, with one run folder for each point.
        by: dotted paths of the settings to compare, several as a sequence or separated by commas; None: every setting
            that varies, except the seed and those that change no result (folders, cadences).
        baseline: value of `by` to compare the others with, as the table shows it (several settings separated by
            commas). Differences are paired by seed, over the seeds that are finished in both.
        metric: number in results.json: `test.error`, `test.loss`, `validation.accuracy`, `seconds`, `steps`.
        select: metric, never of the test split, by whose mean over the seeds the settings that vary besides `by` are
            chosen for each value of `by`, as in `validation.error`. Settings with a diverged seed are chosen only if
            all have one.

    Returns:
        The table, the best mean first (the lowest; for accuracies the highest).

    Raises:
        InputError: the folder has no finished point or is not that of a sweep; a field, the baseline or a metric is
            unknown; settings vary that are neither in `by` nor chosen by `select`; or `select` is a test metric.
    """
    trials, damaged = read_trials(folder)
    trees = [trial.settings for trial in trials]
    fields = tuple(varying(trees)) if by is None else _fields(by, trees)
    if select is not None and select.partition(".")[0] == "test":
        raise InputError(f"select is {select}; settings must not be chosen on the test split. Use validation.error.")
    for name, path in (("metric", metric), ("select", select)):
        if path is not None:
            _check_metric(name, path, trials)
    inner = tuple(varying([_without_all(tree, fields) for tree in trees]))
    if inner and select is None:
        raise InputError(
            f"by is {', '.join(fields) or 'empty'}, but the runs also differ in {', '.join(inner)}; add this to by, or "
            "give select, for example validation.error, to choose it."
        )
    if select is not None and not inner:
        raise InputError(
            f"select is {select}, but the runs differ in nothing besides by and the seed; leave out select, or leave "
            "the field to choose out of by."
        )
    values = {path: _values(trees, path) for path in (*fields, *inner)}
    rows = []
    for key, arm in _groups(trials, fields).items():
        groups = _groups(arm, inner)
        chosen = next(iter(groups)) if select is None else _best(groups, select)
        settings = {path: values[path][text] for path, text in zip(fields, key, strict=True)}
        selected = {path: values[path][text] for path, text in zip(inner, chosen, strict=True)}
        rows.append(_row(settings, selected, groups[chosen], metric))
    sign = 1 if Unit.of(metric).lower_is_better else -1
    rows.sort(key=lambda row: (row.mean is None, sign * (row.mean or 0), row.label))
    if baseline is not None:
        baseline = _find(baseline, rows, fields)
        rows = _compared(rows, baseline)
    return Table(metric, fields, tuple(rows), baseline, select, (*_notes(trials, select), *damaged))


def _compared(rows: Sequence[Row], baseline: str) -> list[Row]:
    """Return the rows with their differences from the one with the label `baseline`."""
    values = {row.label: row.values for row in rows}
    against = values.pop(baseline)
    differences = dict(zip(values, paired_differences([*values.values()], against), strict=True))
    return [replace(row, difference=differences.get(row.label)) for row in rows]


def _fields(by: str | Sequence[str], trees: Sequence[Tree]) -> tuple[str, ...]:
    """Return the paths in `by`.

    Raises:
        InputError: one of them is the seed or unknown.
    """
    fields = tuple(dict.fromkeys(path.strip() for path in (by.split(",") if isinstance(by, str) else by)))
    known = {path for tree in trees for path in paths_of(tree)}
    for path in fields:
        if path == "seed":
            raise InputError("by contains seed, over which the summary takes the mean; leave it out.")
        if path not in known:
            near = nearest(path, sorted(known))
            hint = f" Did you mean {near!r}?" if near else ""
            differ = ", ".join(varying(trees)) or "nothing but the seed"
            raise InputError(f"by has the unknown field {path!r}.{hint} The runs differ in {differ}.")
    return fields


def _check_metric(name: str, path: str, trials: Sequence[Trial]) -> None:
    """Raise InputError unless every finished run has a metric."""
    finished = [trial for trial in trials if trial.status == "finished"]
    lacking = [trial.workdir for trial in finished if path not in _metrics(trial)]
    if len(lacking) == len(finished):
        known = sorted({metric for trial in finished for metric in _metrics(trial)})
        near = nearest(path, known)
        hint = f" Did you mean {near!r}?" if near else ""
        split = path.partition(".")[0]
        if split == "validation" and not any(metric.startswith("validation.") for metric in known):
            hint = " The runs have no validation split; set data.validation."
        raise InputError(f"{name} is {path}, which no run has.{hint} Metrics are {', '.join(known)}.")
    if lacking:
        raise InputError(
            f"{name} is {path}, which {len(lacking)} of {len(finished)} finished runs do not have, such as "
            f"{lacking[0]}; choose a metric of all runs."
        )


def _metrics(trial: Trial) -> dict[str, float]:
    """Return the metrics of a finished run by dotted path."""

    def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            elif isinstance(value, int | float) and key not in ("seed", "n"):
                yield prefix + key, float(value)

    return dict(leaves(trial.results))


def _without_all(tree: Tree, fields: Sequence[str]) -> Tree:
    for path in fields:
        tree = without(tree, path)
    return tree


def _value(tree: Tree, path: str) -> Any:
    """Return a setting, or None where it does not exist, as the momentum of a layer normalization."""
    with contextlib.suppress(KeyError):
        return setting(tree, path)
    return None


def _key(trial: Trial, fields: Sequence[str]) -> Key:
    return tuple(json.dumps(_value(trial.settings, path), sort_keys=True) for path in fields)


def _groups(trials: Sequence[Trial], fields: Sequence[str]) -> dict[Key, list[Trial]]:
    """Return the trials by the values of some settings."""
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_key(trial, fields), []).append(trial)
    return groups


def _values(trees: Sequence[Tree], path: str) -> dict[str, Value]:
    """Return the different values of a setting, by their JSON texts."""
    raw = {json.dumps(value, sort_keys=True): value for value in (_value(tree, path) for tree in trees)}
    return {key: Value(raw[key], text) for key, text in zip(raw, texts_of([*raw.values()]), strict=True)}


def _best(groups: Mapping[Key, Sequence[Trial]], select: str) -> Key:
    """Return the settings with the best mean of a metric, of those with the fewest diverged seeds."""
    sign = 1 if Unit.of(select).lower_is_better else -1

    def rank(key: Key) -> tuple[bool, int, float]:
        values = [_metrics(trial)[select] for trial in groups[key] if trial.status == "finished"]
        diverged = sum(trial.status == "diverged" for trial in groups[key])
        return not values, diverged, sign * float(np.mean(values)) if values else 0.0

    return min(groups, key=rank)


def _row(settings: dict[str, Value], chosen: dict[str, Value], runs: Sequence[Trial], metric: str) -> Row:
    finished = sorted((run for run in runs if run.status == "finished"), key=lambda run: run.seed)
    for one, two in pairwise(finished):
        if one.seed == two.seed:
            raise InputError(
                f"{one.workdir} and {two.workdir.name} have the same settings and seed; move one of them out of the "
                "folder."
            )
    values = {run.seed: _metrics(run)[metric] for run in finished}
    numbers = [*values.values()]
    return Row(
        settings=settings,
        chosen=chosen if finished else {},
        values=values,
        workdirs={run.seed: run.workdir for run in finished},
        mean=float(np.mean(numbers)) if numbers else None,
        sd=deviation(numbers),
        interval=t_interval(numbers),
        **{status: sum(run.status == status for run in runs) for status in COUNTED},
    )


def _find(baseline: str, rows: Sequence[Row], fields: Sequence[str]) -> str:
    """Return the label of the row that `baseline` names, by its text or, of a single setting, by its number."""
    name = "".join(str(baseline).split())
    for row in rows:
        if name == "".join(row.label.split()):
            return row.label
    for row in rows if len(fields) == 1 else ():
        value = row.settings[fields[0]].raw
        with contextlib.suppress(ValueError):
            if isinstance(value, int | float) and not isinstance(value, bool) and float(name) == value:
                return row.label
    raise InputError(
        f"baseline is {str(baseline)!r}, which is not among the values of {', '.join(fields) or 'by'}: "
        f"{'; '.join(row.label for row in rows)}."
    )


def _notes(trials: Sequence[Trial], select: str | None) -> tuple[str, ...]:
    counts = Counter(trial.status for trial in trials)
    if select is None or counts["finished"] == len(trials):
        return ()
    others = ", ".join(f"{counts[status]} {status}" for status in COUNTED if counts[status])
    return (f"Selected among the finished runs, {counts['finished']} of {len(trials)} ({others}).",)
