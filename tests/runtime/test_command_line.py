"""A command whose output is no longer read exits silently."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcnn.runtime.command_line import command_line

ROOT = Path(__file__).parents[2]


def with_closed_output(*arguments):
    """Return the status and stderr of a Python command that writes to a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *arguments], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, text=True, check=False
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("launch.py", "--help"),
        ("-m", "jaxcnn", "--help"),
        ("-m", "jaxcnn", "describe", "vgg_d"),
        ("-m", "jaxcnn", "describe", "lenet5", "--format=csv"),
    ],
)
def test_a_command_exits_silently_when_its_output_is_no_longer_read(arguments):
    assert with_closed_output(*arguments) == (1, "")


@pytest.mark.parametrize("code", ["print('buffered')", "print('x' * 100_000)", "print('x', flush=True)"])
def test_the_exit_is_silent_whether_the_output_is_buffered_or_not(code):
    program = f"from jaxcnn.runtime.command_line import command_line\nwith command_line():\n    {code}\n"
    assert with_closed_output("-c", program) == (1, "")


def test_exit_statuses_and_other_errors_pass_through(capsys):
    with pytest.raises(SystemExit, match="7"), command_line():
        print("told")
        sys.exit(7)
    with pytest.raises(FileNotFoundError), command_line():
        Path("/no/such/file").read_text()
    assert capsys.readouterr() == ("told\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("code", ["print('buffered')", "print('x' * 100_000)", "print('x', flush=True)"])
def test_output_to_a_full_disk_is_one_message(code):
    program = f"from jaxcnn.runtime.command_line import command_line\nwith command_line():\n    {code}\n"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def test_an_error_of_another_file_passes_through():
    with pytest.raises(OSError, match="another disk"), command_line():
        raise OSError(28, "another disk")


def test_signs_that_the_encoding_lacks_are_replaced():
    signs = r"'\u22120.5 \u00d7 10\u207b\u00b2 \u00e9 \u8a9e \udcff'"
    program = f"from jaxcnn.runtime.command_line import command_line\nwith command_line():\n    print({signs})\n"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"-0.5 x 10-2 e ? ?\n", b"")


def test_ctrl_c_in_a_command_is_silent(capsys):
    with pytest.raises(SystemExit, match="130"), command_line():
        raise KeyboardInterrupt
    assert capsys.readouterr() == ("", "")


INTERRUPTED = """
import os, signal, sys, types
# A job in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt:
    def find_spec(self, name, *_):
        if name == "flax":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize("arguments", [("-m", "jaxcnn", "claims"), ("launch.py", "--help")])
def test_ctrl_c_during_the_imports_is_silent(arguments, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


OTHER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import jaxcnn
print(signal.getsignal(signal.SIGINT).__name__)
"""


def test_another_program_keeps_its_own_handling_of_ctrl_c(tmp_path):
    (tmp_path / "launch.py").write_text(OTHER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "launch.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.stdout == "default_int_handler\n"
