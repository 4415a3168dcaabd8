"""Claim: local response normalization lowers the test error."""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.responses import ALPHA, layer_shares
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule, override
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.plots.page import save

ARMS = {
    "none": "without",
    "division": "division by k^β alone (α = 0)",
    "paper": "LRN, paper's constants",
    "acts": "LRN, α = 0.4",
    "mean": "LRN, α = 0.4 on the mean of squares",
}
NORMS = {
    "none": "none",
    "division": LocalResponseNorm(alpha=0.0),
    "paper": LocalResponseNorm(),
    "acts": LocalResponseNorm(alpha=ALPHA),
    "mean": LocalResponseNorm(alpha=ALPHA, alpha_mode="mean"),
}


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by arm and seed, and r of every normalization."""
    base = Experiment(
        model=SmallConvNet(study.choose(tiny=(2, 2), small=(16, 32, 64), full=(64, 128, 256))),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=8000, full=50_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(learning_rate=0.03, weight_decay=0.0, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=8, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    arms = study.tune({arm: override(base, {"model.norm": norm}) for arm, norm in NORMS.items()}, factors)
    records = study.repeat(arms, keep="last")
    count = study.choose(tiny=16, small=200, full=200)
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "shares": {arm: [layer_shares(r, count) for r in records[arm] if r.results] for arm in ARMS if arm != "none"},
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors without and with the normalization, at the paper's alpha and at one that acts."""
    errors = measurements["test_errors"]
    effect, acting = difference(errors["none"], errors["paper"]), difference(errors["none"], errors["acts"])
    verdict = "does not hold"
    if effect.low > 0:
        verdict = "holds"
    elif acting.low > 0:
        verdict = "holds if alpha fits the scale of the pixels"
    means = ", ".join(f"{statistics.fmean(errors[arm]):.1f} ({ARMS[arm]})" for arm in ARMS)
    conditions = (
        f"The test errors in percent are {means}. Local response normalization changes the error by {-effect:+.1f} "
        f"points with the paper's constants, where r is {_layers(measurements, 'paper')} in the layers, and by "
        f"{-acting:+.1f} with alpha 0.4, where r is {_layers(measurements, 'acts')}. The paper's constants change it "
        f"by {-difference(errors['division'], errors['paper']):+.1f} against the division by k^beta alone. Alpha on "
        f"the mean instead of the sum of the squares changes it by {-difference(errors['acts'], errors['mean']):+.1f}; "
        f"r is then {_layers(measurements, 'mean')}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _layers(measurements: Measurements, arm: str) -> str:
    found = measurements["shares"][arm]
    return ", ".join(f"{r:.2g}" for r in np.mean(found, axis=0)) if found else "unknown"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test errors of all networks against that without the normalization."""
    errors = measurements["test_errors"]
    changes = {arm: -difference(errors["none"], errors[arm]).mean for arm in ARMS if arm != "none"}
    title = (
        f"LRN changes the test error by {changes['paper']:+.1f} points with the paper's constants (r near "
        f"{np.mean(measurements['shares']['paper'] or 0):.2g}: a division by 1.68), and by {changes['acts']:+.1f} with "
        "an α that acts"
    )
    baseline = f"change of the test error from that without LRN ({statistics.fmean(errors['none']):.1f} %), points"
    area, (panel,) = page(title, [("", baseline)], label_width=40)
    colours = {"division": "#666666", "paper": COLOURS[1], "acts": COLOURS[0], "mean": COLOURS[2]}
    shown = [
        (f"{ARMS[arm]}: {change:+.1f}", differences(errors[arm], errors["none"]), colours[arm])
        for arm, change in changes.items()
    ]
    rows(panel, shown, reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="lrn_accuracy",
    statement="Local response normalization lowers the test error.",
    source="Krizhevsky et al. 2012, section 3.3: CIFAR-10, 13 % without and 11 % with it",
    rule=(
        "All networks train at their own best learning rate, chosen on a validation split, on standardized pixels. The "
        "effect is the test error without minus with local response normalization at the paper's constants after every "
        "activation, paired by seed. The claim holds if the 95 % interval of the effect lies above 0. If it does not, "
        "but that of the same difference with alpha 0.4 does, which is to standardized pixels what the paper's alpha "
        "is to pixels of 0 to 255, the claim holds if alpha fits the scale of the pixels. Otherwise it does not hold. "
        "Division by k^beta alone, and alpha on the mean of the squares instead of their sum, are controls."
    ),
    effect="test error without minus with local response normalization at the paper's constants, points",
    data=("cifar10",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
