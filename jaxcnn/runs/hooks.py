"""Hooks, which the loop calls at every step, evaluation and checkpoint, and at the end of a run.

Metrics, checkpoints, pictures and the summary are hooks; `train(..., hooks=...)` adds others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Console

from jaxcnn.objectives import Batch
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.selection import evaluated_part
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.training.state import TrainState
from jaxcnn.training.steps import Readings

Keep = Literal["all", "last", "results"]
"""What a finished run leaves in its folder, as in `jaxcnn.train`."""


@dataclass
class Run:
    """One launch of a run, as its hooks see it.

    Attributes:
        plan: experiment, data and programs of the run.
        workdir: folder of the run.
        console: prints nothing if the run is silent.
        state: state after the newest update. The next update donates its arrays, so a hook must copy what it keeps.
        loop_state: JSON values that are saved in every checkpoint and restored on resume; a hook keeps its own under a
            name.
        clock: seconds of the run, and images per second.
        keep: what the run leaves in its folder, as in `jaxcnn.train`.
        accuracies: accuracy of every evaluation on `evaluated_part` so far, by step; NaN if the objective has none.
        learning_rate: learning rate of the update that `on_step` reports.
        saved: step of the newest checkpoint; -1 if there is none.
    """

    plan: Plan
    workdir: Path
    console: Console
    state: TrainState
    loop_state: dict[str, Any]
    clock: Clock
    keep: Keep = "all"
    accuracies: dict[int, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    saved: int = -1

    @property
    def evaluated_part(self) -> str:
        """validation, or test if the run has no validation split."""
        return evaluated_part(self.plan.experiment.data)


class Hook:
    """Base class of hooks. Its methods do nothing; a subclass overrides those that it needs.

    An exception in a hook stops the run; the same call resumes it from its newest checkpoint. An exception in `on_end`
    is raised after the `on_end` of all other hooks; it is not retried, because the run is finished.

    Attributes:
        readings: `(state, batch, gradients, updates) -> tree of arrays`, computed within the jitted step from the state
            before the update, or None: a method, or a function in `staticmethod(...)`. The batch is augmented and
            preprocessed, gradients are 0 for parameters that do not train and not yet clipped, updates are what is
            added to the parameters. Steps with and without readings are two compiled programs; the step number decides
            which one runs. A function is compiled once for all runs in a process, a method once per hook.
        every: number of updates from one reading to the next.
    """

    readings: Callable[[TrainState, Batch, Any, Any], Readings] | None = None
    every: int = 1

    def reads(self, step: int) -> bool:
        """Return whether update `step`, counted from 1, computes the readings."""
        return step % self.every == 0

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Readings | None) -> None:
        """Handle an update. It is usually called after the next update has been started.

        Args:
            run: the launch; its `state` may already be that after the next update.
            step: number of the update, from 1.
            sums: sums of the objective over the batch; `n` is the number of images.
            readings: readings of this hook, as NumPy arrays; None at a step without readings.
        """

    def on_evaluation(self, run: Run, step: int, part: str, metrics: dict[str, float], logits: np.ndarray) -> None:
        """Handle an evaluation during training.

        Args:
            run: the launch.
            step: number of updates done.
            part: split that was evaluated.
            metrics: metrics as returned by `evaluation.exact.evaluate`.
            logits: [n, classes], in the order of the split.
        """

    def on_checkpoint(self, run: Run, step: int) -> None:
        """Handle a checkpoint of `run.state`: the write has started, and the arrays may still be read."""

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        """Handle the end of the run, after results.json has been written.

        Args:
            run: the launch.
            results: results of the last step.
            logits: [n, classes], of the test images.
        """


def check_keep(keep: str) -> None:
    """Raise InputError unless this is a value of `Keep`."""
    if keep not in get_args(Keep):
        close = did_you_mean(str(keep), get_args(Keep))
        raise InputError(f"keep is {keep!r}; it must be one of {', '.join(get_args(Keep))}.{close}")


def check_hooks(hooks: Sequence[Hook]) -> None:
    """Raise InputError unless these are hooks whose readings have an interval."""
    if not isinstance(hooks, Sequence):
        raise InputError(f"hooks is {type(hooks).__name__}; it must be a list of Hook.")
    for number, hook in enumerate(hooks):
        if not isinstance(hook, Hook):
            name = hook.__name__ if isinstance(hook, type) else type(hook).__name__
            what = f"the class {name}; give an instance of it" if isinstance(hook, type) else f"{name}; it must be Hook"
            raise InputError(f"hooks[{number}] is {what}.")
        if not isinstance(hook.every, int) or hook.every < 1:
            raise InputError(f"{type(hook).__name__}.every is {hook.every!r}; it must be an integer > 0.")
