"""Claim: VGG is regularized by weight decay and needs no dropout."""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, negligible
from jaxcnn.claims.outcomes import nll, training_error
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Schedule, override
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

DROPOUTS = ("0", "0.5")
DECAYS = ("0", "0.0005", "0.01")
"""Coefficients of weight decay: none, the paper's, and one that shrinks the weights more in the few updates here."""
MARGIN = 1.0
"""Points of test error; a smaller gain from dropout does not count."""


def measure(study: Study) -> Measurements:
    """Return errors in percent and likelihoods by dropout, coefficient of weight decay and seed."""
    base = Experiment(
        model=VGG("A", 10, kernel_init="he", width=study.choose(tiny=0.02, small=0.125, full=1.0)),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=40, small=1250, full=50_000),
            test=study.choose(tiny=16, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=32, full=128),
        ),
        optimizer=Optimizer(learning_rate=0.01, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=25, full=80),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {
        f"{dropout}, {decay}": override(base, {"model.dropout": float(dropout), "optimizer.weight_decay": float(decay)})
        for dropout in DROPOUTS
        for decay in DECAYS
    }
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    arms = study.tune(arms, factors)
    records = study.repeat(arms, keep="last")
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in arms},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in arms},
        "nll": {arm: [nll(r) for r in records[arm]] for arm in arms},
        # For each dropout, the coefficient above 0 with the least validation error.
        "decay": {d: study.best([f"{d}, {decay}" for decay in DECAYS[1:]]).split(", ")[1] for d in DROPOUTS},
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in arms},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare decay alone with decay and dropout."""
    errors = measurements["test_errors"]
    alone, both = (f"{dropout}, {measurements['decay'][dropout]}" for dropout in DROPOUTS)
    effect = difference(errors[alone], errors[both])
    by_decay, by_dropout = difference(errors["0, 0"], errors[alone]), difference(errors["0, 0"], errors["0.5, 0"])
    parts = [
        f"{statistics.fmean(measurements['training_errors'][arm]):.1f} and {statistics.fmean(errors[arm]):.1f} with "
        f"dropout {dropout} and decay {decay}"
        for dropout in DROPOUTS
        for decay in DECAYS
        for arm in (f"{dropout}, {decay}",)
    ]
    conditions = (
        f"Dropout changes the test error by {-effect:+.1f} points with decay and by {-by_dropout:+.1f} without; decay "
        f"of {measurements['decay']['0']} changes it by {-by_decay:+.1f} without dropout. Training and test errors in "
        f"percent are {'; '.join(parts)}. The negative log-likelihood is {_mean(measurements['nll'][alone])} with "
        f"decay alone, {_mean(measurements['nll']['0.5, 0'])} with dropout alone, {_mean(measurements['nll'][both])} "
        f"with both and {_mean(measurements['nll']['0, 0'])} with neither."
    )
    verdict = negligible(effect, MARGIN, "a gain from dropout")
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.2f}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the change of the test error over the coefficient of decay, with and without dropout."""
    errors = measurements["test_errors"]
    alone, both = (f"{dropout}, {measurements['decay'][dropout]}" for dropout in DROPOUTS)
    title = (
        f"VGG with weight decay: dropout changes the test error by {difference(errors[both], errors[alone]):+.1f} "
        "points"
    )
    baseline = f"change of the test error from that with neither ({statistics.fmean(errors['0, 0']):.1f} %), points"
    area, (panel,) = page(title, [("coefficient of weight decay", baseline)], label_width=150)
    panel.axhline(0, color="#666666", linewidth=1, linestyle="--")
    ends = []
    for dropout, name, colour, shift in (
        ("0", "without dropout", COLOURS[1], -0.02),
        ("0.5", "dropout 0.5", COLOURS[0], 0.02),
    ):
        found = [difference(errors[f"{dropout}, {decay}"], errors["0, 0"]) for decay in DECAYS]
        ends.append((found[-1].mean, name, colour))
        line(panel, [place + shift for place in range(len(found))], found, colour)
    panel.set_xticks(range(len(DECAYS)), labels=DECAYS)
    panel.set_xlim(-0.3, len(DECAYS) - 0.7)
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="vgg_dropout",
    statement="VGG is regularized by weight decay (L2); it needs no dropout.",
    source="teaching notes; Simonyan & Zisserman 2015, section 3.1, names both measures",
    rule=(
        "Configuration A, of reduced width, trains with dropout 0 and 0.5 and with weight decay 0, 0.0005 and 0.01, "
        "each at its own best learning rate, chosen on a validation split. For each dropout the coefficient of decay "
        "above 0 with the least validation error counts. The effect is the test error with decay alone minus that with "
        "decay and dropout, paired by seed: the gain from dropout. The claim holds if the 95 % interval of the effect "
        "lies below 1 point. It does not hold if the interval lies above 0 and reaches beyond 1 point. Otherwise it "
        "holds if a gain up to the end of the interval does not count."
    ),
    effect="test error with decay alone minus with decay and dropout, points",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
