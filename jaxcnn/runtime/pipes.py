"""Output into a pipe whose reader has closed it."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exits_with_its_reader() -> Iterator[None]:
    """End the program without a traceback when nothing reads its output, as in `jaxcnn train --help | head -1`.

    Raises:
        SystemExit: of status 1, as rich exits in this case, when a write of the block has met a closed pipe.
    """
    try:
        try:
            yield
        finally:
            # Whatever is buffered would otherwise be written when Python ends, where no error can be caught.
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)
