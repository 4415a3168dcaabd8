"""Time from `python launch.py` to the end of the first training step."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from jaxcnn.bench.process import WorkerError, end, last_words, spawn

ROOT = Path(__file__).parents[2]
"""Root of the repository, which has launch.py and configs/."""

_REPEATS = 3
_POLL = 0.005


def time_launches(config: str | Path, threads: int) -> dict[str, float]:
    """Launch an experiment repeatedly, and stop it when its first step is in metrics.jsonl.

    A first launch, which is not measured, decodes the data and fills the compilation cache. Then, three times, one
    launch compiles everything and one launch uses the cache.

    Args:
        config: config file of the experiment.
        threads: CPUs that it may use.

    Returns:
        The medians `cold_seconds` and `cached_seconds`.

    Raises:
        WorkerError: a launch ended before its first step.
    """
    cold, cached = [], []
    with tempfile.TemporaryDirectory() as folder:
        _first_step(config, Path(folder), True, threads)
        for _ in range(_REPEATS):
            cold.append(_first_step(config, Path(folder), False, threads))
            cached.append(_first_step(config, Path(folder), True, threads))
    return {"cold_seconds": statistics.median(cold), "cached_seconds": statistics.median(cached)}


def _first_step(config: str | Path, folder: Path, cached: bool, threads: int) -> float:
    """Return the seconds until the first row of a run in a new workdir."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["JAXCNN_CACHE_DIR"] = str(folder / "cache")
    arguments = [str(ROOT / "launch.py"), f"--config={config}", "--config.log_every=1"]
    arguments += [f"--config.compilation_cache={cached}"]
    with tempfile.TemporaryDirectory(dir=folder) as workdir, tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = spawn([*arguments, f"--workdir={workdir}"], threads, environment, stdout=log, stderr=log)
        try:
            rows = Path(workdir) / "metrics.jsonl"
            while not (rows.exists() and rows.stat().st_size):
                if process.poll() is not None:
                    raise WorkerError(last_words(process, log))
                time.sleep(_POLL)
            return time.perf_counter() - begun
        finally:
            end(process)
