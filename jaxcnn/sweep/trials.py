"""The points of a sweep as their run folders describe them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.config import saved_names
from jaxcnn.config.serialization import excluded_paths
from jaxcnn.runs.workdir import read_results
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.sweep.points import Status, status_of
from jaxcnn.sweep.settings import Tree, without

# Files of which a folder has at least one if it is that of a point.
_FILES = ("config.json", "results.json", "failure.json")


@dataclass(frozen=True)
class Trial:
    """A point of a sweep, read from its run folder.

    Attributes:
        workdir: folder of the run.
        settings: settings that decide its result, in JSON types, without the seed.
        seed: its seed.
        status: finished, or diverged or failed as its failure.json says, or unfinished.
        results: contents of results.json; empty unless it is finished.
    """

    workdir: Path
    settings: Tree
    seed: int
    status: Status
    results: dict[str, Any]


def read_trials(folder: str | Path) -> tuple[list[Trial], tuple[str, ...]]:
    """Return every point of a sweep, sorted by the name of its folder, and a line for every file that is damaged.

    No class of a user is imported. A point whose settings cannot be read is in the lines only; one whose results cannot
    be read counts as failed.

    Raises:
        InputError: the folder does not exist, is a run itself, or has no finished point.
    """
    if not isinstance(folder, str | os.PathLike) or not str(folder).strip():
        raise InputError(f"folder is {folder!r}; give the folder of a sweep, which has one folder for each run.")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a sweep, which has one folder for each run.")
    if (folder / "config.json").is_file():
        raise InputError(f"{folder} is the folder of one run; give the folder above it, {folder.absolute().parent}.")
    points = sorted(path for path in folder.iterdir() if any((path / name).exists() for name in _FILES))
    if not points:
        raise InputError(f"{folder} has no run folders; give the folder of a sweep, which has one folder for each run.")
    found, lines = [], []
    for point in points:
        try:
            trial, line = _trial(point)
        except InputError as error:
            lines.append(str(error))
            continue
        found.append(trial)
        lines += [line] if line else []
    counts = Counter(each.status for each in found)
    if not counts["finished"]:
        text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        text = ", ".join([*([text] if text else []), *lines])
        raise InputError(f"{folder} has no finished point ({text}); run the same sweep again to finish it.")
    return found, tuple(lines)


def _trial(point: Path) -> tuple[Trial, str | None]:
    """Return a point, and a line if its results or the reason of its failure cannot be read.

    Raises:
        InputError: its settings cannot be read.
    """
    if not (point / "config.json").exists():
        raise InputError(f"{point} has no config.json, so its settings are unknown; run the same sweep again.")
    saved, status = read_object(point / "config.json", "model", "data", "seed"), status_of(point)
    if not isinstance(saved["seed"], int):
        raise InputError(f"{point / 'config.json'} is damaged (its seed is {saved['seed']!r}); delete it to continue.")
    tree = saved_names.current(saved)
    for path in ("seed", *excluded_paths()):
        tree = without(tree, path)
    results: dict[str, Any] = {}
    line = None
    try:
        if status == "finished":
            results = read_results(point)
        elif (point / "failure.json").exists():
            read_object(point / "failure.json", "kind", "reason")
    except InputError as error:
        status, line = "failed", str(error)
    return Trial(point, tree, saved["seed"], status, results), line
