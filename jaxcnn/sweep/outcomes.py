"""The outcomes of the points of a sweep, read from their run folders."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.sweep.settings import Tree, settings_of

STATUSES = ("finished", "diverged", "failed", "unfinished")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one point.

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
    status: Literal["finished", "diverged", "failed", "unfinished"]
    results: dict[str, Any]


def read_outcomes(folder: str | Path) -> list[Outcome]:
    """Return the outcome of every point of a sweep, sorted by the name of its folder. No class of a user is imported.

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
    found = [_outcome(point) for point in points]
    counts = Counter(each.status for each in found)
    if not counts["finished"]:
        text = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        raise InputError(f"{folder} has no finished point ({text}); run the same sweep again to finish it.")
    return found


def _outcome(point: Path) -> Outcome:
    config, results, failure = (point / name for name in ("config.json", "results.json", "failure.json"))
    tree = read_object(config, "model", "data", "seed")
    if results.is_file():
        return Outcome(point, settings_of(tree), tree["seed"], "finished", read_object(results))
    kind = "unfinished"
    if failure.is_file():
        kind = read_object(failure, "kind")["kind"]
        if kind not in ("diverged", "failed"):
            raise InputError(f"{failure} is damaged (kind is {kind!r}); delete it to continue.")
    return Outcome(point, settings_of(tree), tree["seed"], kind, {})
