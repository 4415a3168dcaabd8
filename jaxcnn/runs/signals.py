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
    process was started with Ctrl-C ignored, it stays ignored. If a sweep watches and a run within it too, also in a
    thread, both record each signal.
    """

    def __init__(self) -> None:
        # Shared by blocks inside each other. A list, because a signal handler must not wait for a lock.
        self._seen: list[int] = []
        self._ctrl_c: Any = signal.SIG_DFL

    @property
    def received(self) -> bool:
        """Whether a signal has arrived."""
        return bool(self._seen)

    def poll(self) -> None:
        """Raise Preempted if a signal has arrived."""
        if self.received:
            raise Preempted

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record signals while the block runs, then restore the previous handlers."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        outer = getattr(before[signal.SIGTERM], "__self__", None)
        if isinstance(outer, Signals):
            self._seen, self._ctrl_c = outer._seen, outer._ctrl_c
        else:
            self._ctrl_c = before[signal.SIGINT]
        if before[signal.SIGINT] is signal.SIG_IGN:
            del before[signal.SIGINT]
        try:
            # Outside the main thread this raises ValueError; the caller of the thread then handles signals.
            with contextlib.suppress(ValueError):
                for number in before:
                    signal.signal(number, self.note)
            yield
        finally:
            with contextlib.suppress(ValueError):
                for number, handler in before.items():
                    signal.signal(number, handler)

    def note(self, number: int, _: Any) -> None:
        """Record a signal; `watch` installs this handler."""
        self._seen.append(number)
        if number == signal.SIGINT:
            signal.signal(number, self._ctrl_c)
