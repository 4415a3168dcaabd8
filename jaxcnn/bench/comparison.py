"""Comparison of one network in several libraries, each in its own process, in alternating rounds."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxcnn.bench.cases import Case, Mode, operations
from jaxcnn.bench.job import Job, Library
from jaxcnn.bench.process import Worker, WorkerError, working
from jaxcnn.bench.summary import speed_ratio, summarize

# Rounds of each library in the requested time, so that a slow minute of the machine affects all alike.
_ROUNDS = 20


def compare(
    case: Case,
    mode: Mode,
    libraries: Sequence[Library],
    *,
    seconds: float,
    threads: int,
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time the steps of a network in each library, in turn, while the processes of the others sleep.

    One after the other, the libraries start, compile and run their first step. After a warm-up round, each runs for a
    twentieth of the time in every round, but at least one step, until each has run for the whole time. Every round ends
    with a matrix product in one of the processes; its speed is the peak of this round for all libraries.

    Args:
        case: the network, in the dtype to measure.
        mode: train or forward.
        libraries: jaxcnn first, then its peers.
        seconds: measured time per library.
        threads: CPUs per process.
        report: called with a line on every change of progress.

    Returns:
        `case`, `mode`, `dtype`, `batch_size`, `image`, `gflop` (per step); `variants`, by library the facts of its
        program, `first_step_seconds`, `peak_memory_bytes` and the result of `summary.summarize`; `ratios`, by peer the
        result of `summary.speed_ratio`; `errors`, by library one line on why it could not be measured.
    """
    job = Job("jaxcnn", case.model, case.shape, case.batch_size, mode, threads)
    work = case.batch_size * operations(case.model, case.shape, mode)
    entrants: dict[str, _Entrant] = {}
    errors: dict[str, str] = {}
    peaks: list[float] = []

    def each(names: Sequence[str], act: Callable[[_Entrant], None]) -> None:
        """Apply a function to these libraries, and drop those for which it fails."""
        for name in names:
            try:
                act(entrants[name])
            except WorkerError as error:
                errors[name] = str(error)
                del entrants[name]

    def find_peak() -> None:
        """Append the peak of this round, from the first library that can measure it."""
        count = len(peaks)
        while entrants and len(peaks) == count:
            each(list(entrants)[:1], lambda entrant: peaks.append(entrant.peak()))

    with contextlib.ExitStack() as stack:
        for library in libraries:
            report(f"starting {library}")
            platform = entrants["jaxcnn"].facts["platform"] if "jaxcnn" in entrants else "cpu"
            worker = working(replace(job, library=library, platform=platform), threads)
            entrants[library] = _Entrant(stack.enter_context(worker))
            each([library], _Entrant.start)
        each(list(entrants), lambda entrant: entrant.run(seconds / _ROUNDS))
        for entrant in entrants.values():
            entrant.rounds.clear()
        while waiting := [name for name, entrant in entrants.items() if entrant.seconds < seconds]:
            done = min(entrants[name].seconds for name in waiting)
            report(f"{done:.0f} of {seconds:g} s measured for each of {', '.join(waiting)}")
            each(waiting, lambda entrant: entrant.run(seconds / _ROUNDS))
            find_peak()
    variants = {
        name: entrant.facts | summarize(entrant.rounds, images=case.batch_size, operations=work, peaks=peaks)
        for name, entrant in entrants.items()
    }
    ours = variants.get("jaxcnn")
    return {
        "case": case.name,
        "mode": mode,
        "dtype": case.model.dtype,
        "batch_size": case.batch_size,
        "image": list(case.shape),
        "gflop": work / 1e9,
        "variants": variants,
        "ratios": {name: speed_ratio(ours, peer) for name, peer in variants.items() if ours and name != "jaxcnn"},
        "errors": errors,
    }


@dataclass
class _Entrant:
    """A library in the comparison: its process and its measurements so far."""

    worker: Worker
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return the measured time so far."""
        return sum(map(sum, self.rounds)) / 1e3

    def start(self) -> None:
        self.facts |= self.worker.start()

    def run(self, seconds: float) -> None:
        answer = self.worker.ask({"run": seconds})
        self.rounds.append(answer["milliseconds"])
        self.facts["peak_memory_bytes"] = answer["memory_bytes"]

    def peak(self) -> float:
        """Return billions of operations per second in a matrix product."""
        return self.worker.ask({"peak": True})["peak_gflops"]
