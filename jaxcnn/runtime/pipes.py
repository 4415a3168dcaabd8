"""Output to a pipe that its reader has closed."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exits_with_its_reader() -> Iterator[None]:
    """Exit without a traceback when the output is no longer read, as in `jaxcnn train --help | head -1`.

    Raises:
        SystemExit: with status 1, as rich exits in this case, if the block has written to a closed pipe.
    """
    try:
        try:
            yield
        finally:
            # Otherwise Python flushes the buffers when it exits, where an error can no longer be caught.
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)
