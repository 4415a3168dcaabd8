"""Claim: pooling windows that overlap give a lower error than windows side by side (AlexNet, section 3.4)."""

import statistics
from dataclasses import replace
from pathlib import Path

from jaxcnn.claims.batch_norm_regularization import gaps
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences
from jaxcnn.claims.outcomes import training_error
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule
from jaxcnn.layers import Activation, Conv, Dense, Flatten, Layer, MaxPool
from jaxcnn.models import Chain
from jaxcnn.plots.page import save

ARMS = {"overlapping": 3, "plain": 2}
"""Side of the pooling windows, which move by 2."""


def network(window: int, widths: tuple[int, int, int]) -> Chain:
    """Return three convolutions, the first two with pooling, and a dense layer.

    On odd maps, as in AlexNet, both windows give maps of the same size, and the networks the same parameters: 23x23,
    11x11, 5x5.
    """
    layers: tuple[Layer, ...] = ()
    for i, width in enumerate(widths, start=1):
        layers += (Conv(width, padding=1, kernel_init="he_normal", name=f"conv{i}"), Activation("relu", name=f"act{i}"))
        layers += (MaxPool(window, 2, name=f"pool{i}"),) if i < 3 else ()
    return Chain((*layers, Flatten(name="flatten"), Dense(10, name="output")))


def measure(study: Study) -> Measurements:
    """Return training and test errors in percent at the end of training, by arm and seed."""
    crop = study.choose(tiny=7, small=23, full=31)
    widths = study.choose(tiny=(2, 2, 2), small=(16, 32, 64), full=(64, 128, 256))
    base = Experiment(
        model=network(2, widths),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=20_000, full=50_000),
            test=study.choose(tiny=32, small=10_000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=crop + 1,
        ),
        augment=Augment(crop=crop, flip=True),
        optimizer=Optimizer(learning_rate=0.03, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=2, small=10, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {arm: replace(base, model=network(ARMS[arm], widths)) for arm in ARMS}
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors), keep="last")
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors, and the gaps between test and training errors."""
    test, train = measurements["test_errors"], measurements["training_errors"]
    effect = difference(test["plain"], test["overlapping"])
    gap = difference(gaps(measurements, "plain"), gaps(measurements, "overlapping"))
    better, overfits_less = effect.low > 0, gap.low > 0
    verdict = "holds" if better and overfits_less else "does not hold"
    if better and not overfits_less:
        verdict = "holds if only the error is meant, not overfitting"
    if overfits_less and not better:
        verdict = "holds if only overfitting is meant, not the error"
    within = "within" if effect.low <= 0.4 <= effect.high else "outside"
    mean = {arm: (statistics.fmean(test[arm]), statistics.fmean(train[arm])) for arm in ARMS}
    conditions = (
        f"Test and training error are {mean['plain'][0]:.1f} % and {mean['plain'][1]:.1f} % with plain, "
        f"{mean['overlapping'][0]:.1f} % and {mean['overlapping'][1]:.1f} % with overlapping windows, which change the "
        f"test error by {-effect:+.1f} points and the gap between the two by {-gap:+.1f}. The paper's 0.4 points on "
        f"ImageNet are {within} the interval."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the changes of the test error, and of the gap between test and training error, from plain windows."""
    test = measurements["test_errors"]
    gap = {arm: gaps(measurements, arm) for arm in ARMS}
    found = [differences(values["overlapping"], values["plain"]) for values in (test, gap)]
    change = [f"{statistics.fmean(values):+.1f}" for values in found]
    title = (
        f"Pooling over overlapping instead of plain windows changes the test error by {change[0]} points and its gap "
        f"to the training error by {change[1]}"
    )
    axes = [
        (
            "points; to the left: lower error",
            f"change of the test error (from {statistics.fmean(test['plain']):.1f} %)",
        ),
        (
            "points; to the left: less overfitting",
            f"change of the gap (from {statistics.fmean(gap['plain']):.1f} points)",
        ),
    ]
    area, panels = page(title, axes, label_width=10)
    for panel, values, text in zip(panels, found, change, strict=True):
        rows(panel, [(f"overlapping: {text}", values, COLOURS[0])], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="overlapping_pooling",
    statement=(
        "Max pooling over overlapping windows (3x3, stride 2) gives a lower error than over plain ones (2x2, stride "
        "2), and makes it harder to overfit."
    ),
    source="Krizhevsky et al. 2012, section 3.4",
    rule=(
        "Both networks have the same layers, maps and parameters apart from the pooling windows, and train at their "
        "own best learning rate, chosen on a validation split, on random crops and mirror images. The effect is the "
        "test error with plain minus with overlapping windows, paired by seed; the gap is the test error minus the "
        "error on the training images. The claim holds if the 95 % intervals of the effect and of the gap with plain "
        "minus with overlapping windows lie above 0; it holds in part if only one of them does; otherwise it does not "
        "hold."
    ),
    effect="test error with plain minus with overlapping windows, points",
    data=("cifar10",),
    seeds=10,
    measure=measure,
    decide=decide,
    draw=draw,
)
