"""Measured processes: starting them on their CPUs, sending them questions and ending them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from jaxcnn.config import to_json


class WorkerError(Exception):
    """A process failed; the message is its last line."""


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may use; all of them if the system has no such limit."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def spawn(
    arguments: Sequence[str], threads: int, environment: Mapping[str, str], **pipes: Any
) -> subprocess.Popen[str]:
    """Start Python in its own process group, on the first `threads` of the CPUs that this process may use.

    XLA sizes its thread pool by the number of these CPUs. This works on Linux; elsewhere a process may use all CPUs.
    """
    process = subprocess.Popen([sys.executable, *arguments], env=dict(environment), text=True, process_group=0, **pipes)
    if hasattr(os, "sched_setaffinity"):
        try:
            # The interpreter is still starting; threads that it creates later inherit the setting.
            os.sched_setaffinity(process.pid, usable_cpus()[:threads])
        except BaseException:
            end(process)
            raise
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process of `spawn` and all processes that it has started, and close its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in filter(None, (process.stdin, process.stdout)):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def last_words(process: subprocess.Popen[str], log: IO[bytes]) -> str:
    """Return how a process ended, and the last line of its log."""
    status = process.wait()
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    why = f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
    why += ", perhaps out of memory" if status == -signal.SIGKILL else ""
    return f"{why}: {lines[-1]}" if lines else why


class Worker:
    """A running `jaxcnn.bench.worker`.

    Attributes:
        process: process of the worker.
    """

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes], job: Any, started: float) -> None:
        self.process, self._log, self._job, self._started = process, log, job, started

    def start(self) -> dict[str, Any]:
        """Send the job and return the answer, with `first_step_seconds` from the start of the process to the answer.

        Raises:
            WorkerError: the job cannot be done.
        """
        return self.ask(to_json(self._job)) | {"first_step_seconds": time.perf_counter() - self._started}

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question and return the answer.

        Raises:
            WorkerError: the process reports an error or has died.
        """
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise WorkerError(last_words(self.process, self._log))
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer


@contextlib.contextmanager
def working(job: Any, threads: int) -> Iterator[Worker]:
    """Start a worker on `threads` CPUs, and kill it when the block ends.

    Args:
        job: a `job.Job`, `pipeline.Pipeline`, `probed.Probed` or `corruptions.Corruptions`.
        threads: CPUs that it may use.
    """
    # Several processes share a GPU, and JAX would otherwise preallocate most of its memory.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | dict(os.environ)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = spawn(["-m", "jaxcnn.bench.worker"], threads, environment, stderr=log, **pipes)
        try:
            yield Worker(process, log, job, started)
        finally:
            end(process)
