"""What happens beside the updates of a run: hooks that the loop calls at a step, an evaluation, a checkpoint and the
end. Rows of metrics, checkpoints, pictures and the summary are hooks; `train(..., hooks=...)` adds others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxcnn.objectives import Batch
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.selection import evaluated_part
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import TrainState
from jaxcnn.training.steps import Readings


@dataclass
class Run:
    """One launch of a run, as its hooks see it.

    Attributes:
        plan: its experiment, data and programs.
        workdir: its folder.
        console: prints nothing where the run is silent.
        state: after the newest update. The next update donates its arrays, so a hook copies what it keeps.
        carry: JSON values that every checkpoint keeps and a resumed run gets back; a hook has its own under a name.
        clock: seconds of the run, and images in a second.
        accuracies: of the evaluations on `evaluated_part` so far, by step; NaN where the objective has no accuracy.
        learning_rate: that the update which `on_step` reports used.
        saved: step of the newest checkpoint; -1 where there is none.
    """

    plan: Plan
    workdir: Path
    console: Console
    state: TrainState
    carry: dict[str, Any]
    clock: Clock
    accuracies: dict[int, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    saved: int = -1

    @property
    def evaluated_part(self) -> str:
        """validation, or test where none is set aside."""
        return evaluated_part(self.plan.experiment.data)


class Hook:
    """What is to happen at the events of a run. Every method does nothing here; a subclass defines those that it needs.

    An exception in a hook ends the run, which the same call continues from its newest checkpoint; at the end of the run
    the other hooks are called first.

    Attributes:
        readings: `(state, batch, gradients, updates) -> tree of arrays`, computed within the jitted step with the state
            before the update, or None. Steps with and without readings are two compiled programs, of which the number
            of the step chooses one. A function is compiled once for all runs in a process, a method once for each hook.
        every: updates from one reading to the next.
    """

    readings: Callable[[TrainState, Batch, Any, Any], Readings] | None = None
    every: int = 1

    def reads(self, step: int) -> bool:
        """Whether update `step`, counted from 1, computes the readings."""
        return step % self.every == 0

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Readings | None) -> None:
        """After every update, one update late: the device works on update `step + 1` already.

        Args:
            run: whose `state` may be that after the next update.
            step: updates done, from 1.
            sums: of the objective over the batch; `n` counts the images.
            readings: of this hook, as NumPy arrays; None at a step without.
        """

    def on_evaluation(self, run: Run, step: int, part: str, metrics: dict[str, float], logits: np.ndarray) -> None:
        """After an evaluation in the course of training.

        Args:
            run: its launch.
            step: updates done.
            part: of the data.
            metrics: as `evaluation.exact.evaluate` gives them.
            logits: [n, classes], in the order of the data.
        """

    def on_checkpoint(self, run: Run, step: int) -> None:
        """When `run.state` is saved: the write has begun, and its arrays may still be read."""

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        """When the run is finished and results.json has been written.

        Args:
            run: its launch.
            results: of the last step.
            logits: [n, classes], of the test images.
        """


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
