"""Claim: deeper plain networks train worse, residual ones do not, and it is not because gradients vanish (He 2016)."""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, differences, mean_interval
from jaxcnn.claims.layer_gradients import decades, gradients_over_training
from jaxcnn.claims.outcomes import training_error
from jaxcnn.claims.picture import COLOURS, labels, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Probes, Schedule
from jaxcnn.models import PlainNet
from jaxcnn.plots.page import save

KINDS = {"plain": "none", "residual": "post_activation"}
SIZES = ("shallow", "deep")
VANISHED = -1.0
"""Decades from the last to the first layer below which a gradient has vanished."""


def measure(study: Study) -> Measurements:
    """Return training and test errors by network and seed, and the decades of the gradient over the training."""
    depths = dict(zip(SIZES, study.choose(tiny=(8, 14), small=(20, 56), full=(20, 56)), strict=True))
    base = Experiment(
        model=PlainNet(depths["shallow"], study.choose(tiny=2, small=4, full=16)),
        data=study.cifar10(train=8000, test=2000),
        # The paper's recipe, whose learning rate is chosen here.
        optimizer=Optimizer(
            learning_rate=0.1,
            weight_decay=1e-4,
            weight_decay_scope="all",
            schedule=Schedule(name="cosine", warmup_epochs=study.choose(tiny=0, small=1, full=1)),
        ),
        epochs=study.choose(tiny=2, small=6, full=160),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {
        f"{kind}, {size}": replace(base, model=PlainNet(depths[size], base.model.width, skip=skip))
        for kind, skip in KINDS.items()
        for size in SIZES
    }
    tuned = study.tune(arms, study.choose(tiny=(1,), small=(0.3, 1), full=(0.3, 1, 3)))
    probes = Probes(every=study.choose(tiny=2, small=100, full=1000), layers=("*conv*",))
    records = study.repeat({arm: replace(e, probes=probes) for arm, e in tuned.items()}, keep="last")
    seen = {arm: [gradients_over_training(r) for r in records[arm] if r.results] for arm in arms}
    finished = next(each[0] for each in seen.values() if each)
    return {
        "depths": depths,
        "learning_rates": {arm: e.optimizer.learning_rate for arm, e in tuned.items()},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in arms},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in arms},
        "steps": finished[0].tolist(),
        "decades": {arm: [decades(gradients).tolist() for _, gradients in seen[arm]] for arm in arms},
        "tuning": study.tunings,
    }


def worse(measurements: Measurements, kind: str) -> list[float]:
    """Return the training error of the deep network minus that of the shallow one, for each seed."""
    return differences(*(measurements["training_errors"][f"{kind}, {size}"] for size in reversed(SIZES)))


def over_training(measurements: Measurements, arm: str) -> Estimate | None:
    """Return the decades of an arm, the mean over its readings, with the interval over the seeds; None for fewer than
    two runs that have not diverged."""
    runs = [statistics.fmean(run) for run in measurements["decades"][arm]]
    return mean_interval(runs) if len(runs) > 1 else None


def decide(measurements: Measurements) -> Verdict:
    """Compare the training errors of deep and shallow networks, and the gradients of the deep plain one with 0."""
    plain, residual = (worse(measurements, kind) for kind in KINDS)
    effect, without = mean_interval(plain), mean_interval(residual)
    cured = difference(plain, residual).low > 0
    gradient = over_training(measurements, "plain, deep")
    arrives = gradient is not None and gradient.low > VANISHED
    verdict = "does not hold"
    if effect.low > 0 and cured:
        verdict = "holds" if arrives else "holds if only the errors are meant, not that the gradient arrives"
    depths, errors = measurements["depths"], measurements["training_errors"]
    each = "; ".join(
        f"{_words(measurements, arm)} {statistics.fmean(values):.1f} % (test "
        f"{statistics.fmean(measurements['test_errors'][arm]):.1f} %) at {measurements['learning_rates'][arm]:g}"
        for arm, values in errors.items()
    )
    seen = {arm: over_training(measurements, arm) for arm in errors}
    decays = "; ".join(
        f"{_words(measurements, arm)} {estimate:+.2f}" for arm, estimate in seen.items() if estimate is not None
    )
    conditions = (
        f"The training error is: {each}. From {depths['shallow']} to {depths['deep']} layers it changes by "
        f"{without:+.1f} points with skips. The first layer's gradient relative to the last one's, in powers of ten "
        f"and on the average over the training: {decays}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _words(measurements: Measurements, arm: str) -> str:
    kind, size = arm.split(", ")
    return f"{'ResNet' if kind == 'residual' else 'plain'}-{measurements['depths'][size]}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the training errors, and the decades of the gradient over the training."""
    plain, residual = (statistics.fmean(worse(measurements, kind)) for kind in KINDS)
    depths, gradient = measurements["depths"], over_training(measurements, "plain, deep")
    arrives = (
        ""
        if gradient is None
        else f", although layer 1 receives {10**gradient.mean:.2g} times the gradient of the last"
    )
    title = (
        f"From {depths['shallow']} to {depths['deep']} layers the training error changes by {plain:+.1f} points "
        f"without skips{arrives}; with skips by {residual:+.1f}"
    )
    axes = [("", "training error, %"), ("step", "gradient of the first layer / last, powers of ten")]
    area, (left, right) = page(title, axes, label_width=90)
    arms = measurements["training_errors"]
    colours = dict(zip(arms, (COLOURS[5], COLOURS[0], COLOURS[1], COLOURS[3]), strict=True))
    rows(left, [(_words(measurements, arm), arms[arm], colours[arm]) for arm in arms])
    right.axhline(0, color="#666666", linewidth=1)
    right.axhline(VANISHED, color="#666666", linewidth=1, linestyle="--")
    ends = []
    for arm, colour in colours.items():
        runs = np.array(measurements["decades"][arm])
        if not len(runs):
            continue
        right.plot(measurements["steps"], runs.mean(axis=0), color=colour, linewidth=1.8)
        right.fill_between(measurements["steps"], runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.15)
        ends.append((runs[:, -1].mean(), _words(measurements, arm), colour))
    low, high = right.get_ylim()
    right.set_ylim(min(low, VANISHED - 0.2), high)
    labels(right, ends)
    note(area, "left: every seed, mean, 95 % interval; right: mean and range; dashed: where a gradient has vanished")
    return save(area, path)


CLAIM = Claim(
    name="depth_degradation",
    statement=(
        "With more layers even the training error of a plain network increases, that of a residual network does not, "
        "and vanishing gradients are not the cause."
    ),
    source="He et al. 2016, arXiv:1512.03385, sections 1 and 4.1, figure 6",
    rule=(
        "Plain and residual networks of 20 and 56 layers with batch normalization train on CIFAR-10 with the paper's "
        "momentum, weight decay and initialization, each at its own best learning rate, chosen on a validation split. "
        "The effect is the training error at the end with 56 minus with 20 plain layers, paired by seed. The gradient "
        "of a layer is the standard deviation of the gradient with respect to the outputs of the convolution times "
        "that of the outputs, which batch normalization cannot change; the decades are log10 of that of the first "
        "convolution divided by that of the last, the mean over the readings of a run. The gradient has vanished below "
        "-1. The claim holds if the 95 % interval of the effect lies above 0, so does that of the effect minus the "
        "same difference of the residual networks, and that of the decades of the plain network with 56 layers lies "
        "above -1; it holds if only the errors are meant, where only the last condition fails; otherwise it does not "
        "hold."
    ),
    effect="training error of the plain network with 56 layers minus that with 20, points",
    data=("cifar10",),
    seeds=3,
    measure=measure,
    decide=decide,
    draw=draw,
)
