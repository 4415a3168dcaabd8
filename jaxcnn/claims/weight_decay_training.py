"""Claim: weight decay lowers the training error."""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, holm_p_values
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.outcomes import nll, training_error
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Schedule, override
from jaxcnn.plots.page import save

PAPER = "0.0005"
COEFFICIENTS = ("0", PAPER, "0.002", "0.01")
"""Coefficients of weight decay. A run here has a hundredth of the paper's updates or less, so larger ones than the
paper's shrink the weights as much in total."""


def measure(study: Study) -> Measurements:
    """Return training and test errors in percent, and likelihoods, by coefficient and seed."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2, 2), hidden=4, dropout=0.5),
            small=SmallConvNet((16, 32, 64), hidden=128, dropout=0.5),
            full=SmallConvNet((64, 128, 256), hidden=1024, dropout=0.5),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=8000, full=50_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(learning_rate=0.03, weight_decay=0.0, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=12, full=90),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    arms = {value: override(base, {"optimizer.weight_decay": float(value)}) for value in COEFFICIENTS}
    arms = study.tune(arms, factors)
    records = study.repeat(arms, keep="last")
    return {
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in COEFFICIENTS},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in COEFFICIENTS},
        "nll": {arm: [nll(r) for r in records[arm]] for arm in COEFFICIENTS},
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in COEFFICIENTS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the training error of each coefficient with that of none."""
    training, test = measurements["training_errors"], measurements["test_errors"]
    effects = {value: difference(training["0"], training[value]) for value in COEFFICIENTS[1:]}
    p = holm_p_values({value: (training["0"], training[value]) for value in COEFFICIENTS[2:]})
    others = [value for value in COEFFICIENTS[2:] if p[value] < 0.05 and effects[value].mean > 0]
    verdict = "does not hold"
    if effects[PAPER].low > 0:
        verdict = "holds"
    elif others:
        verdict = f"holds if the coefficient is {' or '.join(others)}"
    rates = measurements["learning_rates"]
    parts = [
        f"{statistics.fmean(training[value]):.1f} and {statistics.fmean(test[value]):.1f} with coefficient {value} "
        f"(learning rate {rates[value]:g})"
        for value in COEFFICIENTS
    ]
    changes = [f"{-effect:+.1f} with {value}" for value, effect in effects.items()]
    tested = [f"{-difference(test['0'], test[value]):+.1f}" for value in effects]
    conditions = (
        f"Training and test errors in percent, both without dropout, are {'; '.join(parts)}. Decay changes the "
        f"training error by {', '.join(changes)} points, and the test error by "
        f"{', '.join(tested)}."
    )
    effect = effects[PAPER]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the change of the training and of the test error over the coefficient."""
    training, test = measurements["training_errors"], measurements["test_errors"]
    changes = [f"{-difference(training['0'], training[value]).mean:+.1f} ({value})" for value in COEFFICIENTS[1:]]
    title = f"Weight decay changes the training error, in points, by {', '.join(changes)}"
    axes = [("coefficient of weight decay", "change of the error, points")]
    area, (panel,) = page(title, axes, label_width=150)
    panel.axhline(0, color="#666666", linewidth=1, linestyle="--")
    ends = []
    for name, errors, colour, shift in (
        ("training", training, COLOURS[1], -0.02),
        ("test", test, COLOURS[0], 0.02),
    ):
        found = [difference(errors[value], errors["0"]) for value in COEFFICIENTS]
        ends.append((found[-1].mean, f"{name} error\n{statistics.fmean(errors['0']):.1f} % without", colour))
        line(panel, [place + shift for place in range(len(found))], found, colour)
    panel.set_xticks(range(len(COEFFICIENTS)), labels=COEFFICIENTS)
    panel.set_xlim(-0.2, len(COEFFICIENTS) - 0.8)
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="weight_decay_training",
    statement="A small weight decay is not merely a regularizer: it reduces the training error.",
    source="Krizhevsky et al. 2012, section 5, with coefficient 0.0005",
    rule=(
        "Networks with dropout train with several coefficients of weight decay, each at its own best learning rate, "
        "chosen on a validation split. The training error is measured at the end, without dropout. The effect is the "
        "training error without minus with decay of 0.0005, paired by seed. The claim holds if its 95 % interval lies "
        "above 0. If it does not, but the training error is lower with another coefficient (t-test paired by seed at 5 "
        "percent, with Holm's correction for their number), the claim holds if the coefficient is that. Otherwise it "
        "does not hold."
    ),
    effect="training error without minus with weight decay of 0.0005, points",
    data=("cifar10",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
