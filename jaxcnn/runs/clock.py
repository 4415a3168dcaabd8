"""Time spent in a run."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Seconds of a run over all its launches, and images per second of training, pauses left out."""

    def __init__(self, seconds: float = 0.0) -> None:
        """Go on from the seconds of earlier launches."""
        self._before, self._started = seconds, time.perf_counter()
        self.start()

    @property
    def seconds(self) -> float:
        """Spent in the run, over all its launches."""
        return self._before + time.perf_counter() - self._started

    def start(self) -> None:
        """Leave all that was before out of the rate."""
        self._mark, self._paused = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of the rate."""
        begun = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begun

    def lap(self, images: float) -> float:
        """Images per second since the last lap."""
        now = time.perf_counter()
        rate = images / max(now - self._mark - self._paused, 1e-9)
        self._mark, self._paused = now, 0.0
        return rate
