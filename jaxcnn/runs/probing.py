"""The hook that reads the probes of an experiment: probes.npz, and histograms and numbers in TensorBoard."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from jaxcnn.config import to_json
from jaxcnn.probes import EDGES, History, Instruments, read_history, write_history
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.metrics import open_events, write_events
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.errors import InputError


class Probing(Hook):
    """Keeps the readings of `Experiment.probes`. Use it as a context manager, which closes the files.

    The file is written at every checkpoint, before it, so that a run that resumes from the checkpoint has all earlier
    readings; later ones are dropped, because the run will make them again.
    """

    def __init__(self, run: Run) -> None:
        """Open the files of a run at its step.

        Raises:
            InputError: the folder has readings that were made with other settings, or that cannot be read.
        """
        probes, step = run.plan.experiment.probes, int(run.state.step)
        self.readings, self.every = Instruments(probes), probes.every
        self._path, self._settings = run.workdir / "probes.npz", to_json(self.readings.settings)
        self._kept = self._saved(step)
        self._events: BinaryIO | None = None
        if run.keep == "all":
            self._events = open_events(run.workdir / "tensorboard" / "probes", step)

    def __enter__(self) -> "Probing":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._events is not None:
            self._events.close()

    def reads(self, step: int) -> bool:
        return (step - 1) % self.every == 0

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Any) -> None:
        if readings is None:
            return
        if not self._kept and (line := _cost(readings, self.every)):
            run.console.print(line)
        self._kept.append((step - 1, readings))
        if self._events is not None:
            write_events(self._events, step - 1, [*_summaries(readings)])

    def on_checkpoint(self, run: Run, step: int) -> None:
        self._write()

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        self._write()

    def _write(self) -> None:
        if self._kept:
            steps, readings = zip(*self._kept, strict=True)
            write_history(self._path, History.of(steps, readings, self._settings))

    def _saved(self, step: int) -> list[tuple[int, dict[str, Any]]]:
        if not self._path.exists():
            return []
        history = read_history(self._path)
        kept = history.until(step)
        if kept and history.settings != self._settings:
            raise InputError(
                f"{self._path} has readings with other settings than probes now; use the same, or move the file away."
            )
        return kept


def _cost(readings: Mapping[str, Any], every: int) -> str | None:
    """Return what the readings cost in words; None if they take no further gradients."""
    gradients = {name: float(value.get("gradient_evaluations", 0)) for name, value in readings.items()}
    found = [f"{name} {count:.3g}" for name, count in gradients.items() if count]
    if not found:
        return None
    share = sum(gradients.values()) / every
    return f"a reading of the probes takes further gradients: {', '.join(found)}; about {share:.0%} more time per step"


def _summaries(readings: Mapping[str, Any]) -> Iterator[Any]:
    """Yield TensorBoard summaries: histograms of distributions, and all numbers of other readings."""
    from tensorboardX.proto.summary_pb2 import Summary

    for instrument, value in readings.items():
        for path, leaf in _leaves(dict(value), instrument):
            if isinstance(leaf, Mapping):
                yield Summary.Value(tag=path, histo=_histogram(leaf))
            elif np.ndim(leaf) == 0 and np.isfinite(leaf):
                yield Summary.Value(tag=path, simple_value=float(leaf))


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield distributions and arrays with their paths."""
    if not isinstance(tree, Mapping) or "histogram" in tree:
        yield path, tree
        return
    for name, value in tree.items():
        yield from _leaves(value, f"{path}/{name}")


def _histogram(distribution: Mapping[str, Any]) -> Any:
    """Return a distribution in TensorBoard's form, with its sums scaled to the values of the sample."""
    from tensorboardX.proto.summary_pb2 import HistogramProto

    counts = np.asarray(distribution["histogram"], float)
    filled = np.flatnonzero(counts)
    first, last = (filled[0], filled[-1]) if filled.size else (0, 0)
    n, mean, std = counts.sum(), float(distribution["mean"]), float(distribution["std"])
    return HistogramProto(
        min=EDGES[first],
        max=EDGES[last + 1],
        num=n,
        sum=n * mean,
        sum_squares=n * (std * std + mean * mean),
        # A bucket has its upper limit; the empty one in front gives the first its lower limit.
        bucket_limit=EDGES[first : last + 2],
        bucket=[0, *counts[first : last + 1]],
    )
