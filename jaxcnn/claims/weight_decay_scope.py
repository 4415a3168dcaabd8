"""Claim: weight decay is only needed on the dense layers."""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences, negligible
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.outcomes import kernel_norms, nll, training_error
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Schedule, override
from jaxcnn.plots.page import save

ARMS = {
    "none": "no decay",
    "dense": "dense kernels",
    "conv": "convolution kernels",
    "kernels": "all kernels",
    "all": "all parameters",
}
MARGIN = 1.0
"""Points of test error; a smaller disadvantage does not count."""


def measure(study: Study) -> Measurements:
    """Return errors in percent, likelihoods and norms of the kernels by scope and seed."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2, 2), hidden=4),
            small=SmallConvNet((16, 32, 64), hidden=128),
            full=SmallConvNet((64, 128, 256), hidden=1024),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=3000, full=20_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(learning_rate=0.03, weight_decay=0.0, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=25, full=80),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    coefficients = study.choose(tiny=(0.01,), small=(1e-3, 5e-3, 2e-2), full=(5e-4, 2e-3, 1e-2))
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    decayed = {
        scope: {
            f"{scope} {value:g}": override(
                base, {"optimizer.weight_decay": value, "optimizer.weight_decay_scope": scope}
            )
            for value in coefficients
        }
        for scope in ARMS
        if scope != "none"
    }
    tuned = study.tune({"none": base} | {arm: e for arms in decayed.values() for arm, e in arms.items()}, factors)
    chosen = {"none": tuned["none"]} | {scope: tuned[study.best([*arms])] for scope, arms in decayed.items()}
    records = study.repeat(chosen, keep="last")
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in ARMS},
        "nll": {arm: [nll(r) for r in records[arm]] for arm in ARMS},
        "norms": {arm: [kernel_norms(r) for r in records[arm]] for arm in ARMS},
        "weight_decay": {arm: chosen[arm].optimizer.weight_decay for arm in ARMS},
        "learning_rates": {arm: chosen[arm].optimizer.learning_rate for arm in ARMS},
        "coefficients": list(coefficients),
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare decay on the dense kernels with decay on all kernels, if that helps at all."""
    errors = measurements["test_errors"]
    effect, gain = difference(errors["dense"], errors["kernels"]), difference(errors["none"], errors["kernels"])
    verdict = negligible(effect, MARGIN, "a disadvantage") if gain.low > 0 else "does not hold"
    parts = [f"{_text(measurements, arm)} ({name})" for arm, name in ARMS.items()]
    conditions = (
        f"Against no decay, the test error is lower by {gain:.1f} points with decay of all kernels, by "
        f"{difference(errors['none'], errors['dense']):.1f} with dense kernels alone and by "
        f"{difference(errors['none'], errors['conv']):.1f} with convolutions alone. Test error, negative "
        f"log-likelihood and norms of the kernels in convolutions and dense layers are {'; '.join(parts)}."
    )
    tried = max(measurements["coefficients"])
    if largest := [name for arm, name in ARMS.items() if measurements["weight_decay"][arm] == tried]:
        conditions += f" The largest coefficient tried, {tried:g}, is the best for {', '.join(largest)}."
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _text(measurements: Measurements, arm: str) -> str:
    error, likelihood = (statistics.fmean(measurements[kind][arm]) for kind in ("test_errors", "nll"))
    norms = [each for each in measurements["norms"][arm] if each]
    sizes = [f"{statistics.fmean(each[kind] for each in norms):.1f}" for kind in ("conv", "dense") if norms]
    return f"{error:.1f} %, {likelihood:.2f}, {' and '.join(sizes) or 'unknown'}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw test errors and likelihoods by scope against those without decay."""
    errors = measurements["test_errors"]
    changes = {arm: -difference(errors["none"], errors[arm]).mean for arm in ("dense", "conv", "kernels")}
    title = (
        f"Weight decay changes the test error by {changes['dense']:+.1f} points on the dense kernels alone, by "
        f"{changes['conv']:+.1f} on the convolutions alone, by {changes['kernels']:+.1f} on all kernels"
    )
    nats = measurements["nll"]
    axes = [("", f"change of the test error (from {statistics.fmean(errors['none']):.1f} %), points")]
    axes += [("", f"change of the test NLL in nats (from {statistics.fmean(nats['none']):.2f})")]
    area, panels = page(title, axes, label_width=10)
    colours = {"dense": COLOURS[1], "conv": COLOURS[3], "kernels": COLOURS[0], "all": COLOURS[2]}
    for panel, values, digits in zip(panels, (errors, nats), (1, 2), strict=True):
        found = {arm: differences(values[arm], values["none"]) for arm in colours}
        texts = {arm: f"{ARMS[arm]}: {statistics.fmean(found[arm]):+.{digits}f}" for arm in colours}
        rows(panel, [(texts[arm], found[arm], colour) for arm, colour in colours.items()], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="weight_decay_scope",
    statement="Weight decay (L2) is applied to the dense layers; the convolutions do not need it.",
    source="teaching notes; Krizhevsky et al. 2012, section 5, decays all weights",
    rule=(
        "Networks without decay, and with decay of the dense kernels, of the kernels of the convolutions, of all "
        "kernels and of all parameters train at their own best learning rate and coefficient, chosen together on a "
        "validation split. The effect is the test error with decay of the dense kernels minus that with decay of all "
        "kernels, paired by seed: the disadvantage. If decay of all kernels does not lower the test error, that is, if "
        "the 95 % interval of the difference from no decay does not lie above 0, the claim does not hold. Otherwise "
        "the claim holds if the interval of the effect lies below 1 point, and does not hold if it lies above 0 and "
        "reaches beyond 1 point; in between it holds if a disadvantage up to the end of the interval does not count."
    ),
    effect="test error with decay of the dense kernels minus with decay of all kernels, points",
    data=("cifar10",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
