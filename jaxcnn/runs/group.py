"""What the training loop needs of the runs that it trains, and a run that trains alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from rich.console import Console

from jaxcnn import data
from jaxcnn.evaluation.exact import evaluate
from jaxcnn.objectives import Batch
from jaxcnn.runs.hooks import Run
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState
from jaxcnn.training.steps import Readings


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
            target=plan.target,
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
