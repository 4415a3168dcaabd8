import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxcnn.runtime.provenance import provenance, versions


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def _forget():
    yield
    versions.cache_clear()


def determined():
    """Return the record of a new process."""
    versions.cache_clear()
    return provenance()


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A working folder that belongs to no repository, even where the temporary folder does."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_record_has_versions_devices_and_command(outside, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch.py", "--workdir=a b"])
    record = determined()
    assert record["command"] == [sys.executable, "launch.py", "--workdir=a b"]
    assert record["versions"]["python"] == platform.python_version()
    for name in ("jax", "flax", "numpy", "orbax-checkpoint"):
        assert record["versions"][name] == importlib.metadata.version(name)
    assert len(record["devices"]) == jax.device_count() == 8
    assert record["cpu"]["cores"] == len(os.sched_getaffinity(0))
    assert record["cpu"]["model"] in Path("/proc/cpuinfo").read_text()
    assert json.loads(json.dumps(record)) == record


def test_the_revision_is_the_packages_whatever_the_current_folder_is(outside, tmp_path, monkeypatch):
    source = tmp_path / "checkout" / "package" / "file.py"
    source.parent.mkdir(parents=True)
    source.write_text("1")
    monkeypatch.setattr("jaxcnn.runtime.provenance._SOURCE", source)
    git(source.parents[1], "init", "--quiet")
    assert determined()["git"] == {"revision": None, "dirty": None}  # The file is not yet tracked.
    git(source.parents[1], "add", ".")
    git(source.parents[1], "commit", "--quiet", "--message=a")
    revision = git(source.parents[1], "rev-parse", "HEAD")
    git(outside, "init", "--quiet")  # The current folder belongs to another repository.
    (source.parents[1] / "untracked.txt").write_text("1")
    assert determined()["git"] == {"revision": revision, "dirty": False}
    (source.parents[1] / "new.py").write_text("1")
    assert determined()["git"] == {"revision": revision, "dirty": True}
    (source.parents[1] / "new.py").unlink()
    source.write_text("2")
    assert determined()["git"] == {"revision": revision, "dirty": True}


def test_values_that_cannot_be_determined_are_none(outside, monkeypatch):
    nothing = {"revision": None, "dirty": None}
    monkeypatch.setattr("jaxcnn.runtime.provenance._SOURCE", outside / "file.py")
    assert determined()["git"] == nothing
    monkeypatch.setenv("PATH", "")
    assert determined()["git"] == nothing

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    versions = determined()["versions"]
    assert versions.pop("python") == platform.python_version()
    assert set(versions.values()) == {None}


def test_the_software_is_determined_once(monkeypatch):
    first = determined()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("git ran again"))
    assert provenance() == first | {"time": provenance()["time"]}
