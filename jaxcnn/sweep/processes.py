"""Worker processes on this machine."""

import contextlib
import glob
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from jaxcnn.runtime.errors import InputError

# Seconds between two signals to a worker whose parent process is gone.
_AGAIN = 5.0


class Processes(Executor):
    """An executor of several worker processes, in which a worker that dies costs its own task only.

    The workers share this machine: each gets its part of the CPU cores and, if there are several GPUs, of these;
    otherwise its part of the memory of the one GPU. They end when this process ends, however that happens.
    """

    def __init__(self, jobs: int) -> None:
        """Start the executor; each process starts with its first task.

        Args:
            jobs: number of processes.

        Raises:
            InputError: `jobs` is not an integer > 0.
        """
        if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
            raise InputError(f"jobs is {jobs!r}; it must be an integer > 0, the number of processes.")
        self._lanes = [_Lane(*resources) for resources in zip(_cores(jobs), _variables(jobs), strict=True)]
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="jobs")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function in a worker; its future raises `BrokenProcessPool` if the worker dies."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        lane = self._free.get()
        try:
            return lane.call(fn, args, kwargs)
        finally:
            self._free.put(lane)

    def interrupt(self) -> None:
        """Send SIGTERM to the workers: each saves the state of its run and answers that it has stopped."""
        for lane in self._lanes:
            lane.interrupt()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks and end the workers."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for lane in self._lanes:
            lane.close()


class _Lane:
    """One worker process, replaced by another one when it dies."""

    def __init__(self, cores: Sequence[int], variables: dict[str, str]) -> None:
        self._arguments, self._pool, self._process = (tuple(cores), variables), None, None

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=self._arguments)
                self._process = self._pool.submit(os.getpid).result()
            return self._pool.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool:
            self.close()
            raise

    def interrupt(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGTERM)

    def close(self) -> None:
        pool, self._pool, self._process = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _begin(cores: tuple[int, ...], variables: dict[str, str]) -> None:
    """Prepare a worker process, before JAX creates its backends."""
    os.environ.update(variables)
    if cores:
        os.sched_setaffinity(0, cores)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    """Stop this process when its parent has ended: a run in progress saves its state first."""
    multiprocessing.parent_process().join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_AGAIN)


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
