"""Worker processes on this machine."""

import contextlib
import glob
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from jaxcnn.runtime.errors import InputError

# Unlike multiprocessing, this does not run the caller's script again. A terminal sends Ctrl-C to the workers too; they
# ignore it, and this process sends them SIGTERM.
_PROGRAM = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:], cores = pickle.load(sys.stdin.buffer)
from jaxcnn.sweep.worker import serve
serve(cores)
"""


class Processes(Executor):
    """An executor of several worker processes, in which a worker that dies costs its own task only.

    The workers share this machine: each gets its part of the CPU cores and, if there are several GPUs, of these;
    otherwise its part of the memory of the one GPU. What they print appears on stderr. They end when this process ends,
    however that happens, and a run in progress saves its state first.
    """

    def __init__(self, jobs: int) -> None:
        """Make the executor; each process starts with its first task.

        Args:
            jobs: number of processes.

        Raises:
            InputError: `jobs` is not an integer > 0.
        """
        check_jobs(jobs)
        self._lanes = [_Lane(*resources) for resources in zip(_cores(jobs), _variables(jobs), strict=True)]
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="jobs")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function that the workers can import; its future raises `BrokenProcessPool` if the worker dies."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def _call(self, *task: Any) -> Any:
        lane = self._free.get()
        try:
            return lane.call(task)
        finally:
            self._free.put(lane)

    def interrupt(self) -> None:
        """Send SIGTERM to the workers: each saves the state of its run and answers that it has stopped."""
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for lane in self._lanes:
            lane.send(number)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks and end the workers; without `wait`, they end with this process."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for lane in self._lanes if wait else ():
            lane.close()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """End the workers: at once after Ctrl-C, otherwise when their tasks have ended."""
        if kind is KeyboardInterrupt:
            self._send(signal.SIGKILL)
        self.shutdown(cancel_futures=kind is not None)


def check_jobs(jobs: int) -> None:
    """Raise InputError unless this is a number of processes."""
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise InputError(f"jobs is {jobs!r}; it must be an integer > 0, the number of processes.")


class _Lane:
    """One worker process, replaced by another one when it dies."""

    def __init__(self, cores: Sequence[int], variables: dict[str, str]) -> None:
        self._cores, self._variables = tuple(cores), variables
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, task: tuple[Any, ...]) -> Any:
        """Return the answer of the worker, or raise its exception."""
        data = pickle.dumps(task)
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            _write(self._process.stdin, data)
            found = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise BrokenProcessPool(self.close() or str(error)) from error
        raised, answer = pickle.loads(found)
        if raised:
            raise answer
        return answer

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | self._variables,
        )
        _write(self._process.stdin, (sys.path, self._cores))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker, if there is one."""
        if (process := self._process) is not None:
            process.send_signal(number)

    def close(self) -> str:
        """End the worker, and return how it ended; nothing if there is none."""
        process, self._process = self._process, None
        if process is None:
            return ""
        for pipe in (process.stdin, process.stdout):
            # What could not be written to a dead worker is written again here.
            with contextlib.suppress(OSError):
                pipe.close()
        status = process.wait()
        if status >= 0:
            return f"exit status {status}"
        memory = ", perhaps because memory ran out" if status == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-status).name}{memory}"


def _write(pipe: Any, value: Any) -> None:
    pickle.dump(value, pipe)
    pipe.flush()


def _cores(jobs: int) -> list[tuple[int, ...]]:
    """Return each worker's part of the cores that this process may use; nothing where that cannot be set."""
    if not hasattr(os, "sched_setaffinity"):
        return [()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    return [tuple(cores[job % len(cores) :: jobs]) for job in range(jobs)]


def _variables(jobs: int) -> list[dict[str, str]]:
    """Return the environment variables that give each worker its part of the GPUs; nothing without a GPU."""
    # The GPUs are counted by their files, because asking JAX would reserve their memory for this process.
    every = ",".join(map(str, range(len(glob.glob("/dev/nvidia[0-9]*")))))
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",") if name]
    if not names:
        return [{}] * jobs
    if jobs >= len(names):
        own = [[names[job % len(names)]] for job in range(jobs)]
    else:
        own = [names[job::jobs] for job in range(jobs)]
    together = -(-jobs // len(names))
    memory = {} if together == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / together:.3f}"}
    return [memory | {"CUDA_VISIBLE_DEVICES": ",".join(each)} for each in own]
