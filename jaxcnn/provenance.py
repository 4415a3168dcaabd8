"""Where a result comes from: command, code, packages, devices."""

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import jax

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scikit-learn",
)  # fmt: skip


def provenance() -> dict[str, Any]:
    """Command line, git revision and whether the tree differs from it, versions, devices, time.

    Never fails: what is not to be had is None.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **software(),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
    }


def software() -> dict[str, Any]:
    """Command line, git revision and whether the tree differs from it, versions; it does not touch the devices."""
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "command": [sys.executable, *sys.argv],
        "git": {"revision": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
