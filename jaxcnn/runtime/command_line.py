"""What all command lines share: Ctrl-C, the encoding of the output, and output that cannot be written."""

import codecs
import contextlib
import os
import signal
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

# Signs that have no decomposition into ASCII: minus, dashes, product dot, multiplication, apostrophe, bullet, boxes.
_SIGNS = "\u2212\u2013\u2014\u00b7\u00d7\u2019\u2022\u2502\u2500\u256d\u256e\u2570\u256f"
_PLAIN = {ord(sign): plain for sign, plain in zip(_SIGNS, "---*x'*|-++++", strict=True)}


@contextlib.contextmanager
def command_line() -> Iterator[None]:
    """Run a command, without a traceback for what is no fault of the program.

    Characters that the encoding of the output lacks are replaced: a minus sign by a hyphen, others by a question mark.

    Raises:
        SystemExit: with status 130 after Ctrl-C; with status 1 if the output is no longer read, as in `jaxcnn train
            --help | head -1`, as rich exits in this case; with status 1 after a message if the output cannot be
            written, for example to a full disk.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # `ctrl_c` has set it while the program was imported.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="jaxcnn.plain")
    try:
        try:
            yield
        finally:
            # Otherwise Python flushes the buffers when it exits, where an error can no longer be caught.
            sys.stdout.flush()
            sys.stderr.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                _discard(stream)
        sys.exit(1)
    except OSError as error:
        # An error of another file has its name, and leaves the output writable.
        if error.filename is not None or _is_writable(sys.stdout):
            raise
        _discard(sys.stdout)
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _discard(stream: TextIO) -> None:
    """Let a stream write into nothing, so that Python can flush it when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_writable(stream: TextIO) -> bool:
    """Return whether a stream can be written: Python forgets what it could not write, so a line is tried."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return False
    return True


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    signs = [unicodedata.normalize("NFKD", sign).translate(_PLAIN).encode("ascii", "ignore").decode() for sign in text]
    return "".join(sign or "?" for sign in signs), error.end


codecs.register_error("jaxcnn.plain", _plain)
