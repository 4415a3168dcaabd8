import json
import os
import socket
import subprocess
import sys

import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import locked

HOLD = """
import sys
from pathlib import Path
from jaxcnn.runtime.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path / "run"."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_told_which_has_the_folder(holder, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    message = rf"run is in use by process {holder.pid} on {socket.gethostname()} since 20"
    with pytest.raises(InputError, match=message), locked(tmp_path / "run"):
        pytest.fail("held twice")
    assert sorted(tmp_path.rglob("*")) == before
    assert json.loads((tmp_path / "run" / ".owner.json").read_text())["pid"] == holder.pid


def test_a_dead_owner_does_not_block(holder, tmp_path):
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / ".owner.json").read_text())["pid"] == os.getpid()


def test_the_lock_leaves_nothing_behind_but_what_was_written_meanwhile(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]
    with locked(tmp_path / "a" / "b"), pytest.raises(InputError), locked(tmp_path / "a" / "b"):
        pytest.fail("held twice")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: Not a directory"), locked(tmp_path / "file" / "run"):
        pytest.fail("held")
