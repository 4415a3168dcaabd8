"""Shares of a sweep, for the jobs of an array."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from jaxcnn.runtime.errors import InputError

T = TypeVar("T")


def share(items: Sequence[T], shard: str | None, environment: Mapping[str, str] = os.environ) -> list[T]:
    """Return every n-th item, beginning with the i-th, for the shard `i/n`.

    Args:
        items: items to share out.
        shard: `i/n`, with i from 0 to n - 1; `slurm`: this task's place in its SLURM job array; None: all items.
        environment: variables in which SLURM describes the array.

    Raises:
        InputError: the text is not a shard, i is n or more, or the job array has gaps.
    """
    if shard is None:
        return [*items]
    index, count = _slurm(environment) if shard == "slurm" else _parsed(shard)
    return [*items[index::count]]


def _parsed(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match:
        raise InputError(f"shard is {shard!r}; it must be I/N, for example 0/4, or slurm.")
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise InputError(f"shard is {shard}; of {count} shards the first number must be from 0 to {count - 1}.")
    return index, count


def _slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return this task's place in its job array and the number of tasks."""
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")]
    if missing := [name for name in names if not environment.get(name, "").isdigit()]:
        raise InputError(
            f"shard is slurm, but {missing[0]} is not set; start the command in a job array (sbatch --array=0-3)."
        )
    task, first, last, step, count = (int(environment[name]) for name in names)
    if (last - first) // max(step, 1) + 1 != count or (task - first) % max(step, 1):
        raise InputError(
            f"shard is slurm, but the job array has gaps (tasks {first} to {last}, {count} of them); submit it as a "
            "range, for example --array=0-3."
        )
    return (task - first) // max(step, 1), count
