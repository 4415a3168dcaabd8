"""Compiled programs kept on disk, so that a later process need not compile them."""

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import jax

from jaxcnn.runtime.cache_folder import cache_folder


def folder() -> Path:
    """Where they are kept: under `xla` in the cache folder, one folder for each kind of processor, since a program for
    one may crash another."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    kind = "\n".join([platform.machine(), *features])
    return cache_folder() / "xla" / hashlib.sha256(kind.encode()).hexdigest()[:12]


def enable(warn: Callable[[str], None]) -> None:
    """Let JAX look there before it compiles a program, and keep what it compiles; for the rest of the process.

    A folder that JAX has been given already (`$JAX_COMPILATION_CACHE_DIR`) stays. One that cannot be written is no
    error: programs are then compiled as ever.

    Args:
        warn: is told why programs are not kept.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    path = folder()
    try:
        path.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(path, os.W_OK | os.X_OK) else "no permission"
    except OSError as error:
        why = error.strerror
    if why:
        warn(f"compiled programs are not kept, {path}: {why}; $JAXCNN_CACHE_DIR names another cache folder")
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Small programs too: a launch has dozens, each of which takes longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
