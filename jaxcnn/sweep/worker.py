"""A worker process of `Processes`, which runs the tasks that arrive on its standard input."""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO

# Seconds between two signals to a run whose parent process is gone.
_AGAIN = 5.0


def serve(cores: Sequence[int]) -> None:
    """Answer tasks until the input ends, which it does with the parent process; then stop a run in progress.

    Args:
        cores: CPU cores that this process may use; empty: all.
    """
    # What a task prints goes to stderr, so that only answers are in the pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if cores:
        os.sched_setaffinity(0, cores)
    tasks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    running = threading.Event()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks, running), daemon=True).start()
    while (task := tasks.get()) is not None:
        running.set()
        answer = _answer(task)
        running.clear()
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            # The parent process is gone. Python would report that the pipe cannot be closed either.
            os._exit(1)


def _answer(task: bytes) -> bytes:
    """Return whether the task raised an exception, and that or its result, as a pickle."""
    try:
        function, arguments, options = pickle.loads(task)
        return pickle.dumps((False, function(*arguments, **options)))
    except BaseException as error:
        with contextlib.suppress(Exception):
            # Some exceptions can be written but not read.
            pickle.loads(pickle.dumps(error))
            return pickle.dumps((True, error))
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))


def _receive(pipe: BinaryIO, tasks: queue.SimpleQueue[bytes | None], running: threading.Event) -> None:
    """Pass on the tasks; when the input has ended, stop the running one, which saves its state."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            tasks.put(pickle.load(pipe))
    tasks.put(None)
    while running.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_AGAIN)
