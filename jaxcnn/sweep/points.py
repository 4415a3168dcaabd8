"""The points of a sweep: experiments, their folders, and how far each has come."""

import contextlib
import functools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxcnn.config import Experiment, run_id, saved_names, to_json
from jaxcnn.config.serialization import excluded_paths, without
from jaxcnn.runs.failure import read_failure
from jaxcnn.runs.members import structure_key
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.sweep.settings import labels, setting, text_of, texts_of, varying

Status = Literal["finished", "diverged", "failed", "stopped", "unfinished", "new"]

# File systems limit a name to 255 bytes; the run id makes a shortened name unique.
_LONGEST = 120


@dataclass(frozen=True)
class Point:
    """A point of a sweep.

    Attributes:
        experiment: the experiment.
        name: what distinguishes it in its sweep, `norm=batch,seed=1`; its class if nothing does.
        workdir: its run folder.
    """

    experiment: Experiment
    name: str
    workdir: Path

    @functools.cached_property
    def structure(self) -> str:
        """The key of points that can train together, `structure_key`."""
        return structure_key(self.experiment)


@dataclass(frozen=True)
class Record:
    """What a sweep did with one of its experiments.

    Attributes:
        experiment: the experiment.
        workdir: its run folder.
        status: finished; diverged or failed, as in `runs.failure.Failure`; stopped: its state is saved, and it can be
            continued.
        results: results of a finished run, otherwise None.
        reason: why there are no results, otherwise None.
    """

    experiment: Experiment
    workdir: str
    status: Literal["finished", "diverged", "failed", "stopped"]
    results: Results | None = None
    reason: str | None = None


def points_of(experiments: Sequence[Experiment], folder: Path) -> list[Point]:
    """Return the points of a sweep in a folder, in order.

    A point is looked for by its run id, so its folder keeps its name when further fields vary.

    Raises:
        InputError: there are no experiments, something else is among them, or two of them are the same run.
    """
    if isinstance(experiments, Experiment | str) or not isinstance(experiments, Iterable):
        raise InputError(f"experiments is {type(experiments).__name__}; it must be a list of Experiment.")
    experiments = [*experiments]
    if not experiments:
        raise InputError("experiments is empty; a sweep needs at least one.")
    for number, experiment in enumerate(experiments):
        if not isinstance(experiment, Experiment):
            raise InputError(f"experiments[{number}] is {type(experiment).__name__}; it must be Experiment.")
    ids = [run_id(experiment) for experiment in experiments]
    firsts: dict[str, int] = {}
    trees = [to_json(experiment) for experiment in experiments]
    names = _names(trees)
    for number, identity in enumerate(ids):
        if (first := firsts.setdefault(identity, number)) < number:
            raise InputError(
                f"points {first + 1} and {number + 1} of {len(ids)} are the same run ({names[number]}); give each once."
            )
    existing = _folders(folder)
    return [
        Point(experiment, name, existing.get(identity, folder / f"{_shortened(name)}-{identity}"))
        for experiment, name, identity in zip(experiments, names, ids, strict=True)
    ]


def _names(trees: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = varying(trees)
    short = labels(paths)
    if not paths:
        return [text_of({"class": tree["model"]["class"]}) for tree in trees]
    columns = [
        [f"{short[path]}={text}" for text in texts_of([setting(tree, path) for tree in trees])] for path in paths
    ]
    return [re.sub(r"[^\w.()=,+-]", "_", ",".join(row)) for row in zip(*columns, strict=True)]


def _shortened(name: str) -> str:
    """Return the beginning of a name that fits the file system, in which letters that it lacks are underscores."""
    encoding = sys.getfilesystemencoding()
    name = name.encode(encoding, "replace").decode(encoding).replace("?", "_")
    return name.encode()[:_LONGEST].decode(errors="ignore")


def count_of(number: int) -> str:
    """Return a number of points in words: `1 point`, `5 points`."""
    return f"{number} point{'' if number == 1 else 's'}"


def _folders(folder: Path) -> dict[str, Path]:
    """Return the folders of points by run id."""
    if not folder.is_dir():
        return {}
    named = ((re.search(r"-([0-9a-f]{12})$", path.name), path) for path in sorted(folder.iterdir()) if path.is_dir())
    return {match[1]: path for match, path in named if match}


def check_folder(folder: Path, experiments: Sequence[Experiment]) -> None:
    """Check that the points in a folder belong to the same sweep as these experiments.

    They do if they differ from these only in the seed and in settings that vary among them, or among these experiments,
    so that a sweep may be extended by seeds, values and axes.

    Raises:
        InputError: the folder is that of a single run, it holds the points of another sweep, or one of these points
            with other code or data.
    """
    if (folder / "config.json").exists():
        raise InputError(f"{folder} holds a single run; give another folder to the sweep.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to the sweep.")
    saved: dict[str, Mapping[str, Any]] = {}
    started = _folders(folder)
    for run, path in started.items():
        # A point without settings, or with damaged ones, is reported when it is run.
        with contextlib.suppress(InputError):
            saved[run] = saved_names.current(read_object(path / "config.json", "model", "data"))
    if not saved:
        return
    there = [_placeless(tree) for tree in saved.values()]
    here = [_placeless(to_json(experiment)) for experiment in experiments]
    ours = {"seed", *varying(there), *varying(here)}
    for path in varying([*there, *here]):
        if not any(f"{path}.".startswith(f"{each}.") or f"{each}.".startswith(f"{path}.") for each in ours):
            a, b = (text_of(setting(trees[0], path)) or "empty" for trees in (there, here))
            raise InputError(
                f"{folder} holds another sweep: its {path} is {a}, not {b}. Give another folder, or vary {path}."
            )
    ids: dict[str, set[str]] = {}
    for tree, experiment in zip(here, experiments, strict=True):
        ids.setdefault(_settings(tree), set()).add(run_id(experiment))
    for run, tree in zip(saved, there, strict=True):
        if run not in ids.get(_settings(tree), {run}):
            raise InputError(
                f"{started[run]} has the settings of one of these experiments, but its code or data have changed. Undo "
                "the change, or give another folder."
            )


def _placeless(tree: Any) -> Any:
    """Return an experiment in JSON types, in which classes and functions of files have names without those files."""
    if isinstance(tree, list):
        return [_placeless(each) for each in tree]
    if not isinstance(tree, Mapping):
        return tree
    return {
        key: value.rpartition(":")[2] if key in ("class", "import") else _placeless(value)
        for key, value in tree.items()
    }


def _settings(tree: Mapping[str, Any]) -> str:
    """Return the settings that decide a result as text."""
    return json.dumps(without(excluded_paths(), tree), sort_keys=True)


def status_of(workdir: Path) -> Status:
    """Return how far a point has come, by the files in its folder."""
    if (workdir / "results.json").exists() and (workdir / "config.json").exists():
        return "finished"
    if (failure := read_failure(workdir)) is not None:
        return failure.kind
    return "unfinished" if (workdir / "config.json").exists() else "new"
