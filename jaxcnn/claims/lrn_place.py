"""Claim: local response normalization works better before the activation than after it.

A positive factor commutes with the rectifier, so the two places differ only in the squares: before the activation the
window also contains those of negative responses, which the rectifier then removes. With the paper's constants on
standardized pixels the squares do not matter, and the places are the same; the claim is tested where they do.
"""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page, rows
from jaxcnn.claims.responses import ALPHA, layer_shares
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule, override
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.plots.page import save

ARMS = {"post_activation": "after", "pre_activation": "before"}


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by arm and seed, and r of every normalization."""
    base = Experiment(
        model=SmallConvNet(
            study.choose(tiny=(2, 2), small=(16, 32, 64), full=(64, 128, 256)), norm=LocalResponseNorm(alpha=ALPHA)
        ),
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
    arms = study.tune({arm: override(base, {"model.norm_place": arm}) for arm in ARMS}, factors)
    records = study.repeat(arms, keep="last")
    count = study.choose(tiny=16, small=200, full=200)
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "shares": {arm: [layer_shares(r, count) for r in records[arm] if r.results] for arm in ARMS},
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors of the two places."""
    after, before = (measurements["test_errors"][arm] for arm in ("post_activation", "pre_activation"))
    effect = difference(after, before)
    answer = "The runs show no difference between the places"
    if effect.low > 0 or effect.high < 0:
        answer = f"It is better {'before' if effect.low > 0 else 'after'} the activation"
    r = {arm: np.mean(found, axis=0) if found else [] for arm, found in measurements["shares"].items()}
    layers = {arm: ", ".join(f"{x:.2f}" for x in values) or "unknown" for arm, values in r.items()}
    conditions = (
        f"{answer}: the test error is {statistics.fmean(after):.1f} % after and {statistics.fmean(before):.1f} % "
        f"before the activation, a difference of {effect:+.1f} points, with alpha {ALPHA:g} on standardized pixels. In "
        f"the layers r is {layers['post_activation']} after and {layers['pre_activation']} before the activation."
    )
    return Verdict("holds" if effect.low > 0 else "does not hold", effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the change of the test error from after to before the activation, and r of the layers in both places."""
    after, before = (measurements["test_errors"][arm] for arm in ("post_activation", "pre_activation"))
    effect = difference(before, after)
    title = f"LRN before instead of after the activation changes the test error by {effect:+.1f} points"
    baseline = f"change of the test error from after ({statistics.fmean(after):.1f} %), points"
    area, (left, right) = page(title, [("", baseline), ("layer", "r = αS / (k + αS)")], label_width=60)
    rows(left, [(f"before the activation: {effect.mean:+.1f}", differences(before, after), COLOURS[1])], reference=0)
    ends = []
    for (arm, name), colour in zip(ARMS.items(), COLOURS, strict=False):
        if measurements["shares"][arm]:
            mean = np.mean(measurements["shares"][arm], axis=0)
            layers = range(1, 1 + len(mean))
            right.plot(layers, mean, color=colour, marker="o", linewidth=1.8)
            right.set_xticks(layers)
            ends.append((mean[-1], name, colour))
    right.set_ylim(0, 1)
    labels(right, ends)
    note(area, "marks: seeds; point: mean and 95 % interval; right: mean over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="lrn_place",
    statement="Local response normalization belongs before the activation.",
    source="teaching notes; in Krizhevsky et al. 2012, section 3.3, it follows the rectifier",
    rule=(
        "Both networks have local response normalization with alpha 0.4 in every layer, on standardized pixels, and "
        "train at their own best learning rate, chosen on a validation split. The effect is the test error with it "
        "after minus before the activation, paired by seed. The claim holds if the 95 % interval of the effect lies "
        "above 0; otherwise it does not hold."
    ),
    effect="test error after minus before the activation, points",
    data=("cifar10",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
