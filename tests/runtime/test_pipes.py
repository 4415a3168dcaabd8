"""A command whose output is no longer read exits silently."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcnn.runtime.pipes import exits_with_its_reader

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
    program = f"from jaxcnn.runtime.pipes import exits_with_its_reader\nwith exits_with_its_reader():\n    {code}\n"
    assert with_closed_output("-c", program) == (1, "")


def test_exit_statuses_and_other_errors_pass_through(capsys):
    with pytest.raises(SystemExit, match="7"), exits_with_its_reader():
        print("told")
        sys.exit(7)
    with pytest.raises(FileNotFoundError), exits_with_its_reader():
        Path("/no/such/file").read_text()
    assert capsys.readouterr() == ("told\n", "")
