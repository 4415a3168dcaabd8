"""Progress of long work on stderr: a bar on a terminal, occasional lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

_FIRST, _EVERY = 10.0, 60.0
"""Seconds until the first line, and between two lines, if stderr is not a terminal."""


@contextlib.contextmanager
def counted(what: str, total: int, unit: str, *, show: bool = True) -> Iterator[Callable[..., None]]:
    """Show the progress of work that consists of a known number of units.

    Args:
        what: description of the work.
        total: number of units.
        unit: name of the units, in the plural.
        show: whether to show anything.

    Yields:
        A function to call when a unit is done, or with the number of units done since the last call.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, due = 0, time.monotonic() + _FIRST
    with Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int = 1) -> None:
            nonlocal done, due
            done += count
            bar.update(task, completed=done)
            if show and not console.is_terminal and done < total and time.monotonic() >= due:
                print(f"{what}: {done:,} of {total:,} {unit}", file=sys.stderr, flush=True)
                due = time.monotonic() + _EVERY

        yield advance


def waiting(what: str) -> Status:
    """Return a context manager that shows on a terminal what is being done, for work of unknown length."""
    return Console(stderr=True).status(Text(what))
