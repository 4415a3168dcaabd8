"""Claim: local response normalization does not improve VGG."""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences, mean_interval, negligible
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.responses import ALPHA, layer_shares
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule, override
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

ARMS = {"A": "A, without", "A-LRN": "A-LRN, paper's constants", "acts": "A-LRN, α = 0.4"}
MARGIN = 1.0
"""Points of test error; a smaller improvement is none. The paper's table 3 has 0.1."""


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by arm and seed, r of the normalization, and the time of a step."""
    base = Experiment(
        model=VGG("A", 10, kernel_init="he", width=study.choose(tiny=0.02, small=0.125, full=1.0)),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=40, small=4000, full=50_000),
            test=study.choose(tiny=16, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=32, full=128),
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(learning_rate=0.01, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=8, full=80),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    lrn = override(base, {"model.configuration": "A-LRN"})
    arms = {"A": base, "A-LRN": lrn, "acts": override(lrn, {"model.norm": LocalResponseNorm(alpha=ALPHA)})}
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    arms = study.tune(arms, factors)
    records = study.repeat(arms, keep="last")
    count = study.choose(tiny=8, small=200, full=200)
    finished = {arm: [r for r in records[arm] if r.results] for arm in ARMS}
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "shares": {arm: [layer_shares(r, count)[0] for r in finished[arm]] for arm in ("A-LRN", "acts")},
        "milliseconds_per_step": {
            arm: [1000 * r.results.seconds / r.results.steps for r in finished[arm]] for arm in ARMS
        },
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors of configurations A and A-LRN."""
    errors, times = measurements["test_errors"], measurements["milliseconds_per_step"]
    effect = difference(errors["A"], errors["A-LRN"])
    means = ", ".join(f"{mean_interval(errors[arm]):.1f} ({ARMS[arm]})" for arm in ARMS)
    conditions = (
        f"The test errors in percent are {means}. The normalization lowers the error by {effect:.1f} points with the "
        f"paper's constants and by {difference(errors['A'], errors['acts']):.1f} with alpha {ALPHA:g}, on standardized "
        f"pixels; r is {_share(measurements, 'A-LRN')} and {_share(measurements, 'acts')}."
    )
    if times["A"] and times["A-LRN"]:
        cost = statistics.median(times["A-LRN"]) / statistics.median(times["A"])
        conditions += f" A step with it takes {cost:.2f} times as long on this machine."
    return Verdict(negligible(effect, MARGIN, "an improvement"), effect.mean, (effect.low, effect.high), conditions)


def _share(measurements: Measurements, arm: str) -> str:
    found = measurements["shares"][arm]
    return f"{np.mean(found):.2g}" if found else "unknown"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test errors of A-LRN against that of A."""
    errors = measurements["test_errors"]
    changes = {arm: -difference(errors["A"], errors[arm]) for arm in ("A-LRN", "acts")}
    title = (
        f"LRN after the first layer of VGG changes the test error by {changes['A-LRN']:+.1f} points with the paper's "
        f"constants, by {changes['acts']:+.1f} with α = {ALPHA:g}"
    )
    baseline = f"change of the test error from that of A ({statistics.fmean(errors['A']):.1f} %), points"
    area, (panel,) = page(title, [("", baseline)], label_width=40)
    shown = [
        (f"{ARMS[arm]}: {changes[arm].mean:+.1f}", differences(errors[arm], errors["A"]), colour)
        for arm, colour in (("A-LRN", COLOURS[1]), ("acts", COLOURS[0]))
    ]
    rows(panel, shown, reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="lrn_vgg",
    statement="Local response normalization does not improve VGG.",
    source="Simonyan & Zisserman 2015, sections 2.1 and 4.1, table 3: top-1 error 29.6 % without and 29.7 % with it",
    rule=(
        "Configurations A and A-LRN, of reduced width, train with the paper's dropout and weight decay at their own "
        "best learning rate, chosen on a validation split. The effect is the test error of A minus that of A-LRN with "
        "the constants of Krizhevsky et al., paired by seed: the improvement. The claim holds if the 95 % interval of "
        "the effect lies below 1 point. It does not hold if the interval lies above 0 and reaches beyond 1 point. "
        "Otherwise it holds if an improvement up to the end of the interval does not count. A-LRN with alpha 0.4, with "
        "which the normalization acts on standardized pixels, is a control."
    ),
    effect="test error of A minus A-LRN, points",
    data=("cifar10",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
