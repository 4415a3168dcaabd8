"""Start or resume a run and loop over its steps. No other module has a loop over training steps."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.describe import tables as describe
from jaxcnn.evaluation.exact import evaluate
from jaxcnn.objectives import trained
from jaxcnn.runs import checkpoint
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.ending import Pictures, Summary
from jaxcnn.runs.hooks import Hook, Keep, Run, check_hooks, check_keep
from jaxcnn.runs.init_from import starting_weights
from jaxcnn.runs.metrics import accuracies, read_rows
from jaxcnn.runs.plan import Plan, make_plan
from jaxcnn.runs.rows import Rows, headline
from jaxcnn.runs.saves import Saves
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Results, Source, check_workdir, finished, open_workdir, write_results
from jaxcnn.runtime import compilation_cache
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.lock import locked
from jaxcnn.training import optim
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState


def train(
    experiment: Experiment,
    workdir: str | Path,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    init_from: str | Path | None = None,
    init_from_checkpoint: Choice = "last",
    config_file: str | Path | None = None,
    hooks: Sequence[Hook] = (),
    keep: Keep = "all",
    on_row: Callable[[dict[str, Any]], None] | None = None,
    accept_changed_code: bool = False,
    verbose: bool = True,
) -> Results:
    """Run an experiment in a folder; continue from the newest checkpoint if the folder has one.

    A finished run is not run again; its results are read. A run that was stopped, in whatever way, ends with the same
    weights and the same rows in metrics.jsonl as a run that was not.

    Args:
        experiment: experiment to run.
        workdir: folder for everything that the run writes; it is created if needed.
        arrays: images and labels in memory for `data.source="arrays"`: `train_images`, `train_labels`, `test_images`,
            `test_labels`.
        init_from: folder of a run whose weights initialize the network; its optimizer state is not used.
        init_from_checkpoint: which of its checkpoints: `last`, `best` (by the accuracy on its validation split, or on
            the test split if it has none, which biases test errors low) or a step.
        config_file: file that the experiment was loaded from, if any; its text is kept as `config.py`.
        hooks: further hooks, called at steps, evaluations, checkpoints and the end; a run that is already finished
            calls none.
        keep: what a finished run leaves in its folder besides config, provenance, metrics and results. all: the latest
            two checkpoints and the best, TensorBoard files, pictures; last: the last checkpoint; results: nothing.
        on_row: function that receives every row of metrics.jsonl when it is written, for example to log it elsewhere.
            The rows after the newest checkpoint of a stopped run are written again when it resumes.
        accept_changed_code: continue a run although its own classes, or the files they import, have changed.
        verbose: print devices, tables, a progress bar on a terminal, and a summary.

    Returns:
        Metrics of the last step on the test split, and on the validation split if there is one; steps and seconds.

    Raises:
        InputError: an argument does not fit; nothing has been written.
        Preempted: SIGTERM or Ctrl-C arrived; the state is saved.
        NonFinite: a training metric, a weight or an evaluation is NaN or infinite; no row, checkpoint or result of it
            has been written.
        SaveError: a checkpoint or another file of the run could not be written.
        RestoreError: a checkpoint could not be read although nothing shows that it is damaged (for example, an I/O
            error); nothing has been changed. Damaged checkpoints are skipped with a message.
    """
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment is {type(experiment).__name__}; it must be Experiment.")
    check_hooks(hooks)
    check_keep(keep)
    workdir = check_workdir(workdir)
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    source = Source.of(experiment, init_from, arrays, init_from_checkpoint)
    config_text = None if config_file is None else _config_text(config_file)
    if (results := _finished(experiment, workdir, source, console, accept_changed_code)) is not None:
        return results
    if experiment.compilation_cache:
        compilation_cache.enable(console.print)
    with fixed_settings():
        plan = make_plan(experiment, arrays)
        print_plan(console, plan)
        with locked(workdir):
            # Another launch may have trained in the folder before it was locked.
            if (results := _finished(experiment, workdir, source, console, accept_changed_code)) is not None:
                return results
            state, loop_state = _begin(plan, workdir, source, console)
            if line := open_workdir(plan, workdir, source, config_text):
                console.print(line)
            try:
                clock = Clock(loop_state.pop("seconds", 0.0))
                return _go(Run(plan, workdir, console, state, loop_state, clock, keep), hooks, on_row)
            except OSError as error:
                raise checkpoint.SaveError(f"workdir {workdir} can no longer be written: {error}") from error


def _config_text(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(
            f"config_file {file} cannot be read: {error.strerror}; give the file or leave it out."
        ) from error


def _finished(
    experiment: Experiment, workdir: Path, source: Source, console: Console, accept_changed_code: bool
) -> Results | None:
    """Return the results of a finished run and print a line about them; return None if the run is not finished."""
    results = finished(experiment, workdir, source, accept_changed_code=accept_changed_code)
    if results is not None:
        console.print(f"{workdir} already holds the finished run of this experiment: test {headline(results.test)}.")
    return results


def print_devices(console: Console) -> None:
    """Print one line with the number, the platform and the kind of devices."""
    devices = jax.devices()
    console.print(f"devices: {len(devices)} {devices[0].platform} ({devices[0].device_kind})")


def print_plan(console: Console, plan: Plan) -> None:
    """Print the devices, the network, its weight decay, the data and the number of steps."""
    if console.quiet:
        return
    experiment, dataset = plan.experiment, plan.dataset
    print_devices(console)
    describe.print_table(describe.network_table(experiment.model, plan.image_shape))
    settings = experiment.optimizer
    report = optim.decay_report(settings, plan.state.params)
    mask = jax.tree.leaves(trained(experiment.objective, plan.state.params))
    report = [(name, shape, decays and on) for (name, shape, decays), on in zip(report, mask, strict=True)]
    describe.print_table(describe.decay_table(report, settings.weight_decay, settings.weight_decay_form))
    if not all(mask):
        names = ", ".join(name for (name, *_), on in zip(report, mask, strict=True) if on)
        console.print(f"{type(experiment.objective).__name__} trains {sum(mask)} of {len(mask)} parameters: {names}")
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items() if part is not None)
    console.print(
        f"data: {counts} images; {plan.total_steps:,} steps of {experiment.data.batch_size} images, "
        f"{plan.steps_per_epoch:,} per epoch"
    )


def _go(run: Run, hooks: Sequence[Hook], on_row: Callable[[dict[str, Any]], None] | None) -> Results:
    """Train, evaluate, write the results and call the hooks' `on_end`; pictures and summary come last."""
    signals = Signals()
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals.watch())
        hooks = (stack.enter_context(Saves(run)), stack.enter_context(Rows(run, on_row)), *hooks)
        rows = read_rows(run.workdir / "metrics.jsonl")
        run.accuracies = accuracies(rows, run.evaluated_part)
        loop = _Loop(run, hooks, signals)
        try:
            loop.train()
            results, logits = loop.results()
        except Preempted:
            loop.save()
            step = int(run.state.step)
            raise Preempted(f"stopped at step {step:,}; the same command continues this run") from None
    write_results(results, run.plan.experiment)
    with contextlib.ExitStack() as ends:
        # All of them are called, even if one raises; the first one pushed is called last.
        for hook in reversed((*hooks, Pictures(), Summary())):
            ends.callback(hook.on_end, run, results, logits)
    return results


def _begin(plan: Plan, workdir: Path, source: Source, console: Console) -> tuple[TrainState, dict[str, Any]]:
    """Return the state to start from, and the values that the loop saved with it (`loop_state`)."""
    restored = checkpoint.restore_state(workdir / "checkpoints", plan.state, console.print)
    if restored is not None:
        console.print(f"resuming from step {int(restored[0].step):,} in {workdir}/checkpoints")
        return restored
    return plan.initial_state(starting_weights(plan, source, console.print)), {}


class _Loop:
    """The training loop of one launch."""

    def __init__(self, run: Run, hooks: Sequence[Hook], signals: Signals) -> None:
        self.run, self.hooks, self.signals = run, hooks, signals
        self.compiled: dict[tuple[int, ...], Any] = {}  # By the indices of the hooks with readings.
        self.last: tuple[int, dict[str, float], np.ndarray] | None = None  # The newest evaluation.

    def train(self) -> None:
        """Train to the last step; evaluate and save when due."""
        run, plan, experiment = self.run, self.run.plan, self.run.plan.experiment
        step, pending = int(run.state.step), None
        batches = data.train_batches(
            plan.dataset.train,
            experiment.data.batch_size,
            seed=experiment.seed,
            start_step=step,
            sharding=plan.batch_sharding,
        )
        with contextlib.closing(batches):
            while True:
                last = step == plan.total_steps
                evaluating = last or self._due(step, experiment.eval_every)
                saving = last or self._due(step, experiment.checkpoint_every)
                stopping = self.signals.received
                if evaluating or saving or stopping:
                    pending = self._report(pending)
                if stopping:
                    raise Preempted
                with run.clock.paused():
                    if evaluating and step not in run.accuracies:
                        self._evaluate_now(step)
                    if saving:
                        self.save()
                if last:
                    return
                batch, step = next(batches), step + 1
                reading = tuple(i for i, hook in enumerate(self.hooks) if hook.readings and hook.reads(step))
                if reading not in self.compiled:
                    self._compile(reading, batch)
                run.state, *answer = self.compiled[reading](run.state, batch, plan.colors)
                # One step late: the device computes this step while the metrics of the previous one are read.
                self._report(pending)
                pending = (step, reading, answer)

    def results(self) -> tuple[Results, np.ndarray]:
        """Return the results of the last step, and the logits of the test images."""
        run = self.run
        # If this launch trained the last step, the loop has already evaluated it.
        step, *last = self.last or (None,)
        known = {run.evaluated_part: last} if step == run.plan.total_steps else {}
        found = {part: known.get(part) or self._evaluate(part) for part in dict.fromkeys(("test", run.evaluated_part))}
        metrics = {part: values for part, (values, _) in found.items()}
        results = Results(
            metrics["test"], run.plan.total_steps, run.clock.seconds, str(run.workdir), metrics.get("validation")
        )
        return results, found["test"][1]

    def save(self) -> None:
        """Save the state, unless a checkpoint of its step exists."""
        run, step = self.run, int(self.run.state.step)
        if run.saved == step:
            return
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(run.state.variables)):
            raise self._non_finite(f"a weight is not finite after step {step}")
        for hook in self.hooks:
            hook.on_checkpoint(run, step)

    def _due(self, step: int, every: int) -> bool:
        epoch, rest = divmod(step, self.run.plan.steps_per_epoch)
        return epoch > 0 and rest == 0 and epoch % every == 0

    def _compile(self, reading: tuple[int, ...], batch: dict[str, jax.Array]) -> None:
        run, first, begun = self.run, not self.compiled, time.perf_counter()
        with run.clock.paused():
            readings = tuple(self.hooks[i].readings for i in reading)
            step = run.plan.programs.train_step
            self.compiled[reading] = step.lower(run.state, batch, run.plan.colors, readings=readings).compile()
        which = f" with the readings of {', '.join(type(self.hooks[i]).__name__ for i in reading)}" if reading else ""
        run.console.print(f"compiled the training step{which} in {time.perf_counter() - begun:.1f} s")
        if first:
            run.clock.start()

    def _report(self, pending: tuple[int, tuple[int, ...], list[Any]] | None) -> None:
        """Read the metrics of a step and pass them to the hooks."""
        if pending is None:
            return
        step, reading, answer = pending
        sums, (rate, readings) = jax.device_get(answer)
        sums = {name: float(value) for name, value in sums.items()}
        for name, value in sums.items():
            if not math.isfinite(value):
                raise self._non_finite(f"the {name} of step {step} is {value}")
        self.run.learning_rate = float(rate)
        found = dict(zip(reading, readings, strict=True))
        for i, hook in enumerate(self.hooks):
            hook.on_step(self.run, step, sums, found.get(i))

    def _evaluate_now(self, step: int) -> None:
        run = self.run
        metrics, logits = self._evaluate(run.evaluated_part)
        self.last = (step, metrics, logits)
        logits.setflags(write=False)
        for hook in self.hooks:
            hook.on_evaluation(run, step, run.evaluated_part, dict(metrics), logits)
        run.accuracies[step] = metrics.get("accuracy", math.nan)

    def _evaluate(self, part: str) -> tuple[dict[str, float], np.ndarray]:
        run, size = self.run, self.run.plan.experiment.data.eval_batch_size
        batches = data.eval_batches(getattr(run.plan.dataset, part), size, sharding=run.plan.batch_sharding)
        try:
            return evaluate(run.plan.programs.eval_step, run.state.variables, batches, poll=self.signals.poll)
        except NonFinite as error:
            what = f"the evaluation on the {part} split after step {run.state.step} failed: {error}"
            raise self._non_finite(what) from None

    def _non_finite(self, what: str) -> NonFinite:
        saved = self.run.saved
        where = f"the last good checkpoint is step {saved} in {self.run.workdir}/checkpoints"
        return NonFinite(
            f"{what}; {'no checkpoint was saved' if saved < 0 else where}. Lower optimizer.learning_rate or set "
            "optimizer.clip_norm, in a new workdir. Other causes are labels outside 0..classes-1 and images that are "
            "not finite."
        )
