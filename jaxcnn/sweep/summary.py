"""The summary of a sweep: a metric over the seeds by what varies, best first, and differences from a baseline."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.config import to_json
from jaxcnn.config.paths import nearest
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.comparisons import deviation, paired_differences, t_interval
from jaxcnn.sweep.settings import Tree, paths_of, setting, text_of, texts_of, varying, without
from jaxcnn.sweep.table import COUNTED, Row, Table, Value
from jaxcnn.sweep.trials import Trial, read_trials
from jaxcnn.sweep.units import Unit

Key = tuple[str, ...]
"""Values of several settings as JSON texts."""

# Settings that a note lists at most.
_LISTED = 10


def summarize(
    folder: str | Path,
    *,
    by: str | Sequence[str] | None = None,
    baseline: Any = None,
    metric: str = "test.error",
    select: str | None = None,
) -> Table:
    """Summarize the finished runs of a sweep over their seeds, for each value of some settings.

    Only the run folders are read (config.json, results.json, failure.json), so the sweep may still be running.

    Args:
        folder: folder of the sweep, with one run folder for each point.
        by: dotted paths of the settings to compare, several as a sequence or separated by commas; None: every setting
            that varies, except the seed and those that change no result (folders, cadences).
        baseline: value of `by` to compare the others with: the text that the table shows (several settings separated by
            commas; upper case, spaces and the form of numbers do not matter), or the value itself (a sequence of values
            if `by` has several settings). None: no comparison; the value None is the text "none". Differences are
            paired by seed, over the seeds that are finished in both.
        metric: number in results.json: `test.error`, `target.error`, `validation.accuracy`, `seconds`, `steps`.
        select: metric, never of the test split or the target, by whose mean over the seeds the settings that vary
            besides `by` are chosen for each value of `by`, as in `validation.error`. Only those compete that have the
            most finished seeds and, of these, the fewest diverged ones; the notes of the table list the others.

    Returns:
        The table, the best mean first (the lowest; for accuracies the highest).

    Raises:
        InputError: the folder has no finished point or is not that of a sweep; a field, the baseline or a metric is
            unknown; settings vary that are neither in `by` nor chosen by `select`; or `select` is a test metric.
    """
    for name, text in (("metric", metric), ("select", select)):
        if not isinstance(text, str) and (name, text) != ("select", None):
            raise InputError(f"{name} is {text!r}; it must be the name of a number in results.json, as in test.error.")
    trials, damaged = read_trials(folder)
    trees = [trial.settings for trial in trials]
    fields = tuple(varying(trees)) if by is None else _fields(by, trees)
    if select is not None and (part := select.partition(".")[0]) in ("test", "target"):
        raise InputError(f"select is {select}; settings must not be chosen on the {part} split. Use validation.error.")
    for name, path in (("metric", metric), ("select", select)):
        if path is not None:
            _check_metric(name, path, trials)
    inner = tuple(varying([_without_all(tree, fields) for tree in trees]))
    if inner and select is None:
        if constant := [path for path in fields if path not in varying(trees)]:
            same = ", ".join(
                f"{path}, which is {texts_of([_value(trees[0], path)])[0]} in every run" for path in constant
            )
            raise InputError(f"by has {same}; the runs differ in {', '.join(varying(trees))}.")
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
    rows, out = [], []
    for key, arm in _groups(trials, fields).items():
        groups = _groups(arm, inner)
        settings = {path: values[path][text] for path, text in zip(fields, key, strict=True)}
        compete = groups if select is None else _competing(groups)
        label = ", ".join(each.text for each in settings.values()) or "all"
        for lost in groups.keys() - compete.keys():
            texts = ", ".join(values[path][text].text for path, text in zip(inner, lost, strict=True))
            out.append(f"{label} with {texts} ({_counts(groups[lost])})")
        chosen = next(iter(groups)) if select is None else _best(compete, select)
        selected = {path: values[path][text] for path, text in zip(inner, chosen, strict=True)}
        rows.append(_row(settings, selected, groups[chosen], metric))
    sign = 1 if Unit.of(metric).lower_is_better else -1
    rows.sort(key=lambda row: (row.mean is None, sign * (row.mean or 0), row.label))
    if baseline is not None:
        baseline = _find(baseline, rows, fields)
        rows = _compared(rows, baseline)
    notes = (*_notes(trials, select), *_not_considered(sorted(out)), *_without_pairs(rows, baseline), *damaged)
    return Table(metric, fields, tuple(rows), baseline, select, notes)


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
    if not isinstance(by, str | list | tuple) or not all(isinstance(path, str) for path in by):
        raise InputError(f"by is {by!r}; it must be the dotted path of a setting, or a list of them.")
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


def _competing(groups: Mapping[Key, Sequence[Trial]]) -> dict[Key, Sequence[Trial]]:
    """Return the settings with the most finished seeds, of these the ones with the fewest diverged seeds."""

    def rank(key: Key) -> tuple[int, int]:
        counts = Counter(trial.status for trial in groups[key])
        return -counts["finished"], counts["diverged"]

    best = min(map(rank, groups))
    return {key: runs for key, runs in groups.items() if rank(key) == best}


def _best(groups: Mapping[Key, Sequence[Trial]], select: str) -> Key:
    """Return the settings with the best mean of a metric over the finished runs; the first if none has finished."""
    sign = 1 if Unit.of(select).lower_is_better else -1

    def mean(key: Key) -> float:
        values = [_metrics(trial)[select] for trial in groups[key] if trial.status == "finished"]
        return sign * float(np.mean(values)) if values else 0.0

    return min(groups, key=mean)


def _counts(runs: Sequence[Trial]) -> str:
    counts = Counter(run.status for run in runs)
    return ", ".join(f"{counts[status]} {status}" for status in ("finished", *COUNTED) if counts[status])


def _not_considered(texts: Sequence[str]) -> list[str]:
    """Return a note about settings that did not compete, because others have more finished or fewer diverged seeds."""
    more = f"; and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    why = "Not considered, because other settings have more finished or fewer diverged seeds: "
    return [f"{why}{'; '.join(texts[:_LISTED])}{more}."] if texts else []


def _without_pairs(rows: Sequence[Row], baseline: str | None) -> list[str]:
    """Return a note if a baseline has no pairs at all."""
    if baseline is None or any(row.difference for row in rows):
        return []
    if not any(row.n for row in rows if row.label == baseline):
        return [f"There are no differences from {baseline}, because none of its runs is finished."]
    return [f"There are no differences from {baseline}, because no other row has a finished run of its seeds."]


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


def _find(baseline: Any, rows: Sequence[Row], fields: Sequence[str]) -> str:
    """Return the label of the row that `baseline` names, by its text or by its value."""
    texts = [_text(baseline)]
    if isinstance(baseline, list | tuple) and len(fields) > 1:
        texts = [", ".join(map(_text, baseline))]
    elif isinstance(baseline, str) and len(fields) == 1:
        texts.append(f"({baseline})")  # A tuple without its parentheses.
    for same in (str, _plain):
        for text in texts:
            for row in rows:
                exact = ", ".join(text_of(value.raw) for value in row.settings.values())
                if same(text) in (same(row.label), same(exact)):
                    return row.label
    raise InputError(
        f"baseline is {baseline!r}, which is not among the values of {', '.join(fields) or 'by'}: "
        f"{'; '.join(row.label for row in rows)}."
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return text_of(to_json(value))
    except InputError:
        return str(value)


def _plain(text: str) -> str:
    """Return a text without regard to case and spaces, with Python's and JSON's lists in one form, and with numbers as
    Python writes them: `(0.1, 2,)` and `[1e-1,2]` are the same."""
    text = "".join(text.split()).lower().replace("[", "(").replace("]", ")").replace(",)", ")")
    return re.sub(r"(?<![\w.])[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(?![\w.])", lambda found: str(float(found[0])), text)


def _notes(trials: Sequence[Trial], select: str | None) -> tuple[str, ...]:
    counts = Counter(trial.status for trial in trials)
    if select is None or counts["finished"] == len(trials):
        return ()
    others = ", ".join(f"{counts[status]} {status}" for status in COUNTED if counts[status])
    return (f"Selected among the finished runs, {counts['finished']} of {len(trials)} ({others}).",)
