"""Claim: rectified linear units train several times faster than tanh and sigmoid units (AlexNet, figure 1)."""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.batch_norm_steps import steps_to
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, curve
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.plots.page import save
from jaxcnn.sweep import Record

ARMS = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}
SATURATING = ("tanh", "sigmoid")
# In the middle of the rates that are tried; the derivative of the sigmoid is at most a quarter.
_RATES = {"relu": 0.01, "tanh": 0.01, "sigmoid": 0.1}
TARGET = 0.75
"""Training accuracy to reach; the paper's figure 1 marks 25 % training error."""
EASIER = 0.5
"""Another accuracy, at which the same comparison is reported."""
SEVERAL = 2.0
"""The ratio from which on a network is several times faster."""


def measure(study: Study) -> Measurements:
    """Return the training accuracy over the steps by arm and seed; None for a diverged run."""
    base = Experiment(
        model=SmallConvNet(study.choose(tiny=(2, 2, 2), small=(16, 32, 64), full=(64, 128, 256))),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=2560, full=50_000),
            test=study.choose(tiny=32, small=1000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(weight_decay=0.0),
        epochs=study.choose(tiny=2, small=100, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        # Once per epoch.
        log_every=study.choose(tiny=4, small=32, full=312),
    )
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    arms = {
        arm: override(base, {"model.activation": arm, "optimizer.learning_rate": rate}) for arm, rate in _RATES.items()
    }
    arms = study.tune(arms, factors, criterion=slowness)
    records = study.repeat(arms)
    finished = [r for runs in records.values() for r in runs if r.results]
    return {
        "images": round(base.data.batch_size * finished[0].results.steps / base.epochs),
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "steps": _progress(finished[0])[0],
        "accuracies": {arm: [_progress(r)[1] if r.results else None for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def _progress(record: Record) -> tuple[list[float], list[float]]:
    """Return steps, and the mean training accuracy of the epoch around each."""
    rows = curve(record, "train")
    window = rows[1]["step"] - rows[0]["step"]
    return [row["step"] - window / 2 for row in rows], [row["accuracy"] for row in rows]


def slowness(record: Record) -> float:
    """Return the steps of a run to the target; for a run that does not reach it all of its steps and more, the higher
    its last training error."""
    steps, accuracies = _progress(record)
    if max(accuracies) < TARGET:
        return steps[-1] * (2 - accuracies[-1])
    return steps_to({"steps": steps, "accuracies": {"": [accuracies]}}, "", TARGET)[0]


def slower(measurements: Measurements, accuracy: float = TARGET) -> dict[str, Estimate]:
    """Return how many times as many steps as with rectified linear units the other networks need to an accuracy."""
    rectified = steps_to(measurements, "relu", accuracy)
    return {arm: ratio(steps_to(measurements, arm, accuracy), rectified) for arm in SATURATING}


def misses(measurements: Measurements, arm: str) -> int:
    """Return how many runs of an arm do not reach the target."""
    return sum(run is None or max(run) < TARGET for run in measurements["accuracies"][arm])


def decide(measurements: Measurements) -> Verdict:
    """Compare the steps to 25 % training error."""
    found = slower(measurements)
    faster = [arm for arm in SATURATING if found[arm].low > 1]
    least = min(estimate.low for estimate in found.values())
    verdict = "does not hold"
    if len(faster) == 1:
        verdict = f"holds if ReLU is compared with {ARMS[faster[0]]} alone"
    elif faster:
        verdict = "holds" if least > SEVERAL else f"holds if {least:.1f} times as fast is enough"
    rates, runs = measurements["learning_rates"], len(measurements["accuracies"]["relu"])
    steps = {arm: statistics.median(steps_to(measurements, arm, TARGET)) for arm in ARMS}
    each = ", ".join(f"{steps[arm]:,.0f} with {ARMS[arm]} at {rates[arm]:g}" for arm in ARMS)
    easier = slower(measurements, EASIER)
    conditions = (
        f"To 25 % training error on {measurements['images']:,} images, at the learning rate that makes each network "
        f"fastest, the median number of steps is {each}. That is {found['tanh']:.1f} times as many with tanh as with "
        f"ReLU, where the paper found 6 times, and {found['sigmoid']:.1f} times with sigmoid. To 50 % it is "
        f"{easier['tanh']:.1f} times with tanh and {easier['sigmoid']:.1f} with sigmoid."
    )
    for arm in ARMS:
        if missed := misses(measurements, arm):
            conditions += (
                f" {missed} of {runs} runs with {ARMS[arm]} do not reach 25 %, and count with the end of the run."
            )
    effect = found["tanh"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the training error over the steps, mean and range over the seeds, and the steps to 25 %."""
    found = slower(measurements)
    times = " and ".join(
        f"{ARMS[arm]} needs {'at least ' if misses(measurements, arm) else ''}{found[arm].mean:.1f} times"
        for arm in SATURATING
    )
    title = f"To reach 25 % training error, {times} as many steps as ReLU"
    if missed := misses(measurements, "relu"):
        title = f"{missed} of {len(measurements['accuracies']['relu'])} ReLU networks do not reach 25 % training error"
    area, (panel,) = page(title, [("step", "training error, %")], label_width=130)
    panel.axhline(100 * (1 - TARGET), color="#666666", linewidth=1, linestyle="--")
    ends = [(100 * (1 - TARGET), "25 %", "#666666")]
    for (arm, name), colour in zip(ARMS.items(), COLOURS, strict=False):
        runs = 100 * (1 - np.array([run for run in measurements["accuracies"][arm] if run]))
        if not len(runs):
            continue
        steps, mean = measurements["steps"], runs.mean(axis=0)
        panel.plot(steps, mean, color=colour, linewidth=1.8)
        panel.fill_between(steps, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.2)
        if misses(measurements, arm) <= len(runs) // 2:
            reached = statistics.median(steps_to(measurements, arm, TARGET))
            panel.plot([reached, reached], [0, 100 * (1 - TARGET)], color=colour, linewidth=1.2, linestyle=":")
        ends.append((mean[-1], name, colour))
    panel.set_ylim(0, 95)
    panel.set_xlim(left=0)
    labels(panel, ends)
    note(area, "mean and range over the seeds; dotted: median step at which 25 % is reached")
    return save(area, path)


CLAIM = Claim(
    name="activation_steps",
    statement="Networks with ReLUs train several times faster than the same networks with tanh or sigmoid units.",
    source="Krizhevsky et al. 2012, section 3.1 and figure 1",
    rule=(
        "A network of three convolutions and a dense layer, without any regularization, trains with each activation at "
        "the learning rate with which it reaches 25 % training error soonest, chosen with other seeds. The training "
        "error is the mean over the images of an epoch, as they are trained on. The effect is the number of steps to "
        "25 % with tanh divided by that with ReLU, the geometric mean over the seeds; a run that does not reach it "
        "counts with the end of the run. Several times means 2 or more. The claim holds if the 95 % intervals of this "
        "ratio and of that of sigmoid lie above 2; it holds in part if both lie above 1, or only one of them; "
        "otherwise it does not hold."
    ),
    effect="steps to 25 % training error with tanh divided by steps with ReLU",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
