"""Claim: batch normalization regularizes, and makes dropout unnecessary."""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, mean_interval
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.outcomes import training_error
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

ARMS = {
    "none": "neither",
    "none, dropout": "dropout",
    "batch": "batch norm",
    "batch, dropout": "both",
}
MARGIN = 1.0
"""Points of test error by which dropout may help a network with batch normalization and still be unnecessary."""


def measure(study: Study) -> Measurements:
    """Return training and test errors in percent at the end of training, by arm and seed."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2,), hidden=4),
            small=SmallConvNet((16, 32, 64), hidden=64),
            full=VGG("A", 10, head="imagenet", kernel_init="he", dropout=0.0, width=0.5),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=2000, full=50_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=32, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(learning_rate=0.03, weight_decay=0.0),
        epochs=study.choose(tiny=2, small=40, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {
        arm: override(base, {"model.norm": arm.partition(",")[0], "model.dropout": 0.5 if "dropout" in arm else 0.0})
        for arm in ARMS
    }
    factors = study.choose(tiny=(0.3, 1), small=(0.1, 0.3, 1, 3), full=(0.1, 0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors), keep="last")
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def gaps(measurements: Measurements, arm: str) -> list[float]:
    """Return the test error minus the training error of each seed, in points."""
    pairs = zip(measurements["test_errors"][arm], measurements["training_errors"][arm], strict=True)
    return [test - train for test, train in pairs]


def decide(measurements: Measurements) -> Verdict:
    """Compare the gaps without dropout, and the test errors with batch normalization with and without dropout."""
    test = measurements["test_errors"]
    effect = difference(gaps(measurements, "none"), gaps(measurements, "batch"))
    lower, by_dropout = difference(test["none"], test["batch"]), difference(test["batch"], test["batch, dropout"])
    regularizes = effect.low > 0 and lower.mean >= 0
    unnecessary = by_dropout.high < MARGIN
    verdict = "does not hold"
    if regularizes:
        verdict = "holds" if unnecessary else "holds if dropout is kept"
    elif unnecessary:
        verdict = "holds if it only says that dropout does not help a network with batch normalization"
    means = {arm: (_mean(measurements["training_errors"][arm]), _mean(test[arm])) for arm in ARMS}
    parts = ", ".join(f"{train} and {error} with {ARMS[arm]}" for arm, (train, error) in means.items())
    conditions = (
        f"Training and test errors in percent are {parts}. Without dropout, batch normalization changes the gap "
        f"between them by {-effect:+.1f} points and the test error by {-lower:+.1f}. With batch "
        f"normalization, dropout changes the test error by {-by_dropout:+.1f}; without it, by "
        f"{-difference(test['none'], test['none, dropout']):+.1f}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1f}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw training and test error of the four networks, with the gap between them."""
    gap = {arm: statistics.fmean(gaps(measurements, arm)) for arm in ARMS}
    title = (
        f"The gap between training and test error is {gap['none']:.0f} points; batch normalization makes it "
        f"{gap['batch']:.0f}, dropout {gap['none, dropout']:.0f}, both {gap['batch, dropout']:.0f}"
    )
    area, (panel,) = page(title, [("", "error, %")], label_width=60)
    for place, arm in enumerate(ARMS):
        train, test = (mean_interval(measurements[f"{kind}_errors"][arm]) for kind in ("training", "test"))
        panel.plot([place, place], [train.mean, test.mean], color="#cccccc", linewidth=14, solid_capstyle="butt")
        for estimate, colour in ((train, COLOURS[1]), (test, COLOURS[0])):
            ends = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            panel.errorbar(place, estimate.mean, ends, color=colour, marker="o", markersize=6, capsize=5, linewidth=1.8)
        panel.text(place + 0.07, (train.mean + test.mean) / 2, f"gap {gap[arm]:.1f}", va="center", fontsize=8)
    panel.set_xticks(range(len(ARMS)), labels=list(ARMS.values()))
    panel.set_xlim(-0.5, len(ARMS) - 0.4)
    panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
    last = list(ARMS)[-1]
    labels(
        panel,
        [
            (statistics.fmean(measurements["test_errors"][last]), "test", COLOURS[0]),
            (statistics.fmean(measurements["training_errors"][last]), "training", COLOURS[1]),
        ],
    )
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_regularization",
    statement="Batch normalization acts as a regularizer, so that dropout can be removed.",
    source="Ioffe & Szegedy 2015, sections 3.4 and 4.2.1",
    rule=(
        "Networks with and without batch normalization and dropout of one half train at their own best learning rate, "
        "chosen on a validation split. The gap is the test error minus the training error. The effect is the gap "
        "without minus with batch normalization, both without dropout, paired by seed. Batch normalization regularizes "
        "if the 95 % interval of the effect lies above 0 and the mean test error is not higher. Dropout can be removed "
        "if, with batch normalization, the interval of the test error without minus with dropout lies below 1 point. "
        "The claim holds if both are so; it holds in part if one is; otherwise it does not hold."
    ),
    effect="gap between test and training error without minus with batch normalization, points",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
