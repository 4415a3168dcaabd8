"""Claim: with gradient descent, L2 regularization and weight decay are the same.

With learning rate e, momentum m and coefficient c, the steady effect of decay on a weight w in one update is

    L2                e c w / (1 - m)    the decay enters the momentum buffer as part of the gradient,
    Krizhevsky's      e c w / (1 - m)    the same with the learning rate inside the buffer,
    decoupled         e c w              the decay bypasses the buffer,

so at matched shrinkage the coefficient of decoupled decay is c / (1 - m), which is 10 c for a momentum of 0.9.
"""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences, ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.outcomes import kernel_norms, nll
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Schedule, override
from jaxcnn.plots.page import save

COEFFICIENT, MOMENTUM = 0.01, 0.9
MATCHED = round(COEFFICIENT / (1 - MOMENTUM), 6)
"""Coefficient of decoupled decay that shrinks the weights as much as L2."""
ARMS = {
    "none": "no decay",
    "l2": f"L2, {COEFFICIENT:g}",
    "krizhevsky": f"Krizhevsky's, {COEFFICIENT:g}",
    "decoupled": f"decoupled, {COEFFICIENT:g}",
    "matched": f"decoupled, {MATCHED:g}",
}
POINTS, FACTOR = 1.5, 1.1
"""Largest difference in test error, in points, and largest ratio of the norms of two forms that are the same."""


def measure(study: Study) -> Measurements:
    """Return test errors in percent, likelihoods and norms of all kernels by arm and seed; None for a diverged run."""
    l2 = Experiment(
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
        optimizer=Optimizer(
            learning_rate=0.03, momentum=MOMENTUM, weight_decay=COEFFICIENT, schedule=Schedule(name="cosine")
        ),
        epochs=study.choose(tiny=1, small=25, full=80),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    l2 = study.tune({"l2": l2}, factors)["l2"]
    arms = {
        "none": override(l2, {"optimizer.weight_decay": 0.0}),
        "l2": l2,
        "krizhevsky": override(l2, {"optimizer.weight_decay_form": "krizhevsky"}),
        "decoupled": override(l2, {"optimizer.weight_decay_form": "decoupled"}),
        "matched": override(
            l2,
            {"optimizer.weight_decay_form": "decoupled", "optimizer.weight_decay": MATCHED},
        ),
    }
    records = study.repeat(arms, keep="last")
    norms = {arm: [kernel_norms(r) for r in records[arm]] for arm in ARMS}
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "nll": {arm: [nll(r) for r in records[arm]] for arm in ARMS},
        "norms": {
            arm: [each and (each["conv"] ** 2 + each["dense"] ** 2) ** 0.5 for each in found]
            for arm, found in norms.items()
        },
        "learning_rate": l2.optimizer.learning_rate,
        "tuning": study.tunings,
    }


def same(measurements: Measurements, a: str, b: str) -> bool:
    """Return whether two arms are the same by the rule of the claim."""
    norms = [measurements["norms"][arm] for arm in (a, b)]
    if None in (*norms[0], *norms[1]):
        return False
    errors, sizes = difference(*(measurements["test_errors"][arm] for arm in (a, b))), ratio(*norms)
    return errors.low > -POINTS and errors.high < POINTS and sizes.low > 1 / FACTOR and sizes.high < FACTOR


def decide(measurements: Measurements) -> Verdict:
    """Compare every form with L2, decoupled decay at the same coefficient and at matched shrinkage."""
    krizhevsky, decoupled, matched = (same(measurements, arm, "l2") for arm in ("krizhevsky", "decoupled", "matched"))
    scaled = f"the coefficient of decoupled decay is divided by 1 - momentum, {1 - MOMENTUM:g}"
    verdict = "does not hold"
    if krizhevsky:
        verdict = "holds" if decoupled else "holds if only L2 and Krizhevsky's rule are meant"
        if matched and not decoupled:
            verdict = f"holds if {scaled}"
    elif decoupled or matched:
        verdict = "holds if Krizhevsky's rule is not meant" + ("" if decoupled else f" and {scaled}")
    norms = measurements["norms"]
    lost = {arm: sum(x is None for x in values) for arm, values in norms.items() if None in values}
    pairs = {
        arm: ratio(norms[arm], norms["l2"]) for arm in ("none", *list(ARMS)[2:]) if arm not in lost and "l2" not in lost
    }
    effect = pairs.get("decoupled")
    parts = [
        f"{ARMS[arm]}: {sizes:.2f} times the norm, {_points(measurements, arm)} points of test error and "
        f"{difference(measurements['nll'][arm], measurements['nll']['l2']):+.2f} of negative log-likelihood"
        for arm, sizes in pairs.items()
    ]
    conditions = (
        f"All train at the learning rate that is best for L2, {measurements['learning_rate']:g}, with a momentum of "
        f"{MOMENTUM:g}. Against L2 with coefficient {COEFFICIENT:g}, whose test error is "
        f"{statistics.fmean(measurements['test_errors']['l2']):.1f} %: {'; '.join(parts)}."
    )
    for arm, count in lost.items():
        conditions += f" {count} runs diverged ({ARMS[arm]})."
    interval = (effect.low, effect.high) if effect else (None, None)
    return Verdict(verdict, effect.mean if effect else None, interval, conditions)


def _points(measurements: Measurements, arm: str) -> str:
    return f"{difference(measurements['test_errors'][arm], measurements['test_errors']['l2']):+.1f}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the norms of the kernels, and the test errors against that with L2."""
    norms, errors = measurements["norms"], measurements["test_errors"]
    kept = {arm: [x for x in values if x is not None] for arm, values in norms.items()}
    means = {arm: statistics.fmean(values) for arm, values in kept.items() if len(values) > 1}
    sizes = {arm: f"{means[arm] / means['l2']:.2f}" for arm in means if "l2" in means}
    title = (
        "At equal coefficients, decoupled decay leaves kernels of "
        f"{sizes.get('decoupled', 'unknown')} times the norm that L2 does; with the coefficient divided by 1 - "
        f"momentum, {sizes.get('matched', 'unknown')} times"
    )
    baseline = f"change of the test error from L2 ({statistics.fmean(errors['l2']):.1f} %), points"
    axes = [("", "Euclidean norm of all kernels at the end"), ("", baseline)]
    area, (left, right) = page(title, axes, label_width=10)
    colours = dict(zip(ARMS, ("#666666", COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[3]), strict=True))
    rows(left, [(f"{ARMS[arm]}: {mean:.1f}", kept[arm], colours[arm]) for arm, mean in means.items()])
    changes = {arm: differences(errors[arm], errors["l2"]) for arm in ARMS if arm != "l2"}
    texts = {arm: f"{ARMS[arm]}: {statistics.fmean(values):+.1f}" for arm, values in changes.items()}
    rows(right, [(texts[arm], values, colours[arm]) for arm, values in changes.items()], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="weight_decay_forms",
    statement="With gradient descent, L2 regularization and weight decay are the same.",
    source="Loshchilov & Hutter 2019, section 2; Krizhevsky et al. 2012, section 5",
    rule=(
        "L2 regularization, Krizhevsky's rule and decoupled decay train with the same coefficient, momentum and "
        "learning rate, the best for L2 on a validation split, and decoupled decay also with the coefficient divided "
        "by 1 - momentum, which matches the shrinkage. Two forms are the same if, paired by seed, the 95 % interval of "
        "the difference in test error lies within 1.5 points of 0 and that of the ratio of the norms of all kernels "
        "lies between 1 / 1.1 and 1.1. The effect is the norm with decoupled decay at the same coefficient divided by "
        "the norm with L2. The claim holds if both other forms are the same as L2 at the same coefficient; it holds if "
        "the coefficient is divided by 1 - momentum, or for a part of the forms, if only that is so; otherwise it does "
        "not hold."
    ),
    effect="norm of the kernels with decoupled decay divided by L2, at the same coefficient",
    data=("cifar10",),
    seeds=10,
    measure=measure,
    decide=decide,
    draw=draw,
)
