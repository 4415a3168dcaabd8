"""Claim: the MNIST experiment of the batch normalization paper (section 4.1, figure 1)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, ratio
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, curve, error
from jaxcnn.config import Experiment, Optimizer
from jaxcnn.layers import Activation, BatchNorm, Dense, Flatten, Layer
from jaxcnn.models import Chain
from jaxcnn.objectives import Batch
from jaxcnn.plots.page import save
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.atomic import write_json
from jaxcnn.training.state import TrainState

ARMS = {"none": "without", "batch": "batch norm"}
PERCENTILES = (15, 50, 85)


@dataclass(frozen=True)
class Binary(Layer):
    """1 for pixels above one half, otherwise 0; the paper's images are binary."""

    role = "activation"
    acts_on = "unit"

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return (x > 0.5).astype(x.dtype)


def network(norm: bool, units: int) -> Chain:
    """Return the paper's network: three dense sigmoid layers of 100 units, small Gaussian weights (its standard
    deviation is not given; 0.1 here), batch normalization before each sigmoid or none."""
    hidden: tuple[Layer, ...] = ()
    for i in (1, 2, 3):
        hidden += (Dense(units, kernel_init=0.1, name=f"fc{i}"),)
        hidden += (BatchNorm(name=f"norm{i}"),) if norm else ()
        hidden += (Activation("sigmoid", name=f"act{i}"),)
    output = Dense(10, kernel_init=0.1, name="output")
    return Chain((Binary(name="binary"), Flatten(name="flatten"), *hidden, output))


class SigmoidInputs(Hook):
    """Writes percentiles over the training batch of the inputs of the last sigmoid layer to sigmoid_inputs.json.

    Attributes:
        every: updates from one reading to the next.
        window: readings that are averaged, because one batch has only 60 images.
    """

    def __init__(self, model: Chain, *, every: int, window: int) -> None:
        self.readings, self.every, self.window = _percentiles(model), every, window

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Any) -> None:
        if readings is None:
            return
        kept = run.loop_state.setdefault("sigmoid_inputs", {"steps": [], "percentiles": [], "window": []})
        kept["window"].append(readings.tolist())
        if len(kept["window"]) == self.window:
            kept["steps"].append(step)
            kept["percentiles"].append(np.mean(kept["window"], axis=0).round(4).tolist())
            kept["window"] = []

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        kept = run.loop_state["sigmoid_inputs"]
        write_json(run.workdir / "sigmoid_inputs.json", {k: kept[k] for k in ("steps", "percentiles")})


@lru_cache(maxsize=4)
def _percentiles(model: Chain) -> Callable[[TrainState, Batch, Any, Any], jax.Array]:
    """Return a reading: percentiles [3, units] of the input of the last sigmoid."""
    before = Chain(model.records[:-2])

    def read(state: TrainState, batch: Batch, gradients: Any, updates: Any) -> jax.Array:
        inputs, _ = before.apply(state.variables, batch["image"], train=True, mutable=["batch_stats"])
        return jnp.percentile(inputs, jnp.array(PERCENTILES), axis=0)

    return read


def measure(study: Study) -> Measurements:
    """Return validation accuracy over the steps, final test error, and percentiles of the sigmoid inputs."""
    units, epochs = study.choose(tiny=8, small=100, full=100), study.choose(tiny=2, small=13, full=63)
    every, window = study.choose(tiny=(1, 2), small=(10, 8), full=(20, 16))
    bases = {
        norm: Experiment(
            model=network(norm == "batch", units),
            data=study.images(
                "mnist",
                train=study.choose(tiny=80, small=60_000, full=60_000),
                test=study.choose(tiny=32, small=10_000, full=10_000),
                batch_size=study.choose(tiny=16, small=60, full=60),
                mean=(0.0,),
                std=(1.0,),
            ),
            optimizer=Optimizer(learning_rate=0.3, momentum=0.0, weight_decay=0.0),
            epochs=epochs,
            checkpoint_every=epochs,
            log_every=1000,
        )
        for norm in ARMS
    }
    arms = study.tune(bases, study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3)))
    records = study.repeat(arms, part="observed", hooks=lambda e: [SigmoidInputs(e.model, every=every, window=window)])
    found = {
        arm: [json.loads((Path(r.workdir) / "sigmoid_inputs.json").read_text()) for r in records[arm] if r.results]
        for arm in ARMS
    }
    values = {arm: [np.array(each["percentiles"]) for each in found[arm]] for arm in ARMS}
    rows = {arm: [curve(r, "validation") for r in records[arm] if r.results] for arm in ARMS}
    return {
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "steps": [row["step"] for row in rows["none"][0]],
        "accuracies": {arm: [[row["accuracy"] for row in run] for run in rows[arm]] for arm in ARMS},
        "drift": {arm: [drift(v) for v in values[arm]] for arm in ARMS},
        "unit_steps": found["none"][0]["steps"],
        "unit": {arm: values[arm][0][:, :, 0].T.tolist() for arm in ARMS},
        "tuning": study.tunings,
    }


def drift(percentiles: np.ndarray) -> float:
    """Return how far the inputs of a sigmoid move during training, in units of their own spread: the standard deviation
    of the median over time, divided by the mean distance from the 15th to the 85th percentile; mean over the units.

    Args:
        percentiles: [times, 3, units].
    """
    low, median, high = np.moveaxis(percentiles, 1, 0)
    return float(np.mean(median.std(axis=0) / (high - low).mean(axis=0)))


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors and the drift of the sigmoid inputs."""
    errors, drifts = ({k: measurements[name][k] for k in ARMS} for name in ("test_errors", "drift"))
    effect = difference(errors["none"], errors["batch"])
    steadier = ratio(drifts["none"], drifts["batch"])
    better, stable = effect.low > 0, steadier.low > 1
    verdict = "holds" if better and stable else "does not hold"
    if better and not stable:
        verdict = "holds if only the accuracy is meant, not the stability"
    if stable and not better:
        verdict = "holds if only the stability is meant, not the accuracy"
    final, first = measurements["steps"][-1], measurements["steps"][0]
    accuracies = {arm: np.mean(measurements["accuracies"][arm], axis=0) for arm in ARMS}
    rates = measurements["learning_rates"]
    conditions = (
        f"At each network's best learning rate ({rates['none']:g} without, {rates['batch']:g} with it) the test error "
        f"after {final:,} steps is {np.mean(errors['none']):.2f} % without and "
        f"{np.mean(errors['batch']):.2f} % with it; the validation accuracy after {first:,} steps is "
        f"{100 * accuracies['none'][0]:.1f} and {100 * accuracies['batch'][0]:.1f} %. The inputs of the last sigmoids "
        f"move {steadier.mean:.2f} ({steadier.low:.2f} to {steadier.high:.2f}) times as far without it, in units of "
        "their own spread."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the accuracies, and the percentiles of the inputs of one sigmoid in both networks."""
    from matplotlib.ticker import MaxNLocator

    errors = {arm: np.mean(measurements["test_errors"][arm]) for arm in ARMS}
    moves = {arm: np.mean(measurements["drift"][arm]) for arm in ARMS}
    title = (
        f"With batch normalization the test error is {errors['batch']:.2f} % instead of {errors['none']:.2f} %, and "
        f"the median input of a sigmoid moves by {moves['batch']:.2f} instead of {moves['none']:.2f} of its spread"
    )
    axes = [("step", "validation accuracy, %")] + [("step", f"sigmoid input, {ARMS[arm]}") for arm in ARMS]
    area, (left, *right) = page(title, axes, label_width=64)
    ends = []
    for arm, colour in zip(ARMS, (COLOURS[1], COLOURS[0]), strict=True):
        runs = 100 * np.array(measurements["accuracies"][arm])
        left.plot(measurements["steps"], runs.mean(axis=0), color=colour, linewidth=1.8)
        left.fill_between(measurements["steps"], runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.2)
        ends.append((runs[:, -1].mean(), ARMS[arm], colour))
    left.set_ylim(bottom=min(90.0, *(end for end, *_ in ends)) - 1, top=100)
    labels(left, ends)
    limits = np.array([measurements["unit"][arm] for arm in ARMS])
    for panel, arm, colour in zip(right, ARMS, (COLOURS[1], COLOURS[0]), strict=True):
        low, median, high = np.array(measurements["unit"][arm])
        steps = measurements["unit_steps"]
        panel.plot(steps, median, color=colour, linewidth=1.8)
        panel.fill_between(steps, low, high, color=colour, alpha=0.25)
        panel.set_ylim(limits.min() - 0.2, limits.max() + 0.2)
        labels(panel, [(v[-1], f"{p} %", colour) for p, v in zip(PERCENTILES, (low, median, high), strict=True)])
    for panel in (left, *right):
        panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    note(area, "left: mean and range over the seeds; others: percentiles over the training batch, first unit and seed")
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_mnist",
    statement=(
        "On MNIST a network of three sigmoid layers of 100 units is more accurate with batch normalization, and the "
        "distributions of the inputs of its sigmoids are more stable during training."
    ),
    source="Ioffe & Szegedy 2015, section 4.1 and figure 1",
    rule=(
        "Both networks train at their own best learning rate, chosen on a validation split, by plain gradient descent "
        "on batches of 60 binary images. The effect is the test error without minus with batch normalization, paired "
        "by seed. The drift of the inputs of the last sigmoid layer is the standard deviation of their median over the "
        "training, divided by the mean distance from their 15th to their 85th percentile, averaged over the units. The "
        "claim holds if the 95 % interval of the effect lies above 0 and that of the ratio of the drifts without and "
        "with batch normalization lies above 1; it holds in part if only one of them does; otherwise it does not hold."
    ),
    effect="test error without minus with batch normalization, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
