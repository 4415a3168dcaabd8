"""Where a result comes from: command, code, packages, devices."""

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scikit-learn",
)  # fmt: skip


_SOURCE = Path(__file__)


def provenance() -> dict[str, Any]:
    """Command line, git revision of this package and whether its tree differs from it, versions, devices, time.

    Never fails: what is not to be had is None.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **software(),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
    }


def software() -> dict[str, Any]:
    """Command line, git revision of this package and whether its tree differs from it, versions.

    It does not touch the devices.
    """
    status = _git("status", "--porcelain", "--untracked-files=all", ":/")
    return {
        "command": [sys.executable, *sys.argv],
        "git": {"revision": _git("rev-parse", "HEAD"), "dirty": None if status is None else _differs(status)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _differs(status: str) -> bool:
    """Whether a tracked file differs, or there is Python code that is not tracked."""
    return any(not line.startswith("??") or line.endswith(".py") for line in status.splitlines())


def _git(*arguments: str) -> str | None:
    """What git says of the tree that this package's source is in; None where it is in none."""
    here = _SOURCE.parent
    try:
        command = ["git", "-C", str(here), "ls-files", "--error-unmatch", _SOURCE.name]
        # A package installed in a folder that happens to lie in a repository is not part of it.
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
