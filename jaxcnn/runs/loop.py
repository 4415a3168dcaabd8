"""Start or resume a run and loop over its steps. No other module has a loop over training steps."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from rich.console import Console

from jaxcnn import data
from jaxcnn.config import Experiment, file_modules
from jaxcnn.describe import tables as describe
from jaxcnn.evaluation.exact import evaluate
from jaxcnn.objectives import Batch, trained
from jaxcnn.runs import checkpoint
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.ending import Pictures, Summary
from jaxcnn.runs.hooks import Hook, Keep, Run, check_hooks, check_keep
from jaxcnn.runs.init_from import starting_weights
from jaxcnn.runs.metrics import accuracies, read_rows
from jaxcnn.runs.plan import Plan, make_plan
from jaxcnn.runs.probing import Probing
from jaxcnn.runs.rows import Rows, headline
from jaxcnn.runs.saves import Saves
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Results, Source, check_space, check_workdir, finished, open_workdir, write_results
from jaxcnn.runtime import compilation_cache
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.lock import locked
from jaxcnn.training import optim
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState
from jaxcnn.training.steps import Readings


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
    config_text = None if config_file is None else read_config_text(config_file)
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
            check_space(plan, [workdir])
            if line := open_workdir(plan, workdir, source, config_text):
                console.print(line)
            clock = Clock(loop_state.pop("seconds", 0.0))
            run = Run(plan, workdir, console, state, loop_state, clock, keep)
            try:
                (outcome,) = run_group(Alone(run), hooks=hooks, on_rows=[on_row])
            except OSError as error:
                raise checkpoint.SaveError(f"workdir {workdir} can no longer be written: {error}") from error
    if isinstance(outcome, NonFinite):
        raise outcome
    return outcome


def read_config_text(file: str | Path) -> bytes:
    """Return the text of a config file, as this process has run it; raise InputError if it cannot be read."""
    try:
        return file_modules.source(Path(file).resolve())
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
    if console.quiet:  # The tables take a tenth of a second.
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


def _begin(plan: Plan, workdir: Path, source: Source, console: Console) -> tuple[TrainState, dict[str, Any]]:
    """Return the state to start from, and the values that the loop saved with it (`loop_state`)."""
    restored = checkpoint.restore_state(workdir / "checkpoints", plan.state, console.print)
    if restored is not None:
        console.print(f"resuming from step {int(restored[0].step):,} in {workdir}/checkpoints")
        return restored
    return plan.initial_state(starting_weights(plan, source, console.print)), {}


class Group(Protocol):
    """Runs that train as one program: `Alone`, or several as `together.Together`.

    Attributes:
        runs: the runs, which differ only in numbers.
        console: where the loop prints.
        state: state after the newest update, of all runs.
    """

    runs: Sequence[Run]
    console: Console

    @property
    def state(self) -> TrainState: ...

    def train_batches(self, step: int) -> Iterator[Batch]:
        """Return the batches from a step on."""

    def compile(self, batch: Batch, readings: tuple[Callable[..., Readings], ...]) -> Callable[..., Any]:
        """Return the compiled training step for batches like this one."""

    def update(self, program: Callable[..., Any], batch: Batch) -> Any:
        """Start an update with a compiled step, and return the rest of its result, for `by_run`."""

    def by_run(self, answer: Any) -> list[Any]:
        """Return the sums, the learning rate and the readings of an update for each run, on the host."""

    def refresh(self) -> None:
        """Set the state of every run to its part of `state`."""

    def evaluate(self, part: str, poll: Callable[[], None]) -> list[tuple[dict[str, float], np.ndarray] | NonFinite]:
        """Return the metrics and logits of every run on a split, or the error of those that are not finite."""


class Alone:
    """A run that trains alone; see `Group`."""

    def __init__(self, run: Run) -> None:
        self.runs, self.console = (run,), run.console
        self._run, self._plan = run, run.plan

    @property
    def state(self) -> TrainState:
        return self._run.state

    def train_batches(self, step: int) -> Iterator[Batch]:
        plan, experiment = self._plan, self._plan.experiment
        return data.train_batches(
            plan.dataset.train,
            experiment.data.batch_size,
            seed=experiment.seed,
            start_step=step,
            sharding=plan.batch_sharding,
        )

    def compile(self, batch: Batch, readings: tuple[Callable[..., Readings], ...]) -> Callable[..., Any]:
        step = self._plan.programs.train_step
        return step.lower(self._run.state, batch, self._plan.colors, readings=readings).compile()

    def update(self, program: Callable[..., Any], batch: Batch) -> Any:
        self._run.state, *answer = program(self._run.state, batch, self._plan.colors)
        return answer

    def by_run(self, answer: Any) -> list[Any]:
        return [jax.device_get(answer)]

    def refresh(self) -> None:
        """Do nothing: the state of the run is always the newest."""

    def evaluate(self, part: str, poll: Callable[[], None]) -> list[tuple[dict[str, float], np.ndarray] | NonFinite]:
        plan = self._plan
        split, size = getattr(plan.dataset, part), plan.experiment.data.eval_batch_size
        batches = data.eval_batches(split, size, sharding=plan.batch_sharding)
        try:
            return [evaluate(plan.programs.eval_step, self._run.state.variables, batches, poll=poll)]
        except NonFinite as error:
            return [error]


def run_group(
    group: Group,
    *,
    hooks: Sequence[Hook] = (),
    on_rows: Sequence[Callable[[dict[str, Any]], None] | None],
    on_failure: Callable[[Run, NonFinite], None] = lambda run, error: None,
) -> list[Results | NonFinite]:
    """Train the runs of a group, evaluate them, write their results and call their hooks' `on_end`; pictures and
    summary come last.

    Args:
        group: the runs.
        hooks: further hooks, for a run that trains alone.
        on_rows: for every run, a function that receives the rows of its metrics, or None.
        on_failure: called as soon as a number of a run is not finite; the other runs continue.

    Returns:
        For every run its results, or the error that ended it.

    Raises:
        Preempted, SaveError, OSError: see `train`.
    """
    signals = Signals()
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals.watch())
        members = []
        for run, on_row in zip(group.runs, on_rows, strict=True):
            probing = (stack.enter_context(Probing(run)),) if run.plan.experiment.probes.every else ()
            saves, rows = stack.enter_context(Saves(run)), stack.enter_context(Rows(run, on_row))
            run.accuracies = accuracies(read_rows(run.workdir / "metrics.jsonl"), run.evaluated_part)
            members.append(_Member(run, saves, (*probing, saves, rows, *hooks)))
        loop = _Loop(group, members, signals, on_failure)
        try:
            loop.train()
            loop.conclude()
        except Preempted:
            loop.save()
            if loop.live:
                step, which = int(group.state.step), "this run" if len(members) == 1 else "these runs"
                raise Preempted(f"stopped at step {step:,}; the same command continues {which}") from None
    for member in loop.live:
        write_results(member.results, member.run.plan.experiment)
    with contextlib.ExitStack() as ends:
        # All of them are called, even if one raises; the first one pushed is called last.
        for member in reversed(loop.live):
            for hook in reversed((*member.hooks, Pictures(), Summary())):
                ends.callback(hook.on_end, member.run, member.results, member.found["test"][2])
    return [member.failure or member.results for member in members]


@dataclass
class _Member:
    """A run of a group in its loop.

    Attributes:
        run: the run.
        saves: the hook that saves its checkpoints.
        hooks: all of its hooks.
        found: step, metrics and logits of its newest evaluation on each split.
        failure: the error that ended it; None as long as all of its numbers are finite.
        results: its results, at the end.
    """

    run: Run
    saves: Saves
    hooks: tuple[Hook, ...]
    found: dict[str, tuple[int, dict[str, float], np.ndarray]] = field(default_factory=dict)
    failure: NonFinite | None = None
    results: Results | None = None


class _Loop:
    """The training loop of one launch."""

    def __init__(
        self,
        group: Group,
        members: Sequence[_Member],
        signals: Signals,
        on_failure: Callable[[Run, NonFinite], None],
    ) -> None:
        self.group, self.members, self.signals, self.on_failure = group, members, signals, on_failure
        self.plan, self.evaluated_part = members[0].run.plan, members[0].run.evaluated_part
        self.compiled: dict[tuple[int, ...], Any] = {}  # By the indices of the hooks with readings.

    @property
    def live(self) -> list[_Member]:
        """The members that have not failed."""
        return [member for member in self.members if member.failure is None]

    def train(self) -> None:
        """Train to the last step, as long as a member is live; evaluate and save when due."""
        plan, experiment, hooks = self.plan, self.plan.experiment, self.members[0].hooks
        step, pending = int(self.group.state.step), None
        with contextlib.closing(self.group.train_batches(step)) as batches:
            while True:
                last = step == plan.total_steps
                evaluating = last or self._due(step, experiment.eval_every)
                saving = last or self._due(step, experiment.checkpoint_every)
                stopping = self.signals.received
                if evaluating or saving or stopping:
                    pending = self._report(pending)
                if stopping:
                    raise Preempted
                with self._paused():
                    if evaluating:
                        self._evaluate_now(step)
                    if saving:
                        self.save()
                if last or not self.live:
                    return
                batch, step = next(batches), step + 1
                reading = tuple(i for i, hook in enumerate(hooks) if hook.readings and hook.reads(step))
                if reading not in self.compiled:
                    self._compile(reading, batch)
                answer = self.group.update(self.compiled[reading], batch)
                # One step late: the device computes this step while the metrics of the previous one are read.
                self._report(pending)
                pending = (step, reading, answer)

    def conclude(self) -> None:
        """Make the results of the live members, from evaluations of the last step."""
        step = self.plan.total_steps
        for part in dict.fromkeys(("test", self.evaluated_part)):
            # If this launch trained the last step, the loop has already evaluated it on one of them.
            if any(part not in member.found or member.found[part][0] != step for member in self.live):
                self._evaluate(part, step)
        for member in self.live:
            run, metrics = member.run, {part: found[1] for part, found in member.found.items()}
            member.results = Results(
                metrics["test"], step, run.clock.seconds, str(run.workdir), metrics.get("validation")
            )

    def save(self) -> None:
        """Save the states of the live members, unless a checkpoint of their step exists."""
        step = int(self.group.state.step)
        unsaved = [member for member in self.live if member.run.saved != step]
        if unsaved:
            self.group.refresh()
        for member in unsaved:
            # A new checkpoint replaces an old one, so the previous one of every member must be complete by then.
            member.saves.wait()
            if not self.plan.programs.are_finite(member.run.state.variables):
                self._fail(member, f"a weight is not finite after step {step}")
        for member in unsaved:
            if member.failure is None:
                for hook in member.hooks:
                    hook.on_checkpoint(member.run, step)

    def _due(self, step: int, every: int) -> bool:
        epoch, rest = divmod(step, self.plan.steps_per_epoch)
        return epoch > 0 and rest == 0 and epoch % every == 0

    @contextlib.contextmanager
    def _paused(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member.run.clock.paused())
            yield

    def _compile(self, reading: tuple[int, ...], batch: Batch) -> None:
        hooks, first, begun = self.members[0].hooks, not self.compiled, time.perf_counter()
        with self._paused():
            self.compiled[reading] = self.group.compile(batch, tuple(hooks[i].readings for i in reading))
        which = f" with the readings of {', '.join(type(hooks[i]).__name__ for i in reading)}" if reading else ""
        self.group.console.print(f"compiled the training step{which} in {time.perf_counter() - begun:.1f} s")
        if first:
            for member in self.members:
                member.run.clock.start()

    def _report(self, pending: tuple[int, tuple[int, ...], Any] | None) -> None:
        """Read the metrics of a step and pass them to the hooks."""
        if pending is None:
            return
        step, reading, answer = pending
        for member, (sums, (rate, readings)) in zip(self.members, self.group.by_run(answer), strict=True):
            if member.failure is not None:
                continue
            sums = {name: float(value) for name, value in sums.items()}
            for name, value in sums.items():
                if not math.isfinite(value) and member.failure is None:
                    self._fail(member, f"the {name} of step {step} is {value}")
            if member.failure is not None:
                continue
            member.run.learning_rate = float(rate)
            found = dict(zip(reading, readings, strict=True))
            for i, hook in enumerate(member.hooks):
                hook.on_step(member.run, step, sums, found.get(i))

    def _evaluate_now(self, step: int) -> None:
        """Evaluate the live members, and pass what they lack to their hooks."""
        if all(step in member.run.accuracies for member in self.live):
            return
        self._evaluate(self.evaluated_part, step)
        for member in self.live:
            run = member.run
            if step in run.accuracies:
                continue
            _, metrics, logits = member.found[self.evaluated_part]
            for hook in member.hooks:
                hook.on_evaluation(run, step, self.evaluated_part, dict(metrics), logits)
            run.accuracies[step] = metrics.get("accuracy", math.nan)

    def _evaluate(self, part: str, step: int) -> None:
        found = self.group.evaluate(part, self.signals.poll)
        for member, answer in zip(self.members, found, strict=True):
            if member.failure is not None:
                continue
            if isinstance(answer, NonFinite):
                self._fail(member, f"the evaluation on the {part} split after step {step} failed: {answer}")
                continue
            metrics, logits = answer
            logits.setflags(write=False)
            member.found[part] = (step, metrics, logits)

    def _fail(self, member: _Member, what: str) -> None:
        """End a member, because a number is not finite."""
        run = member.run
        where = f"the last good checkpoint is step {run.saved} in {run.workdir}/checkpoints"
        member.failure = NonFinite(
            f"{what}; {'no checkpoint was saved' if run.saved < 0 else where}. Lower optimizer.learning_rate or set "
            "optimizer.clip_norm, in a new workdir. Other causes are labels outside 0..classes-1 and images that are "
            "not finite."
        )
        self.on_failure(run, member.failure)
