"""Claim: batch normalization reaches an accuracy in fewer steps."""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, curve
from jaxcnn.config import Augment, Experiment, Optimizer, override
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

ARMS = {"none": "without", "same rate": "batch norm", "batch": "batch norm"}


def measure(study: Study) -> Measurements:
    """Return the validation accuracy over the steps by arm and seed, None for a diverged run, and seconds per step."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2,)),
            small=SmallConvNet((16, 32, 64)),
            full=VGG("A", 10, head="cifar", kernel_init="he"),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=8000, full=50_000),
            test=study.choose(tiny=32, small=1000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0),
        epochs=study.choose(tiny=2, small=10, full=30),
        log_every=1000,
    )
    normalized = override(base, {"model.norm": "batch"})
    factors = study.choose(tiny=(0.1, 1), small=(0.1, 0.3, 1, 3), full=(0.1, 0.3, 1, 3))
    arms = study.tune({"none": base, "batch": normalized}, factors)
    rate = arms["none"].optimizer.learning_rate
    arms["same rate"] = override(normalized, {"optimizer.learning_rate": rate})
    records = study.repeat(arms)
    rows = {arm: [curve(r, "validation") if r.results else None for r in records[arm]] for arm in ARMS}
    finished = [run for runs in rows.values() for run in runs if run]
    return {
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "steps": [row["step"] for row in finished[0]],
        "accuracies": {arm: [run and [row["accuracy"] for row in run] for run in runs] for arm, runs in rows.items()},
        "milliseconds_per_step": {
            arm: [1000 * r.results.seconds / r.results.steps for r in records[arm] if r.results] for arm in ARMS
        },
        "tuning": study.tunings,
    }


def target(measurements: Measurements) -> float:
    """Return the accuracy that every run without batch normalization reaches at some evaluation."""
    return min(max(run) for run in measurements["accuracies"]["none"] if run)


def steps_to(measurements: Measurements, arm: str, accuracy: float) -> list[float]:
    """Return the steps to an accuracy for each seed, between evaluations by linear interpolation; all steps for a run
    that never reaches it."""
    steps, found = [0, *measurements["steps"]], []
    for run in measurements["accuracies"][arm]:
        # Before training the accuracy is that of guessing.
        values = np.maximum.accumulate([0.1, *(run or [])])
        reached = int(np.argmax(values >= accuracy)) if values[-1] >= accuracy else 0
        if not reached:
            found.append(float(steps[-1]))
            continue
        share = (accuracy - values[reached - 1]) / (values[reached] - values[reached - 1])
        found.append(float(steps[reached - 1] + share * (steps[reached] - steps[reached - 1])))
    return found


def decide(measurements: Measurements) -> Verdict:
    """Compare the steps to the accuracy of the plain network, at the same learning rate and at each network's own."""
    accuracy = target(measurements)
    plain, own, same = (steps_to(measurements, arm, accuracy) for arm in ("none", "batch", "same rate"))
    effect, at_same = ratio(plain, own), ratio(plain, same)
    verdict = "does not hold"
    if effect.low > 1:
        verdict = "holds" if at_same.low > 1 else "holds if the learning rate is tuned for it"
    times = measurements["milliseconds_per_step"]
    cost = statistics.median(times["batch"]) / statistics.median(times["none"])
    rates = measurements["learning_rates"]
    other = "" if _same(rates) else f", and {at_same:.1f} times fewer at {rates['same rate']:g}"
    missed = sum(run is None or max(run) < accuracy for run in measurements["accuracies"]["batch"])
    conditions = (
        f"Every network without it reaches {100 * accuracy:.1f} % validation accuracy at its best learning rate "
        f"{rates['none']:g}. With it this takes {effect:.1f} times fewer steps at its own best rate "
        f"{rates['batch']:g}{other}. A step with it takes {cost:.2f} times as long on this machine."
    )
    if missed:
        conditions += f" {missed} of {len(own)} runs with it never reach that accuracy."
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _same(rates: dict[str, float]) -> bool:
    """Return whether both networks have the same best rate."""
    return rates["batch"] == rates["same rate"]


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the accuracy over the steps, mean and range over the seeds, and the steps to the target."""
    accuracy = target(measurements)
    effect = ratio(*(steps_to(measurements, arm, accuracy) for arm in ("none", "batch")))
    more = "fewer" if effect.mean >= 1 else "more"
    times = max(effect.mean, 1 / effect.mean)
    title = f"To reach {100 * accuracy:.0f} % accuracy, batch normalization needs {times:.1f} times {more} steps"
    area, (panel,) = page(title, [("step", "validation accuracy, %")], label_width=180)
    panel.axhline(100 * accuracy, color="#666666", linewidth=1, linestyle="--")
    ends, lowest = [], 100.0
    for (arm, _), colour in zip(ARMS.items(), (COLOURS[1], COLOURS[2], COLOURS[0]), strict=True):
        kept = 100 * np.array([run for run in measurements["accuracies"][arm] if run])
        if not len(kept) or (arm == "same rate" and _same(measurements["learning_rates"])):
            continue
        steps, mean = measurements["steps"], kept.mean(axis=0)
        panel.plot(steps, mean, color=colour, marker="o", markersize=3, linewidth=1.8)
        panel.fill_between(steps, kept.min(axis=0), kept.max(axis=0), color=colour, alpha=0.2)
        reached = statistics.median(steps_to(measurements, arm, accuracy))
        panel.plot([reached, reached], [0, 100 * accuracy], color=colour, linewidth=1, linestyle=":")
        ends.append((mean[-1], f"{ARMS[arm]}, rate {measurements['learning_rates'][arm]:g}", colour))
        lowest = min(lowest, kept.min())
    panel.set_ylim(bottom=lowest - 2)
    labels(panel, ends)
    note(area, "mean and range over the seeds; dotted: median step at which the target is reached")
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_steps",
    statement="Batch normalization reaches a given accuracy in fewer training steps.",
    source="Ioffe & Szegedy 2015, section 4.2.2 and figure 3",
    rule=(
        "Both networks train at their own best learning rate, chosen on a validation split. The accuracy to reach is "
        "the highest validation accuracy of the network without batch normalization, of the worst seed, so that all of "
        "its runs reach it. The effect is the number of steps to it without divided by with batch normalization, the "
        "geometric mean over the seeds; a run that never reaches it counts with all of its steps. The claim holds if "
        "the 95 % interval lies above 1, also with batch normalization at the other network's learning rate; it holds "
        "if the learning rate is tuned, if this is so only at its own rate; otherwise it does not hold."
    ),
    effect="steps without batch normalization divided by steps with it",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
