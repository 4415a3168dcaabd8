"""Output of a run during training: rows in metrics.jsonl, TensorBoard events and a progress bar."""

import json
import math
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxcnn.runtime.atomic import replacing


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl up to the first damaged one, which a crash leaves as the last."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def damage(path: Path) -> str | None:
    """Return a line that names the first damaged row of the metrics.jsonl of a finished run; None if all are good."""
    good, lines = len(read_rows(path)), len(path.read_bytes().splitlines()) if path.exists() else 0
    if good == lines:
        return None
    return f"{path} is damaged at line {good + 1} of {lines}; learning curves end before it"


def accuracies(rows: Iterable[dict[str, Any]], part: str) -> dict[int, float]:
    """Return the accuracies of the evaluations on a split, by step; NaN if the objective has no accuracy."""
    return {row["step"]: row.get("accuracy", math.nan) for row in rows if row["split"] == part}


class Writer:
    """Appends rows to `metrics.jsonl` and, unless told otherwise, mirrors them as TensorBoard events in `tensorboard/`.

    When a run restarts at `step`, the rows of later steps are removed, because the run will write them again. Rows
    contain only finite numbers: training and evaluation stop before they write any other, and rows of earlier versions
    with other numbers are removed too.
    """

    def __init__(self, workdir: Path, step: int, *, tensorboard: bool = True) -> None:
        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step and _finite(row)]
        with replacing(self._path) as draft:
            draft.write_text("".join(map(_line, kept)))
        self._file = self._path.open("a")
        self._events = open_events(workdir / "tensorboard", step) if tensorboard else None

    def write(self, row: dict[str, Any]) -> None:
        """Append one row: `step`, `epoch`, `split`, metrics, and the readings of the clock under `time`."""
        # Each line is flushed, so that a checkpoint is never ahead of the rows before it.
        self._file.write(_line(row))
        self._file.flush()
        if self._events is None:
            return
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{row['split']}/{name}", simple_value=value)
            for name, value in {**row, **row["time"]}.items()
            if isinstance(value, int | float) and name != "step"
        ]
        write_events(self._events, row["step"], values)

    def close(self) -> None:
        """Flush and close the files."""
        with self._file:
            if self._events is not None:
                self._events.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _finite(row: dict[str, Any]) -> bool:
    return all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def open_events(folder: Path, step: int) -> BinaryIO:
    """Open a new file of TensorBoard events, which says that events after `step` in earlier files are void."""
    from tensorboardX.proto.event_pb2 import SessionLog

    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard's own writer is not used: a full disk ends its thread, and the run would wait for it for ever.
    name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
    events = (folder / name).open("ab")
    events.write(_record(file_version="brain.Event:2"))
    events.write(_record(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
    return events


def write_events(events: BinaryIO, step: int, values: Sequence[Any]) -> None:
    """Write TensorBoard's `Summary.Value`s of a step to a file of `open_events`."""
    from tensorboardX.proto.summary_pb2 import Summary

    events.write(_record(step=step, summary=Summary(value=values)))
    events.flush()


def _record(**event: Any) -> bytes:
    """Return an event in TensorBoard's format: length, its checksum, data, its checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data = Event(wall_time=time.time(), **event).SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


class _Latest(ProgressColumn):
    def render(self, task: Any) -> Text:
        return Text(task.fields["latest"])


def progress_bar(console: Console, *, total: int, done: int) -> Progress:
    """Return a progress bar over training steps, shown only on a terminal.

    `bar.update(0, completed=…, latest="loss 0.1")` moves it.
    """
    columns: Iterable[ProgressColumn] = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        _Latest(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    bar.add_task("training", total=total, completed=done, latest="")
    return bar
