"""The points of a sweep as their run folders describe them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.config import saved_names
from jaxcnn.config.serialization import excluded_paths
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.sweep.points import Status, status_of
from jaxcnn.sweep.settings import Tree, without


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


def read_trials(folder: str | Path) -> list[Trial]:
    """Return every point of a sweep, sorted by the name of its folder. No class of a user is imported.

    Raises:
        InputError: the folder does not exist, is a run itself, or has no finished point; or a file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a sweep, which has one folder for each run.")
    if (folder / "config.json").is_file():
        raise InputError(f"{folder} is the folder of one run; give the folder above it, {folder.absolute().parent}.")
    points = sorted(path for path in folder.iterdir() if (path / "config.json").is_file())
    if not points:
        raise InputError(f"{folder} has no run folders; give the folder of a sweep, which has one folder for each run.")
    found = [_trial(point) for point in points]
    counts = Counter(each.status for each in found)
    if not counts["finished"]:
        text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        raise InputError(f"{folder} has no finished point ({text}); run the same sweep again to finish it.")
    return found


def _trial(point: Path) -> Trial:
    saved, status = read_object(point / "config.json", "model", "data", "seed"), status_of(point)
    tree = saved_names.current(saved)
    for path in ("seed", *excluded_paths()):
        tree = without(tree, path)
    return Trial(
        point, tree, saved["seed"], status, read_object(point / "results.json") if status == "finished" else {}
    )
