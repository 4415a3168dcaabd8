"""Claim: batch normalization allows high learning rates."""

import math
import statistics
from pathlib import Path
from typing import Any

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, inside, labels, note, page
from jaxcnn.claims.study import Study, curve
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

RATES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-5, 4))
GUESSING = math.log(10)


def measure(study: Study) -> Measurements:
    """Return the training loss of the last epoch by arm, learning rate and seed; None for a diverged run."""
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
        optimizer=Optimizer(weight_decay=0.0),
        epochs=study.choose(tiny=2, small=6, full=20),
        eval_every=1000,
        log_every=study.choose(tiny=4, small=100, full=312),
    )
    rates = study.choose(tiny=RATES[3:7:3], small=RATES, full=RATES)
    arms = {
        f"{norm} {rate:g}": override(base, {"model.norm": norm, "optimizer.learning_rate": rate})
        for norm in ("none", "batch")
        for rate in rates
    }
    records = study.repeat(arms)
    losses = {
        norm: [[_last_loss(record) for record in records[f"{norm} {rate:g}"]] for rate in rates]
        for norm in ("none", "batch")
    }
    return {"rates": list(rates), "losses": losses}


def _last_loss(record: Any) -> float | None:
    return curve(record, "train")[-1]["loss"] if record.results else None


def highest(measurements: Measurements, norm: str) -> list[float]:
    """Return the highest learning rate that trains an arm, for each seed, by the rule of the claim."""
    found = []
    for losses in zip(*measurements["losses"][norm], strict=True):
        rates = measurements["rates"]
        finite = [(loss, rate) for rate, loss in zip(rates, losses, strict=True) if loss is not None]
        best, _ = min(finite, default=(math.inf, rates[0]))
        found.append(max((rate for loss, rate in finite if loss <= max(best, (best + GUESSING) / 2)), default=rates[0]))
    return found


def decide(measurements: Measurements) -> Verdict:
    """Compare the highest rates that train the two arms."""
    plain, normalized = (highest(measurements, norm) for norm in ("none", "batch"))
    effect = ratio(normalized, plain)
    beyond = measurements["rates"].index(max(plain)) + 1
    conditions = f"The highest rate that trains is {_typical(plain)} without and {_typical(normalized)} with it."
    if beyond < len(measurements["rates"]):
        rate = measurements["rates"][beyond]
        without, with_it = (measurements["losses"][norm][beyond] for norm in ("none", "batch"))
        conditions += (
            f" At {rate:g}, {sum(x is None for x in without)} of {len(without)} runs without it diverge"
            f" and {sum(x is not None and x > 0.9 * GUESSING for x in without)} stall;"
            f" with it the mean loss is {_mean(with_it)}."
        )
    if max(normalized) == measurements["rates"][-1]:
        conditions += " Higher rates were not tried."
    return Verdict("holds" if effect.low > 1 else "does not hold", effect.mean, (effect.low, effect.high), conditions)


def _typical(rates: list[float]) -> str:
    return f"{statistics.median_low(rates):g}"


def _mean(losses: list[float | None]) -> str:
    kept = [loss for loss in losses if loss is not None]
    lost = len(losses) - len(kept)
    return (f"{statistics.fmean(kept):.2f}" if kept else "infinite") + f" ({lost} diverged)" * bool(lost)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the loss over the learning rate, mean and range over the seeds."""
    top = 1.4 * GUESSING
    plain, normalized = (statistics.median_low(highest(measurements, norm)) for norm in ("none", "batch"))
    title = f"The network trains at learning rates up to {normalized:g} with batch normalization, {plain:g} without"
    area, (panel,) = page(title, [("learning rate", "training loss of the last epoch")], label_width=230)
    panel.set_xscale("log")
    panel.set_ylim(0, top)
    panel.axhline(GUESSING, color="#666666", linewidth=1, linestyle="--")
    for norm, colour, name in (("batch", COLOURS[0], "with batch norm"), ("none", COLOURS[1], "without")):
        rows = [[min(top, math.inf if x is None else x) for x in losses] for losses in measurements["losses"][norm]]
        means = [statistics.fmean(row) for row in rows]
        rates = measurements["rates"]
        panel.plot(rates, means, color=colour, marker="o", markersize=4, linewidth=1.8)
        panel.fill_between(rates, [min(row) for row in rows], [max(row) for row in rows], color=colour, alpha=0.2)
        last = rates.index(statistics.median_low(highest(measurements, norm)))
        right, up = (-60, 16) if norm == "none" else (8, -8)
        inside(panel, rates[last], means[last], name, colour, right=right, up=up)
    labels(panel, [(GUESSING, "guessing, ln 10", "#666666"), (top, "diverged, or a larger loss", "#222222")])
    note(area, "mean and range over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_rates",
    statement="Batch normalization allows much higher learning rates.",
    source="Ioffe & Szegedy 2015, sections 3.3 and 4.2.2",
    rule=(
        "A learning rate trains a network if its training loss in the last epoch is finite and at most halfway between "
        "that of the best rate of the same network and seed and ln 10, the loss of guessing. The effect is the highest "
        "rate that trains with batch normalization divided by the highest without, the geometric mean over the seeds. "
        "The claim holds if the 95 % interval of the effect lies above 1; otherwise it does not hold."
    ),
    effect="highest learning rate that trains, with batch normalization divided by without",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
