"""What a run says while it goes: rows in metrics.jsonl, TensorBoard events, a progress bar."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text


def mean_metrics(sums: dict[str, float]) -> dict[str, float]:
    """`loss` and `accuracy` of a number of examples from the sums that the step functions return."""
    return {"loss": sums["loss"] / sums["n"], "accuracy": sums["correct"] / sums["n"]}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that a crash left unfinished is passed over."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON so that a reader sees the old file or the new one, never half of one."""
    replace_text(path, json.dumps(value, indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one move."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


class Writer:
    """Appends rows to `metrics.jsonl` and mirrors them as TensorBoard events under `tensorboard/`.

    Opening it for a run that restarts at `step` cuts the rows of later steps, which the run will write again.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        replace_text(self._path, "".join(map(_line, kept)))
        self._file = self._path.open("a")
        # The default name has the second of opening alone: a restart within it would overwrite the file before.
        folder, suffix = str(workdir / "tensorboard"), f".{step}"
        self._events = SummaryWriter(folder, purge_step=step + 1, filename_suffix=suffix)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row: `step`, `epoch`, `split`, metrics, and what the clock says under `time`."""
        # Whole lines reach the file, so that a checkpoint never runs ahead of the rows before it.
        self._file.write(_line(row))
        self._file.flush()
        for name, value in {**row, **row["time"]}.items():
            if isinstance(value, int | float) and name != "step":
                self._events.add_scalar(f"{row['split']}/{name}", value, row["step"])

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        self._events.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


class _Latest(ProgressColumn):
    def render(self, task: Any) -> Text:
        return Text(task.fields["latest"])


def progress_bar(console: Console, *, total: int, done: int) -> Progress:
    """A bar over training steps, shown on a terminal only; `bar.update(0, completed=…, latest="loss 0.1")` moves it."""
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
