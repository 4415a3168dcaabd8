"""The loop over the steps of a group of runs. No other module has a loop over training steps."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxcnn.objectives import Batch
from jaxcnn.runs.ending import Pictures, Summary
from jaxcnn.runs.group import Group
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.metrics import accuracies, read_rows
from jaxcnn.runs.probing import Probing
from jaxcnn.runs.rows import Rows
from jaxcnn.runs.saves import Saves
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Results, write_results
from jaxcnn.training.non_finite import NonFinite


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
        Preempted, SaveError, OSError: see `launch.train`.
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
        """Make the results of the live members, from evaluations of the last step. This is the only use of the labels
        of a target."""
        step = self.plan.total_steps
        target = ("target",) if self.plan.dataset.target is not None else ()
        for part in dict.fromkeys(("test", self.evaluated_part, *target)):
            # If this launch trained the last step, the loop has already evaluated it on one of them.
            if any(part not in member.found or member.found[part][0] != step for member in self.live):
                self._evaluate(part, step)
        for member in self.live:
            run, metrics = member.run, {part: found[1] for part, found in member.found.items()}
            member.results = Results(
                metrics["test"],
                step,
                run.clock.seconds,
                str(run.workdir),
                metrics.get("validation"),
                metrics.get("target"),
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
