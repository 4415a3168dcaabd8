"""SIGTERM and Ctrl-C as requests that a loop acts on between two steps."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Preempted(Exception):
    """SIGTERM or Ctrl-C: the run has saved its state and the same command continues it."""


class Signals:
    """Notes SIGTERM and Ctrl-C. A second Ctrl-C acts at once; a second SIGTERM, as some schedulers send, is the same
    request again. A Ctrl-C that this process was started to ignore stays ignored."""

    def __init__(self) -> None:
        self.received = False

    def poll(self) -> None:
        """Raise Preempted if a signal has arrived."""
        if self.received:
            raise Preempted

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Note signals while the block runs, then restore the handlers there were."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        if before[signal.SIGINT] is signal.SIG_IGN:
            del before[signal.SIGINT]

        def note(number: int, _: Any) -> None:
            self.received = True
            if number == signal.SIGINT:
                signal.signal(number, before[number])

        try:
            # Not in the main thread this raises ValueError: whoever runs the threads handles signals.
            with contextlib.suppress(ValueError):
                for number in before:
                    signal.signal(number, note)
            yield
        finally:
            with contextlib.suppress(ValueError):
                for number, handler in before.items():
                    signal.signal(number, handler)
