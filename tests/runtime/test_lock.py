import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time

import jax
import pytest

from jaxcnn.runtime import lock
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import InUse, locked

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


def test_the_second_process_is_told_which_process_holds_the_lock(holder, tmp_path):
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


def test_the_lock_leaves_only_files_written_while_it_was_held(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]
    with locked(tmp_path / "a" / "b"), pytest.raises(InUse), locked(tmp_path / "a" / "b"):
        pytest.fail("held twice")


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: Not a directory"), locked(tmp_path / "file" / "run"):
        pytest.fail("held")


# --- a file system without locks


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def lockless(request, monkeypatch):
    def fail(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", fail)


def test_without_locks_a_record_keeps_the_second_process_out(lockless, tmp_path):
    run = tmp_path / "a" / "run"
    with locked(run):
        assert [path.name for path in run.iterdir()] == [".owner.json"]
        message = rf"in use by process {os.getpid()} on .*expires 10 minutes after its last update\.$"
        with pytest.raises(InputError, match=message), locked(run):
            pytest.fail("held twice")
        assert [path.name for path in run.iterdir()] == [".owner.json"]
    assert list(tmp_path.iterdir()) == []


def test_without_locks_a_dead_owner_blocks_for_ten_minutes(lockless, tmp_path):
    record = tmp_path / ".owner.json"
    for age, dead in ((590, False), (610, True)):
        record.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "2020", "token": "a"}))
        os.utime(record, (time.time() - age,) * 2)
        with contextlib.nullcontext() if dead else pytest.raises(InputError, match="process 1 on elsewhere since 2020"):
            with locked(tmp_path):
                assert json.loads(record.read_text())["pid"] == os.getpid()
            assert list(tmp_path.iterdir()) == []


def test_without_locks_an_owner_updates_its_record(lockless, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / ".owner.json", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / ".owner.json").stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(InUse), locked(tmp_path):
            pytest.fail("held twice")


def test_without_locks_an_owner_presumed_dead_keeps_the_record_of_its_successor(lockless, tmp_path, monkeypatch):
    with locked(tmp_path):
        os.utime(tmp_path / ".owner.json", (0, 0))
        second = locked(tmp_path)
        second.__enter__()
    assert (tmp_path / ".owner.json").exists()
    second.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_is_raised_unchanged(tmp_path):
    with pytest.raises(OSError, match="mine"), locked(tmp_path / "run"):
        raise OSError("mine")
    assert list(tmp_path.iterdir()) == []


def test_of_several_jax_processes_the_first_holds_the_lock(tmp_path, monkeypatch):
    with locked(tmp_path / "run"):
        monkeypatch.setattr(jax, "process_index", lambda: 1)
        with locked(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".owner.json").exists()
    assert list(tmp_path.iterdir()) == []
