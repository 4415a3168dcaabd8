"""Several runs as one for the training loop: a step or an evaluation of all of them is one vmapped program."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxcnn import data
from jaxcnn.evaluation.exact import evaluate_members
from jaxcnn.objectives import Batch
from jaxcnn.runs.hooks import Run
from jaxcnn.runs.stacking import stack, unstack
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.steps import Readings


class Together:
    """Runs of one structure at the same step; see `group.Group`."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        """Put the states of the runs on the devices, stacked, and leave NumPy arrays in the runs."""
        self.runs, self.console, self._plan = runs, console, runs[0].plan
        for run in runs:
            run.state = jax.device_get(run.state)
        self.state = jax.device_put(stack([run.state for run in runs]), self._plan.replicated)
        colors = [run.plan.colors for run in runs]
        common = all(each is colors[0] for each in colors)
        self._colors = colors[0] if common else jnp.stack(colors)

    def train_batches(self, step: int) -> Iterator[Batch]:
        plans, size = [run.plan for run in self.runs], self._plan.experiment.data.batch_size
        seeds = [plan.experiment.seed for plan in plans]
        options = {"start_step": step, "sharding": self._plan.batch_sharding, "target": self._plan.target}
        if len({*seeds}) == 1:
            return data.train_batches(plans[0].dataset.train, size, seed=seeds[0], **options)
        return data.member_train_batches([plan.dataset.train for plan in plans], size, seeds=seeds, **options)

    def compile(self, batch: Batch, readings: tuple[Callable[..., Readings], ...]) -> Callable[..., Any]:
        step = self._plan.programs.train_members
        return step.lower(self.state, batch, self._colors, readings=readings).compile()

    def update(self, program: Callable[..., Any], batch: Batch) -> Any:
        self.state, *answer = program(self.state, batch, self._colors)
        return answer

    def by_run(self, answer: Any) -> list[Any]:
        host = jax.device_get(answer)
        return [jax.tree.map(lambda x, i=i: x[i], host) for i in range(len(self.runs))]

    def refresh(self) -> None:
        for run, state in zip(self.runs, unstack(self.state, len(self.runs)), strict=True):
            run.state = state

    def evaluate(self, part: str, poll: Callable[[], None]) -> list[tuple[dict[str, float], np.ndarray] | NonFinite]:
        plan, splits = self._plan, [getattr(run.plan.dataset, part) for run in self.runs]
        size, sharding = plan.experiment.data.eval_batch_size, plan.batch_sharding
        if all(split is splits[0] for split in splits):
            batches = data.eval_batches(splits[0], size, sharding=sharding)
        else:
            batches = data.member_eval_batches(splits, size, sharding=sharding)
        return evaluate_members(plan.programs.eval_members, self.state.variables, batches, poll=poll)
