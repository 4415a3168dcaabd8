"""Train for some steps with probes, in memory, for a report."""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxcnn.config import Experiment, Probes, to_json
from jaxcnn.objectives import mean_metrics, network_params
from jaxcnn.probes import History, Instruments
from jaxcnn.probes.record import Record
from jaxcnn.probes.taps import called_modules
from jaxcnn.runs import checkpoint
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.group import Alone
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.loop import run_group
from jaxcnn.runs.plan import Plan, make_plan
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.progress import counted
from jaxcnn.training.state import TrainState


@fixed_settings()
def probe_run(
    experiment: Experiment,
    *,
    steps: int,
    run: str | Path | None = None,
    label: str = "as it is",
    changes: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
    verbose: bool = True,
) -> Record:
    """Train for `steps` updates and return the readings of `experiment.probes`, also those after the last of them.

    The loop is that of `jaxcnn.train`, without evaluation. It may train longer than `experiment.epochs`; the learning
    rate then stays as at the end of its schedule. Nothing is kept on disk.

    Args:
        experiment: experiment with `probes.every` set.
        steps: number of updates, at least 1.
        run: folder of a run whose newest checkpoint is the start; it is only read. None: initial weights.
        label, changes: as in `Record`.
        arrays: images and labels for `data.source="arrays"` in memory.
        verbose: show the progress on stderr.

    Raises:
        InputError: parts of the experiment do not fit together, or the run has no checkpoint that fits.
        NonFinite: already the first reading is not finite. Later, `Record.diverged` says so.
        Preempted: SIGTERM or Ctrl-C arrived.
    """
    plan = make_plan(experiment, arrays)
    state, loop_state = (plan.initial_state(), {}) if run is None else _saved(run, plan)
    start = int(state.step)
    # The loop has the hook's probes, not those that are written to a run folder; and it evaluates and saves never.
    quiet = dataclasses.replace(experiment, probes=Probes(), eval_every=_NEVER, checkpoint_every=_NEVER)
    # A reading is of the weights before an update, so those after the last update need one more.
    plan = dataclasses.replace(plan, experiment=quiet, total_steps=start + steps + 1)
    units = _units(plan, state)
    console = Console(quiet=True)
    with (
        counted(f"probing {label}", steps, "steps", show=verbose) as advance,
        tempfile.TemporaryDirectory(prefix="jaxcnn-probe-") as folder,
    ):
        reader = _Reader(experiment.probes, start, steps, advance)
        launch = Run(plan, Path(folder), console, state, loop_state, Clock(), "results")
        diverged = None
        try:
            (outcome,) = run_group(Alone(launch), hooks=[reader], on_rows=[None])
        except _Enough:
            pass
        else:
            if not reader.kept:
                raise outcome
            diverged = str(outcome).partition(";")[0]
    at, readings = zip(*reader.kept, strict=True)
    return Record(
        label=label,
        changes=changes or {},
        history=History.of(at, readings, to_json(reader.readings.settings)),
        losses=np.array(reader.losses),
        images=experiment.data.batch_size,
        units=units,
        diverged=diverged,
    )


_NEVER = 2**31


class _Enough(Exception):
    """All readings are made."""


class _Reader(Hook):
    """Keeps readings and losses, and stops the loop after the last reading."""

    def __init__(self, probes: Probes, start: int, steps: int, advance: Callable[..., None]) -> None:
        self.readings, self.every = Instruments(probes), probes.every
        self.kept: list[tuple[int, dict[str, Any]]] = []
        self.losses: list[float] = []
        self._start, self._steps, self._advance = start, steps, advance

    def reads(self, step: int) -> bool:
        done = step - 1 - self._start
        return done % self.every == 0 or done == self._steps

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Any) -> None:
        self.losses.append(mean_metrics(sums)["loss"])
        if readings is not None:
            self.kept.append((step - 1, readings))
        if step > self._start + self._steps:
            raise _Enough
        self._advance()


def _saved(run: str | Path, plan: Plan) -> tuple[TrainState, dict[str, Any]]:
    folder = Path(run).absolute() / "checkpoints"
    if not checkpoint.steps(folder):
        raise InputError(
            f"{run} has no checkpoint to continue from. Give a run with one, or a config file to train from the start."
        )
    found, damaged = checkpoint.read_state(folder, plan.state, lambda line: None)
    if found is None:
        raise InputError(f"{folder} has only damaged checkpoints ({', '.join(map(str, damaged))}); give another run.")
    state, loop_state = found
    return state.replace(hyper=plan.state.hyper), loop_state


def _units(plan: Plan, state: TrainState) -> dict[str, int]:
    """Return the number of values in the output of each layer for one image."""
    images = np.zeros((1, *plan.image_shape), np.float32)
    model_state = dict(state.model_state)

    def forward(params: Any) -> jax.Array:
        return plan.experiment.model.apply({"params": network_params(params), **model_state}, images, train=False)

    modules = called_modules(forward, state.params)
    return {name: math.prod(module.output.shape[1:]) for name, module in modules.items() if module.output}
