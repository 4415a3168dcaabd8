"""Points that train together as members of one vmapped program."""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jaxcnn.config import Experiment
from jaxcnn.runs.members import worth_vectorizing
from jaxcnn.runs.workdir import read_record
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.sweep.points import Point
from jaxcnn.sweep.shards import share

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
    return _grouped(points, vectorize, platform, _members)


def share_of(
    points: Sequence[Point],
    shard: str | None,
    vectorize: str | Sequence[str] | None = None,
    platform: str | None = None,
) -> list[Point]:
    """Return the points of a shard, in their order: whole groups are dealt out, so that their members stay together.

    The groups follow from the experiments alone, so that every shard finds the same ones, whatever the others have
    begun.

    Args:
        points: all points of a sweep.
        shard: as in `shards.share`.
        vectorize, platform: as in `groups`.

    Raises:
        InputError: as in `shards.share` and `groups`.
    """
    number = {point.workdir: i for i, point in enumerate(points)}
    whole = _grouped(points, vectorize, platform, lambda point: ()) if _names(vectorize) else [(p,) for p in points]
    whole.sort(key=lambda group: number[group[0].workdir])
    dealt = [point for group in share(whole, shard) for point in group]
    return sorted(dealt, key=lambda point: number[point.workdir])


def _grouped(
    points: Sequence[Point],
    vectorize: str | Sequence[str] | None,
    platform: str | None,
    apart: Callable[[Point], Hashable],
) -> list[tuple[Point, ...]]:
    """Return the points in groups, in each of which `apart` has one value."""
    names = _names(vectorize)
    structures: dict[Hashable, dict[Any, list[Point]]] = {}
    for number, point in enumerate(points):
        key = point.structure
        alone = number if not names else (_others(point.experiment, names), apart(point))
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
    names = [vectorize] if isinstance(vectorize, str) else [*_listed(vectorize)]
    for name in names:
        if name == "auto":
            raise InputError("vectorize has auto among other names; auto means all numbers, so give it alone.")
        if str(name).removeprefix("optimizer.") not in NUMBERS:
            raise InputError(
                f"vectorize is {name!r}; it must be auto or among {', '.join(NUMBERS)}.{did_you_mean(name, NUMBERS)}"
            )
    return tuple(name.removeprefix("optimizer.") for name in names)


def _listed(vectorize: Any) -> Sequence[str]:
    if not isinstance(vectorize, list | tuple | set | frozenset) or not all(
        isinstance(each, str) for each in vectorize
    ):
        raise InputError(f"vectorize is {vectorize!r}; it must be auto, a name, or a list of names.")
    return sorted(vectorize) if isinstance(vectorize, set | frozenset) else vectorize


def _others(experiment: Experiment, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the numbers in which members must agree."""
    numbers = {"seed": experiment.seed} | dataclasses.asdict(experiment.optimizer)
    return tuple(numbers[name] for name in NUMBERS if name not in names)


def _members(point: Point) -> tuple[str, ...]:
    """Return the run ids of the group in which a point began; nothing if it has not begun, or began alone."""
    with contextlib.suppress(InputError):  # Its own run reports a damaged file.
        return tuple(read_record(point.workdir).get("members", ()))
    return ()
