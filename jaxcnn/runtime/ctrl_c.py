"""Importing this lets Ctrl-C end a command of this package silently while it still imports the rest.

Python would print a traceback. `command_line` restores Python's handling. Other programs that import the package are
left alone.
"""

import signal
import sys
import threading
from pathlib import Path


def _is_command() -> bool:
    """Return whether this process is `python -m jaxcnn`, `jaxcnn` or launch.py."""
    program, package = sys.argv[0] if sys.argv else "", Path(__file__).parents[1]
    if program == "-m":
        # Another program, `python -m other`, may import this package on its way.
        return sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] == [package.name] if "-m" in sys.orig_argv else False
    return Path(program).stem == package.name or Path(program).absolute() == package.parent / "launch.py"


if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    and _is_command()
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
