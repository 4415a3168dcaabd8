"""The process of one program, which sleeps until it receives a question: `python -m jaxcnn.bench.worker`.

It reads lines of JSON and answers each with one line. The first line is the job; a `Job` is answered with the facts of
its program when the first step is done. Then `{"run": SECONDS}` is answered with the milliseconds of every step and the
peak memory so far, and `{"peak": true}` with the speed of a matrix product. The process ends when its input ends.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer until the input ends; an error is the last answer, in one line."""
    # Output of libraries goes to stderr, so that only answers are in the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        _serve(json.loads(sys.stdin.readline()), answer)
    except Exception as error:
        lines = str(error).strip().splitlines()
        answer({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"})
        sys.exit(1)


def _serve(first: dict[str, Any], answer: Any) -> None:
    from jaxcnn.bench import corruptions, pipeline, probed
    from jaxcnn.bench.program import make_program, peak_gflops
    from jaxcnn.config import from_json

    job = from_json(first)
    measures = {
        corruptions.Corruptions: corruptions.measure,
        pipeline.Pipeline: pipeline.measure,
        probed.Probed: probed.measure,
    }
    if type(job) in measures:
        answer(measures[type(job)](job))
        return
    program = make_program(job)
    program.step()
    answer(program.facts)
    for line in sys.stdin:
        question = json.loads(line)
        answer(_run(program, question["run"]) if "run" in question else {"peak_gflops": peak_gflops(program)})


def _run(program: Any, seconds: float) -> dict[str, Any]:
    """Run steps until the time is over, at least one."""
    times: list[float] = []
    while not times or sum(times) < seconds:
        begun = time.perf_counter()
        program.step()
        times.append(time.perf_counter() - begun)
    return {"milliseconds": [1e3 * t for t in times], "memory_bytes": program.device_bytes() or _process_bytes()}


def _process_bytes() -> int | None:
    """Return the peak memory of this process; None if the system does not report it."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return found and 1024 * int(found[1])


if __name__ == "__main__":
    main()
