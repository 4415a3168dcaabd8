"""The input pipeline's share of a training step: gathering a batch, augmenting and preprocessing its images."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn import data
from jaxcnn.bench.summary import quartiles
from jaxcnn.config import load_config
from jaxcnn.runs.plan import Plan, make_plan
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.training.steps import Batch, make_train_step

_ROUNDS = 20


@dataclass(frozen=True)
class Pipeline:
    """The specification of a measurement.

    Attributes:
        config: config file of an experiment.
        seconds: measured time for each of the three ways of running its steps.
    """

    config: str
    seconds: float


def measure(job: Pipeline) -> dict[str, Any]:
    """Time the steps of an experiment as in training, without augmentation, and on one preprocessed batch.

    The three alternate in one process, in a loop like that of training, which reads a step's loss while the next runs.

    Returns:
        `batch_size`; `milliseconds` per step by `full`, `plain` (no augmentation) and `ready` (preprocessed batch),
        medians over rounds; `share` and `plain_share`, the fraction of the time of a full and of a plain step that a
        step on a preprocessed batch saves: `median` and `quartiles` over rounds.

    Raises:
        InputError: the experiment is invalid, or its data is missing.
    """
    set_xla_flags()
    plan = make_plan(load_config(job.config))
    loops = _loops(plan)
    for loop in loops.values():
        loop(0)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(_ROUNDS):
        for name, loop in loops.items():
            times[name].append(loop(job.seconds / _ROUNDS))
    return {
        "batch_size": plan.experiment.data.batch_size,
        "milliseconds": {name: statistics.median(values) for name, values in times.items()},
        "share": _share(times["full"], times["ready"]),
        "plain_share": _share(times["plain"], times["ready"]),
    }


def _share(times: list[float], ready: list[float]) -> dict[str, Any]:
    first, median, third = quartiles([1 - b / a for a, b in zip(times, ready, strict=True)])
    return {"median": median, "quartiles": [first, third]}


def _loops(plan: Plan) -> dict[str, Callable[[float], float]]:
    experiment = plan.experiment
    settings, crop, seed = experiment.data, experiment.augment.crop, experiment.seed
    preprocess, augment = data.make_preprocess(settings), data.make_augment(experiment.augment, plan.colors)
    batches = data.train_batches(plan.dataset.train, settings.batch_size, seed=seed, sharding=plan.batch_sharding)

    def prepare(images: jax.Array) -> jax.Array:
        return preprocess(augment(jax.random.key(seed), images) if augment else images)

    first = next(batches)
    ready = itertools.repeat(first | {"image": jax.jit(prepare)(first["image"])})
    return {
        "full": _loop(plan, batches, preprocess=preprocess, augment=augment),
        "plain": _loop(plan, batches, preprocess=lambda images: preprocess(data.center_crop(images, crop))),
        "ready": _loop(plan, ready),
    }


def _loop(plan: Plan, batches: Iterator[Batch], **options: Any) -> Callable[[float], float]:
    """Return a function that runs steps for some seconds, at least two steps, and returns the milliseconds per step."""
    experiment = plan.experiment
    step = make_train_step(experiment.model, plan.programs.optimizer, objective=experiment.objective, **options)
    step = jax.jit(step, donate_argnums=0, out_shardings=plan.replicated)
    state = plan.initial_state()

    def run(seconds: float) -> float:
        nonlocal state
        steps, last, begun = 0, None, time.perf_counter()
        while steps < 2 or time.perf_counter() - begun < seconds:
            state, metrics, _ = step(state, next(batches))
            jax.device_get(last)
            steps, last = steps + 1, metrics
        jax.device_get(last)
        return 1e3 * (time.perf_counter() - begun) / steps

    return run
