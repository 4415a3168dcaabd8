"""Claim: batch normalization reduces internal covariate shift, and that is why it helps.

There are two meanings of internal covariate shift. For Ioffe & Szegedy (2015, section 2) the inputs of a layer change
their distribution because the layers before it learn. For Santurkar et al. (2018, definition 2.1) the gradient of a
layer changes because the layers before it have moved. Whether a reduction is why batch normalization helps is tested
with noise after it (section 2.2), which gives every unit another mean and deviation at every step.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import norms
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval, ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, line, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.layers import BatchNorm
from jaxcnn.models import VGG
from jaxcnn.objectives import Batch
from jaxcnn.plots.page import save
from jaxcnn.probes import input_drift, internal_covariate_shift, network_loss
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.atomic import write_json
from jaxcnn.sweep import Record
from jaxcnn.training.state import IMPLEMENTATION, TrainState

ARMS = {"none": "without", "batch": "batch norm", "noisy": "batch norm and noise"}
SHIFTS = {"gradients": "the gradient of a layer", "inputs": "the input of a layer"}
"""What shifts: in the meaning of Santurkar and others, and in that of Ioffe and Szegedy."""
STALLED = 81.0
"""Validation error in percent, nine tenths of that of guessing, above which a run has learned nothing."""


class _NoisyBatchNorm(norms.BatchNorm):
    """Batch normalization and, in training, a shift from U(-0.5, 0.5) and a factor from U(1, 1.25) for each unit."""

    def __call__(self, x: jax.Array, *, train: bool, update_stats: bool | None = None) -> jax.Array:
        y = super().__call__(x, train=train, update_stats=update_stats)
        if not train:
            return y
        shape = (2, *(1,) * (x.ndim - 1), x.shape[-1])
        shift, factor = jax.random.uniform(self.make_rng("dropout"), shape, y.dtype)
        return y * (1 + factor / 4) + (shift - 0.5)


@dataclass(frozen=True)
class NoisyBatchNorm(BatchNorm):
    """Layer for batch normalization with noise after it, drawn anew at every step (Santurkar et al. 2018, section
    2.2)."""

    module = _NoisyBatchNorm


class Shifts(Hook):
    """Writes both shifts of every layer but the first, which has none, to shifts.json.

    Attributes:
        every: updates from one reading to the next.
    """

    def __init__(self, model: Any, *, every: int) -> None:
        self.readings, self.every = _shifts(model), every

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Any) -> None:
        if readings is not None:
            kept = run.loop_state.setdefault("shifts", {name: [] for name in SHIFTS})
            for name in SHIFTS:
                # A layer whose gradient is 0 has no relative shift.
                kept[name].append([float(x) if np.isfinite(x) else None for x in readings[name]])

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        write_json(run.workdir / "shifts.json", run.loop_state["shifts"])


@lru_cache(maxsize=4)
def _shifts(model: Any) -> Callable[[TrainState, Batch, Any, Any], dict[str, jax.Array]]:
    """Return a reading: `gradients`, the change of each layer's gradient relative to its size, and `inputs`, the
    distance of the distributions of its input before and after the update; [layers] each, without the first layer."""

    def read(state: TrainState, batch: Batch, gradients: Any, updates: Any) -> dict[str, jax.Array]:
        root = jax.random.wrap_key_data(state.key, impl=IMPLEMENTATION)
        # The noise of two steps; the gradients are compared with the same noise.
        before, after = (
            network_loss(model, state.variables, batch, key=jax.random.fold_in(root, state.step + i)) for i in (0, 1)
        )
        moved = internal_covariate_shift(before, state.params, updates)["layers"]
        drifted = input_drift(before, state.params, updates, after=after)["layers"]
        return {
            "gradients": jnp.stack([each["difference"] / each["norm"] for each in moved.values()][1:]),
            "inputs": jnp.stack([each["distance"] for each in drifted.values()][1:]),
        }

    return read


def measure(study: Study) -> Measurements:
    """Return both shifts, averaged over layers and readings, and validation and test errors, by arm, learning rate and
    seed; no shifts for a run that has diverged or stalled."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2,)),
            small=SmallConvNet((16, 32, 64)),
            full=VGG("A", 10, head="cifar", kernel_init="he"),
        ),
        data=study.cifar10(train=8000, test=2000),
        # Without momentum an update is a multiple of the gradient, as the definitions presume.
        optimizer=Optimizer(momentum=0.0, weight_decay=0.0),
        epochs=study.choose(tiny=1, small=5, full=20),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    rates = study.choose(tiny=(0.02, 0.2), small=(0.02, 0.06, 0.2, 0.6), full=(0.02, 0.06, 0.2, 0.6))
    kinds = {"none": "none", "batch": "batch", "noisy": NoisyBatchNorm()}
    arms = {
        f"{arm} {rate:g}": override(base, {"model.norm": norm, "optimizer.learning_rate": rate})
        for arm, norm in kinds.items()
        for rate in rates
    }
    every = study.choose(tiny=2, small=20, full=200)
    records = study.repeat(arms, hooks=lambda e: [Shifts(e.model, every=every)])
    by_rate = {arm: [records[f"{arm} {rate:g}"] for rate in rates] for arm in ARMS}
    return {
        "rates": list(rates),
        "shifts": {arm: [[_means(r) for r in runs] for runs in by_rate[arm]] for arm in ARMS},
        "validation_errors": {arm: [[error(r, "validation") for r in runs] for runs in by_rate[arm]] for arm in ARMS},
        "test_errors": {arm: [[error(r) for r in runs] for runs in by_rate[arm]] for arm in ARMS},
    }


def _means(record: Record) -> dict[str, float] | None:
    """Return the mean of each shift over layers and readings; None for a run that has diverged or stalled."""
    if not record.results or error(record, "validation") > STALLED:
        return None
    found = json.loads((Path(record.workdir) / "shifts.json").read_text())
    return {name: float(np.nanmean(np.array(values, float))) for name, values in found.items()}


def best(measurements: Measurements, arm: str) -> int:
    """Return the place of the learning rate with the least mean validation error."""
    return int(np.mean(measurements["validation_errors"][arm], axis=1).argmin())


def compared(measurements: Measurements, shift: str, a: Sequence[Any], b: Sequence[Any]) -> Estimate | None:
    """Return how many times as large a shift is in some runs as in others, the geometric mean over the seeds; None if
    fewer than two seeds have both."""
    pairs = [(x[shift], y[shift]) for x, y in zip(a, b, strict=True) if x and y]
    return ratio(*zip(*pairs, strict=True)) if len(pairs) > 1 else None


def at_each_rate(measurements: Measurements, shift: str) -> list[Estimate | None]:
    """Return how many times as large a shift is with batch normalization as without, at each learning rate."""
    with_it, without = (measurements["shifts"][arm] for arm in ("batch", "none"))
    return [compared(measurements, shift, a, b) for a, b in zip(with_it, without, strict=True)]


def at_best_rates(measurements: Measurements, shift: str, arm: str) -> Estimate | None:
    """Return how many times as large a shift is in an arm as without a norm, each at its own best rate."""
    a, b = (measurements["shifts"][each][best(measurements, each)] for each in (arm, "none"))
    return compared(measurements, shift, a, b)


def decide(measurements: Measurements) -> Verdict:
    """Say which shift is reduced at which learning rates, and whether noise takes the benefit away."""
    rates, parts = measurements["rates"], {}
    found = {shift: at_each_rate(measurements, shift) for shift in SHIFTS}
    for shift, estimates in found.items():
        parts[shift] = [f"{rate:g}" for rate, x in zip(rates, estimates, strict=True) if x is not None and x.high < 1]
    errors = {arm: measurements["test_errors"][arm][best(measurements, arm)] for arm in ARMS}
    noise, gain = at_best_rates(measurements, "inputs", "noisy"), difference(errors["none"], errors["noisy"])
    refuted = noise is not None and noise.low > 1 and gain.low > 0
    known = {shift: sum(x is not None for x in estimates) for shift, estimates in found.items()}
    everywhere = [shift for shift in SHIFTS if parts[shift] and len(parts[shift]) == known[shift]]
    verdict = "does not hold"
    if any(parts.values()):
        where = " and ".join(
            f"{SHIFTS[shift]} is meant" + f" at a learning rate of {' or '.join(at)}" * (shift not in everywhere)
            for shift, at in parts.items()
            if at
        )
        limits = [where] * (len(everywhere) < len(SHIFTS)) + ["it does not say that this is why it helps"] * refuted
        verdict = f"holds if {', and '.join(limits)}" if limits else "holds"
    effect = at_best_rates(measurements, "gradients", "batch")
    at = "; ".join(f"{SHIFTS[shift]} shifts {_times(rates, estimates)}" for shift, estimates in found.items())
    scores = ", ".join(
        f"{np.mean(errors[arm]):.1f} % {ARMS[arm] if arm == 'none' else f'with {ARMS[arm]}'} at "
        f"{rates[best(measurements, arm)]:g}"
        for arm in ARMS
    )
    conditions = f"With batch normalization {at} times as much as without. The test error is {scores}."
    if noise is not None:
        conditions += (
            f" With the noise the inputs shift {noise:.2f} times as much as without batch normalization, and the test "
            f"error is {-gain.mean:+.1f} ({-gain.high:+.1f} to {-gain.low:+.1f}) points, so that the reason is "
            f"{'' if refuted else 'not '}refuted."
        )
    if effect is None:
        return Verdict(verdict, None, (None, None), conditions)
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _times(rates: Sequence[float], estimates: Sequence[Estimate | None]) -> str:
    pairs = zip(rates, estimates, strict=True)
    return ", ".join(f"{'unknown' if x is None else f'{x:.2f}'} at {rate:g}" for rate, x in pairs)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw both shifts over the learning rate, and the test errors at the best rates."""
    errors = {arm: measurements["test_errors"][arm][best(measurements, arm)] for arm in ARMS}
    gradients, inputs, noise = (
        at_best_rates(measurements, shift, arm)
        for shift, arm in (("gradients", "batch"), ("inputs", "batch"), ("inputs", "noisy"))
    )
    title = (
        f"Each at its best rate, with batch norm the gradient of a layer shifts {_ratio(gradients)} times and its "
        f"input {_ratio(inputs)} times as much as without, with noise after it {_ratio(noise)} times"
    )
    axes = [("learning rate", "shift of the gradient"), ("learning rate", "shift of the input"), ("", "test error, %")]
    area, (*panels, right) = page(title, axes, label_width=86)
    colours = dict(zip(ARMS, (COLOURS[1], COLOURS[0], COLOURS[2]), strict=True))
    short = {"none": "without", "batch": "batch norm", "noisy": "with noise"}
    for panel, shift in zip(panels, SHIFTS, strict=True):
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(measurements["rates"], [f"{rate:g}" for rate in measurements["rates"]])
        panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ends = []
        for arm, colour in colours.items():
            values = [[run[shift] for run in runs if run] for runs in measurements["shifts"][arm]]
            places = [i for i, each in enumerate(values) if len(each) > 1]
            estimates = [_geometric(values[i]) for i in places]
            if estimates:
                line(panel, [measurements["rates"][i] for i in places], estimates, colour)
                ends.append((estimates[-1].mean, short[arm], colour))
        labels(panel, ends)
    rows(right, [(ARMS[arm], errors[arm], colours[arm]) for arm in ARMS])
    note(area, "left: means with 95 % intervals; shifts relative to the gradient's norm and the input's deviation")
    return save(area, path)


def _geometric(values: Sequence[float]) -> Estimate:
    return Estimate(*map(float, np.exp(mean_interval(np.log(values).tolist()))))


def _ratio(estimate: Estimate | None) -> str:
    return "an unknown number of" if estimate is None else f"{estimate.mean:.2g}"


CLAIM = Claim(
    name="batch_norm_shift",
    statement="Batch normalization reduces internal covariate shift, and that is why it helps.",
    source="Ioffe & Szegedy 2015, sections 1 and 2; Santurkar et al. 2018, section 2",
    rule=(
        "A convolutional network trains on CIFAR-10 by plain gradient descent at several learning rates without a "
        "norm, with batch normalization, and with batch normalization and noise after it, which draws for each unit "
        "and step a shift from U(-0.5, 0.5) and a factor from U(1, 1.25). Two shifts are read over the training and "
        "averaged over all layers but the first: of the gradient of a layer when the layers before it make their "
        "update, relative to its norm (Santurkar et al. 2018, definition 2.1), and of the mean and the deviation of "
        "its inputs from one step to the next, relative to their deviation. Runs that diverge or stall, with a "
        "validation error above 81 %, nine tenths of that of guessing, are left out. A shift is reduced at a learning "
        "rate if the 95 % interval of the ratio with and without batch normalization, paired by seed, lies below 1. "
        "That this is why it helps is refuted if, each at its own best learning rate by the validation error, the "
        "inputs shift more with the noise than without a norm, and the test error with the noise is lower than without "
        "a norm, both with 95 % intervals beyond equality. The effect is the ratio of the shift of the gradients at "
        "the best rates. The claim holds if both shifts are reduced at every rate at which both networks train, and "
        "the reason is not refuted; it holds in part for the shifts and rates that are reduced, or if the reason is "
        "refuted; without any reduction it does not hold."
    ),
    effect="shift of the gradients with batch normalization divided by without, at the best learning rates",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
