"""The command `python -m jaxcnn plot`."""

import sys

from jaxcnn.runs.pictures import draw_pictures
from jaxcnn.runs.selection import Choice
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.xla_flags import set_xla_flags


def plot(run: str, checkpoint: Choice = "last") -> None:
    """Draw the pictures of a run, and print their names.

    Args:
        run: folder of the run.
        checkpoint: last, best or a step.

    Raises:
        InputError: as in `draw_pictures`, or the folder cannot be written.
    """
    set_xla_flags()
    try:
        drawn = draw_pictures(run, checkpoint=checkpoint, report=lambda line: print(line, file=sys.stderr))
    except OSError as error:
        raise InputError(f"pictures cannot be written into {run}: {error.strerror}.") from None
    for path in drawn:
        print(path)
