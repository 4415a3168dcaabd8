"""The time spent in a run."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Measures the seconds of a run over all its launches, and the training images per second, without pauses."""

    def __init__(self, seconds: float = 0.0) -> None:
        """Continue from the seconds of earlier launches."""
        self._before, self._started = seconds, time.perf_counter()
        self.start()

    @property
    def seconds(self) -> float:
        """Seconds spent in the run, over all its launches."""
        return self._before + time.perf_counter() - self._started

    def start(self) -> None:
        """Exclude the time before this call from the rate."""
        self._mark, self._paused = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the rate."""
        begun = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begun

    def lap(self, images: float) -> float:
        """Return the images per second since the last lap."""
        now = time.perf_counter()
        rate = images / max(now - self._mark - self._paused, 1e-9)
        self._mark, self._paused = now, 0.0
        return rate
