"""Compiled programs on disk, so that a later process need not compile them again."""

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import jax

from jaxcnn.runtime.cache_folder import cache_folder


def folder() -> Path:
    """Return the folder of compiled programs: `xla` in the cache folder, with one subfolder per kind of processor,
    because a program compiled for one may crash on another."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    kind = "\n".join([platform.machine(), *features])
    return cache_folder() / "xla" / hashlib.sha256(kind.encode()).hexdigest()[:12]


def enable(warn: Callable[[str], None]) -> None:
    """Make JAX load compiled programs from the cache and save new ones in it, for the rest of the process.

    If JAX already has a cache folder (`$JAX_COMPILATION_CACHE_DIR`), that folder is kept. A folder that cannot be
    written is not an error: programs are then compiled without a cache.

    Args:
        warn: called with the reason why programs are not cached.
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
        warn(f"compiled programs cannot be cached in {path}: {why}; set $JAXCNN_CACHE_DIR to another folder")
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Cache small programs too: a launch has dozens, and each takes longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
