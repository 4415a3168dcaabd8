"""Points that train together as members of one vmapped program."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from jaxcnn.config import Experiment, run_id
from jaxcnn.runs.workdir import read_record
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.sweep.points import Point
from jaxcnn.training.optim import structure

NUMBERS = ("seed", "learning_rate", "weight_decay", "momentum", "b1", "b2", "eps", "clip_norm")
"""Numbers in which the members of one program may differ."""


def groups(points: Sequence[Point], vectorize: str | Sequence[str] | None) -> list[tuple[Point, ...]]:
    """Return the points in groups that train together; points of equal structure follow each other.

    Points of an unfinished group stay together, so that the group resumes; new points form another group.

    Args:
        points: points of a sweep.
        vectorize: as in `sweep.run`.

    Raises:
        InputError: `vectorize` is neither auto nor among the numbers by which points can train together.
    """
    names = _names(vectorize)
    if names:
        from jaxcnn.runs.members import structure_key as key_of
        from jaxcnn.runs.members import worth_vectorizing
    else:
        key_of = structure_key
    structures: dict[Hashable, dict[Any, list[Point]]] = {}
    for number, point in enumerate(points):
        key = key_of(point.experiment)
        alone = number if not names else (_others(point.experiment, names), _members(point))
        structures.setdefault(key, {}).setdefault(alone, []).append(point)
    found = [tuple(group) for each in structures.values() for group in each.values()]
    if vectorize != "auto":
        return found
    together = [worth_vectorizing([point.experiment for point in group]) if len(group) > 1 else True for group in found]
    return [
        part for group, yes in zip(found, together, strict=True) for part in ([group] if yes else [(p,) for p in group])
    ]


def structure_key(experiment: Experiment) -> str:
    """Return a key that experiments share if they differ only in numbers that compiled programs receive."""
    return run_id(dataclasses.replace(experiment, seed=0, optimizer=structure(experiment.optimizer)))


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
    return tuple(read_record(point.workdir).get("members", ()))
