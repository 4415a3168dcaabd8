"""The view of a running sweep: a line for each running point and the counts, or plain lines."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jaxcnn.runs.rows import headline
from jaxcnn.sweep.points import Point, Record, count_of

# Running points that are shown, and bytes at the end of metrics.jsonl in which its last row lies.
_SHOWN, _TAIL = 12, 4096


class View:
    """Shows a sweep on stdout while it runs. Use it as a context manager.

    On a terminal it shows the points that run anywhere, by the locks and metrics in their folders; elsewhere it prints
    a line when a point ends.
    """

    def __init__(
        self, folder: Path, points: Sequence[Point], records: Mapping[Path, Record], *, show: bool = True
    ) -> None:
        """Make the view of a sweep.

        Args:
            folder: folder of the sweep.
            points: all points of this call.
            records: records of those that have ended before; the caller adds the others.
            show: whether to show anything.
        """
        self._folder, self._points, self._records, self._before = folder, points, records, len(records)
        self._names = {str(point.workdir): point.name for point in points}
        self._begun, self._console = time.monotonic(), Console(quiet=not show, highlight=False, markup=False)
        live = show and self._console.is_terminal
        self._live = Live(get_renderable=self._now, console=self._console, refresh_per_second=2) if live else None

    def __enter__(self) -> "View":
        before = f"; {self._before} had ended before" if self._before else ""
        self._print(f"{count_of(len(self._points))} in {self._folder}{before}")
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def ended(self, record: Record) -> None:
        """Print a line about a point that has ended."""
        if record.results is None:
            what = first_sentence(record.reason)
        else:
            what = f"test {headline(record.results.test)}, {record.results.seconds:.1f} s"
        count = f"[{len(self._records)}/{len(self._points)}]"
        if self._live is not None:
            self._live.refresh()
        self._print(f"{count} {self._names[record.workdir]}: {record.status}, {what}")

    def _print(self, line: str) -> None:
        # In a file every line stays whole.
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def _now(self) -> Group:
        """Return the lines of the running points and of the counts."""
        running = [p for p in self._points if p.workdir not in self._records and _is_locked(p.workdir)]
        lines = [Text(f"  {point.name}: {_progress(point)}") for point in running]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [Text(f"  and {len(lines) - _SHOWN} more")]
        return Group(*lines, Text(self._counts(len(running))))

    def _counts(self, running: int) -> str:
        records = [*self._records.values()]
        count = {status: sum(r.status == status for r in records) for status in ("finished", "diverged", "failed")}
        waiting = len(self._points) - len(records) - running
        bad = "".join(f", {count[status]} {status}" for status in ("diverged", "failed") if count[status])
        text = f"{count['finished']} finished{bad}, {running} running, {waiting} waiting"
        ended = len(records) - self._before
        if ended and (left := len(self._points) - len(records)):
            text += f"; about {_duration((time.monotonic() - self._begun) / ended * left)} left"
        return text


def _is_locked(workdir: Path) -> bool:
    return os.path.exists(workdir / ".owner.json")


def _progress(point: Point) -> str:
    row = last_row(point.workdir / "metrics.jsonl")
    if row is None:
        return "starting"
    loss = f", loss {row['loss']:.4f}" if "loss" in row else ""
    return f"epoch {row['epoch']:.1f} of {point.experiment.epochs}{loss}"


def last_row(path: Path) -> dict[str, Any] | None:
    """Return the last complete row of a metrics.jsonl, without reading all of it; None if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def first_sentence(reason: str) -> str:
    """Return the first sentence of a reason, which says what happened; the others say what to do."""
    return reason.partition(". ")[0].removesuffix(".")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
