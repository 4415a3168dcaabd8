"""Points that train together as members of one vmapped program."""

import contextlib
import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from jaxcnn.config import Experiment
from jaxcnn.runs.members import structure_key, worth_vectorizing
from jaxcnn.runs.workdir import read_record
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.sweep.points import Point

NUMBERS = ("seed", "learning_rate", "weight_decay", "momentum", "b1", "b2", "eps", "clip_norm")
"""Numbers in which the members of one program may differ."""


def groups(
    points: Sequence[Point], vectorize: str | Sequence[str] | None, platform: str | None = None
) -> list[tuple[Point, ...]]:
    """Return the points in groups that train together; points of equal structure follow each other.

    Points of an unfinished group stay together, so that the group resumes; new points form another group.

    Args:
        points: points of a sweep.
        vectorize: as in `sweep.run`.
        platform: where they will train, as in `worth_vectorizing`.

    Raises:
        InputError: `vectorize` is neither auto nor among the numbers by which points can train together.
    """
    names = _names(vectorize)
    structures: dict[Hashable, dict[Any, list[Point]]] = {}
    for number, point in enumerate(points):
        key = structure_key(point.experiment)
        alone = number if not names else (_others(point.experiment, names), _members(point))
        structures.setdefault(key, {}).setdefault(alone, []).append(point)
    found = [tuple(group) for each in structures.values() for group in each.values()]
    if vectorize == "auto":
        found = [part for group in found for part in _worthwhile(group, platform)]
    return found


def _worthwhile(group: tuple[Point, ...], platform: str | None) -> list[tuple[Point, ...]]:
    """Return a group as it is, or its points one by one if they train faster so."""
    together = len(group) == 1 or worth_vectorizing([point.experiment for point in group], platform)
    return [group] if together else [(point,) for point in group]


def _names(vectorize: str | Sequence[str] | None) -> tuple[str, ...]:
    if vectorize is None:
        return ()
    if vectorize == "auto":
        return NUMBERS
    names = [vectorize] if isinstance(vectorize, str) else [*vectorize]
    for name in names:
        if str(name).removeprefix("optimizer.") not in NUMBERS:
            raise InputError(
                f"vectorize is {name!r}; it must be auto or among {', '.join(NUMBERS)}.{did_you_mean(name, NUMBERS)}"
            )
    return tuple(name.removeprefix("optimizer.") for name in names)


def _others(experiment: Experiment, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the numbers in which members must agree."""
    numbers = {"seed": experiment.seed} | dataclasses.asdict(experiment.optimizer)
    return tuple(numbers[name] for name in NUMBERS if name not in names)


def _members(point: Point) -> tuple[str, ...]:
    """Return the run ids of the group in which a point began; nothing if it has not begun, or began alone."""
    with contextlib.suppress(InputError):  # Its own run reports a damaged file.
        return tuple(read_record(point.workdir).get("members", ()))
    return ()
