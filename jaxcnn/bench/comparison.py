"""One network in several libraries, a process each, taking turns."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxcnn.bench.cases import Case, Mode, operations
from jaxcnn.bench.job import Job, Library
from jaxcnn.bench.process import Worker, WorkerError, working
from jaxcnn.bench.summary import speed_ratio, summarize

# Turns that each library has in the time asked for, so that a slow minute of the machine meets all alike.
_TURNS = 20


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

    One after the other, the libraries start, compile, and do their first step. After a turn to warm up, each runs for a
    twentieth of the time, at least one step, and so on until each has run for the whole of it. Every turn ends with a
    matrix product in one of the processes, the peak with which all libraries are compared in this turn.

    Args:
        case: the network, in the dtype to measure.
        mode: train or forward.
        libraries: jaxcnn first, then its peers.
        seconds: that each library is measured for.
        threads: CPUs of each process.
        report: is told what happens.

    Returns:
        `case`, `mode`, `dtype`, `batch_size`, `image`, `gflop` (of a step); `variants`, by library the facts of its
        program, `first_step_seconds`, `peak_memory_bytes` and what `summary.summarize` gives; `ratios`, by peer what
        `summary.speed_ratio` gives; `errors`, by library a line on why it could not be measured.
    """
    job = Job("jaxcnn", case.model, case.shape, case.batch_size, mode, threads)
    work = case.batch_size * operations(case.model, case.shape, mode)
    entrants: dict[str, _Entrant] = {}
    errors: dict[str, str] = {}
    peaks: list[float] = []

    def each(names: Sequence[str], act: Callable[[_Entrant], None]) -> None:
        """Whoever cannot is out."""
        for name in names:
            try:
                act(entrants[name])
            except WorkerError as error:
                errors[name] = str(error)
                del entrants[name]

    def find_peak() -> None:
        """Append the peak of this turn, from the first library that can measure it."""
        turn = len(peaks)
        while entrants and len(peaks) == turn:
            each(list(entrants)[:1], lambda entrant: peaks.append(entrant.peak()))

    with contextlib.ExitStack() as stack:
        for library in libraries:
            report(f"{library} starts")
            platform = entrants["jaxcnn"].facts["platform"] if "jaxcnn" in entrants else "cpu"
            worker = working(replace(job, library=library, platform=platform), threads)
            entrants[library] = _Entrant(stack.enter_context(worker))
            each([library], _Entrant.start)
        each(list(entrants), lambda entrant: entrant.run(seconds / _TURNS))
        for entrant in entrants.values():
            entrant.rounds.clear()
        while waiting := [name for name, entrant in entrants.items() if entrant.seconds < seconds]:
            done = min(entrants[name].seconds for name in waiting)
            report(f"{done:.0f} of {seconds:g} s each for {', '.join(waiting)}")
            each(waiting, lambda entrant: entrant.run(seconds / _TURNS))
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
    """A library in the comparison: its process, and what is known of it so far."""

    worker: Worker
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """That it has been measured for."""
        return sum(map(sum, self.rounds)) / 1e3

    def start(self) -> None:
        self.facts |= self.worker.start()

    def run(self, seconds: float) -> None:
        answer = self.worker.ask({"run": seconds})
        self.rounds.append(answer["milliseconds"])
        self.facts["peak_memory_bytes"] = answer["memory_bytes"]

    def peak(self) -> float:
        """Billions of operations a second in a matrix product."""
        return self.worker.ask({"peak": True})["peak_gflops"]
