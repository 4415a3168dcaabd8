"""The command `python -m jaxcnn summarize`."""

import sys
from typing import Literal

from jaxcnn import sweep


def summarize(
    folder: str,
    *,
    by: str | None = None,
    baseline: str | None = None,
    metric: str = "test.error",
    select: str | None = None,
    format: Literal["text", "markdown", "csv", "json"] = "text",
) -> None:
    """Print the table of a sweep, and draw its pictures into the folder; a folder that cannot be written gets none.

    Args:
        folder: folder of the sweep.
        by, baseline, metric, select: as in `sweep.summarize`.
        format: format of the table.

    Raises:
        InputError: as in `sweep.summarize`; nothing has been printed.
    """
    table = sweep.summarize(folder, by=by, baseline=baseline, metric=metric, select=select)
    print(getattr(table, format)())
    try:
        for path in sweep.draw_summary(table, folder):
            print(f"drew {path}", file=sys.stderr)
    except OSError as error:
        print(f"pictures cannot be written into {folder}: {error.strerror}", file=sys.stderr)
