"""SIGTERM and Ctrl-C as requests that a loop handles between two steps."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Preempted(Exception):
    """SIGTERM or Ctrl-C arrived; the run has saved its state, and the same command continues it."""


class Signals:
    """Records SIGTERM and Ctrl-C.

    A second Ctrl-C takes effect at once; a second SIGTERM, which some schedulers send, repeats the request. If this
    process was started with Ctrl-C ignored, it stays ignored.
    """

    def __init__(self) -> None:
        self.received = False

    def poll(self) -> None:
        """Raise Preempted if a signal has arrived."""
        if self.received:
            raise Preempted

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record signals while the block runs, then restore the previous handlers."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        if before[signal.SIGINT] is signal.SIG_IGN:
            del before[signal.SIGINT]

        def note(number: int, _: Any) -> None:
            self.received = True
            if number == signal.SIGINT:
                signal.signal(number, before[number])

        try:
            # Outside the main thread this raises ValueError; the caller of the thread then handles signals.
            with contextlib.suppress(ValueError):
                for number in before:
                    signal.signal(number, note)
            yield
        finally:
            with contextlib.suppress(ValueError):
                for number, handler in before.items():
                    signal.signal(number, handler)
