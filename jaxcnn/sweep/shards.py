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
        InputError: the text is not a shard, i is n or more, or the variables describe no job array without gaps.
    """
    if shard is None:
        return [*items]
    index, count = _slurm(environment) if shard == "slurm" else _parsed(shard)
    return [*items[index::count]]


def _parsed(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", shard) if isinstance(shard, str) else None
    if not match or int(match[2]) == 0:
        raise InputError(f"shard is {shard!r}; it must be I/N with N at least 1, for example 0/4, or slurm.")
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise InputError(f"shard is {shard}; of {count} shards the first number must be from 0 to {count - 1}.")
    return index, count


def _slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return this task's place in its job array and the number of tasks."""
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")]
    for name in names:
        if not re.fullmatch(r"\d+", text := environment.get(name, "")):
            state = f"is {text!r}, not a number" if text else "is not set"
            raise InputError(
                f"shard is slurm, but {name} {state}; start the command in a job array (sbatch --array=0-3)."
            )
    task, first, last, step, count = (int(environment[name]) for name in names)
    if step == 0 or task not in range(first, last + 1, step):
        raise InputError(
            f"shard is slurm, but task {task} is not one of the job array's, {first} to {last} in steps of {step}; "
            "start the command in a job array (sbatch --array=0-3)."
        )
    if (last - first) // step + 1 != count:
        raise InputError(
            f"shard is slurm, but the job array has gaps (tasks {first} to {last}, {count} of them); submit it as a "
            "range, for example --array=0-3."
        )
    return (task - first) // step, count
