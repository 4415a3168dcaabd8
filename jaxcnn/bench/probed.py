"""The price of reading the layers in a training step: the same step with and without the probes' `gradients`."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.bench.cases import Case
from jaxcnn.bench.jax_program import random_batch, training
from jaxcnn.bench.summary import quartiles
from jaxcnn.config import Probes
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet
from jaxcnn.probes import Instruments
from jaxcnn.runtime.xla_flags import set_xla_flags

_ROUNDS = 20


@dataclass(frozen=True)
class Probed:
    """The specification of a measurement.

    Attributes:
        model, shape, batch_size: as in `cases.Case`.
        seconds: measured time for each of the two steps.
    """

    model: ConvNet
    shape: Shape
    batch_size: int
    seconds: float

    @classmethod
    def of(cls, case: Case, seconds: float) -> "Probed":
        """Return the measurement of a case."""
        return cls(case.model, case.shape, case.batch_size, seconds)


def measure(job: Probed) -> dict[str, Any]:
    """Time steps with and without readings, in alternating rounds in one process.

    Returns:
        `milliseconds` per step by `plain` and `probed`, medians over rounds; `compile_seconds` of both; `ratio` of the
        time of a step with readings to that of one without: `median` and `quartiles` over rounds.
    """
    set_xla_flags()
    instruments = Instruments(Probes())
    options = {"plain": {}, "probed": {"readings": instruments, "tap": instruments.tap}}
    programs = {name: _program(job, each) for name, each in options.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_ROUNDS):
        for name, (run, _) in programs.items():
            times[name].append(run(job.seconds / _ROUNDS))
    first, median, third = quartiles([b / a for a, b in zip(times["plain"], times["probed"], strict=True)])
    return {
        "milliseconds": {name: statistics.median(each) for name, each in times.items()},
        "compile_seconds": {name: seconds for name, (_, seconds) in programs.items()},
        "ratio": {"median": median, "quartiles": [first, third]},
    }


def _program(job: Probed, options: dict[str, Any]) -> tuple[Callable[[float], float], float]:
    """Return a function that runs steps for some seconds, at least one, and returns the milliseconds per step; and the
    seconds of compilation."""
    key = jax.random.key(0)
    batch = random_batch(job.model, job.shape, job.batch_size, key)
    state, step = training(job.model, key, batch, **options)
    jax.block_until_ready((state, batch))
    begun = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - begun

    def run(seconds: float) -> float:
        nonlocal state
        steps, begun = 0, time.perf_counter()
        while not steps or time.perf_counter() - begun < seconds:
            state, *_ = jax.block_until_ready(compiled(state, batch))
            steps += 1
        return 1e3 * (time.perf_counter() - begun) / steps

    run(0)
    return run, compile_seconds
