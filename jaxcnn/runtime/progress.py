"""How long work is shown on stderr while it goes on: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

_FIRST, _EVERY = 10.0, 60.0
"""Seconds until the first line of what is not shown on a terminal, and between two lines."""


@contextlib.contextmanager
def counted(what: str, total: int, unit: str, *, show: bool = True) -> Iterator[Callable[..., None]]:
    """Show how far work has come that consists of a known number of units.

    Args:
        what: is being done.
        total: number of units.
        unit: their name, in the plural.
        show: False: show nothing.

    Returns:
        A function to call when a unit is done, or with the number of units that are done since the last call.
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
    """A context manager that shows on a terminal what is being done, for work whose length is not known."""
    return Console(stderr=True).status(Text(what))
