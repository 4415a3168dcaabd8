"""The provenance of a result: command, code, packages, devices."""

import contextlib
import contextvars
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scikit-learn",
)  # fmt: skip


_SOURCE = Path(__file__)


def provenance() -> dict[str, Any]:
    """Return the command line, this package's git revision and whether its tree differs from it, versions, devices,
    CPU and time.

    It never fails: a value that cannot be determined is None.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **software(),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "cpu": _cpu(),
    }


def _cpu() -> dict[str, Any]:
    """Return the CPU model and the number of cores that this process may use; they decide the order of summation."""
    model = platform.processor() or None
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"model": model, "cores": cores}


def machine_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the differences between the machines of two `provenance` records, as in `cpu cores 4, now 2`.

    Records made before version 0.2 do not describe the CPU.
    """

    def parts(record: Mapping[str, Any]) -> dict[str, Any]:
        cpu = record.get("cpu", {})
        return {
            "devices": len(record["devices"]) if "devices" in record else None,
            "device kind": record.get("device_kind"),
            "cpu model": cpu.get("model"),
            "cpu cores": cpu.get("cores"),
        }

    a, b = parts(saved), parts(now)
    return [f"{name} {a[name]}, now {b[name]}" for name in a if None not in (a[name], b[name]) and a[name] != b[name]]


def software() -> dict[str, Any]:
    """Return the command line, this package's git revision and whether its tree differs from it, and versions.

    It does not access the devices.
    """
    return {"command": command(), **versions()}


_commanded = contextvars.ContextVar[Sequence[str] | None]("_commanded", default=None)


def command() -> list[str]:
    """Return the command line of this process or, in a worker, of the process that it works for."""
    return [*(_commanded.get() or (sys.executable, *sys.argv))]


@contextlib.contextmanager
def commanded_by(words: Sequence[str]) -> Iterator[None]:
    """Let `command` return the command line of another process, for which this one works."""
    token = _commanded.set(tuple(words))
    try:
        yield
    finally:
        _commanded.reset(token)


@functools.cache
def versions() -> dict[str, Any]:
    """Return git's revision and the versions, once, because the code of this process stays what it was."""
    status = _git("status", "--porcelain", "--untracked-files=all", ":/")
    return {
        "git": {"revision": _git("rev-parse", "HEAD"), "dirty": None if status is None else _differs(status)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _differs(status: str) -> bool:
    """Return whether a tracked file differs or a Python file is untracked."""
    return any(not line.startswith("??") or line.endswith(".py") for line in status.splitlines())


def _git(*arguments: str) -> str | None:
    """Return git's output for the repository that tracks this package's source; None if there is none."""
    here = _SOURCE.parent
    try:
        command = ["git", "-C", str(here), "ls-files", "--error-unmatch", _SOURCE.name]
        # A package installed in a folder inside a repository is not necessarily part of that repository.
        subprocess.run(command, capture_output=True, timeout=10, check=True)
        command = ["git", "-C", str(here), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
