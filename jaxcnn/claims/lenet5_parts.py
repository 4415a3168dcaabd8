"""Claim: the parts of LeNet-5 that later networks dropped make it more accurate."""

import statistics
from dataclasses import replace
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences, holm_p_values
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Schedule
from jaxcnn.layers import Dense, trace
from jaxcnn.models import Chain, LeNet5
from jaxcnn.objectives import CrossEntropy, MaximumAPosteriori
from jaxcnn.plots.page import save

PARTS = {"table": "the table of C3", "subsampling": "trained subsampling", "distances": "distances to bitmaps"}
"""Parts that can be replaced: all connections in C3, plain average pooling, and a dense layer with softmax."""
ARMS = {
    "1998": "as published",
    "table": "C3 fully connected",
    "subsampling": "plain average pooling",
    "distances": "softmax output",
    "all": "all three replaced",
}


def network(arm: str) -> Chain:
    """Return LeNet-5 of 1998 with one part, all parts or none replaced; activations and initial weights stay."""
    without = {arm} if arm in PARTS else set(PARTS) if arm == "all" else set()
    layers = LeNet5(variant="1998", pooling="average" if "subsampling" in without else None).layers()
    if "table" in without:
        layers = tuple(replace(layer, connections=None) if layer.name == "c3" else layer for layer in layers)
    if "distances" in without:
        layers = (*layers[:-1], Dense(10, kernel_init="lecun_1998", name="output"))
    return Chain(layers)


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by arm and seed, and the number of parameters of each network."""
    base = Experiment(
        model=network("1998"),
        data=study.images(
            "mnist",
            train=study.choose(tiny=40, small=12_000, full=60_000),
            test=study.choose(tiny=16, small=10_000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=64),
            # Background at -0.1 and ink at 1.175, as in section II.B.
            pad=2,
            mean=(0.0784,),
            std=(0.784,),
        ),
        optimizer=Optimizer(
            algorithm="adam",
            learning_rate=3e-3,
            weight_decay=0.0,
            schedule=Schedule(name="cosine", warmup_epochs=study.choose(tiny=0, small=1, full=1)),
        ),
        epochs=study.choose(tiny=1, small=10, full=20),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    # Distances to bitmaps need their own loss, and softmax another.
    losses = {arm: CrossEntropy() if arm in ("distances", "all") else MaximumAPosteriori() for arm in ARMS}
    arms = {arm: replace(base, model=network(arm), objective=losses[arm]) for arm in ARMS}
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors))
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "parameters": {
            arm: sum(row.info.parameters for row in trace(network(arm).layers(), (32, 32, 1))) for arm in ARMS
        },
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the published network with those that have one part replaced, and all parts."""
    test, parameters = measurements["test_errors"], measurements["parameters"]
    changes = {arm: difference(test[arm], test["1998"]) for arm in ARMS if arm != "1998"}
    corrected = holm_p_values({part: (test[part], test["1998"]) for part in PARTS})
    useful, harmful = (
        [name for part, name in PARTS.items() if corrected[part] < 0.05 and sign * changes[part].mean > 0]
        for sign in (1, -1)
    )
    verdict = "does not hold"
    if useful:
        verdict = "holds" if len(useful) == len(PARTS) else f"holds if it is only about {' and '.join(useful)}"
    each = ", ".join(f"{changes[part]:+.2f} points with {ARMS[part]} (p = {corrected[part]:.2g})" for part in PARTS)
    conditions = (
        f"The test error is {statistics.fmean(test['1998']):.2f} % as published, with {parameters['1998']:,} "
        f"parameters, and {statistics.fmean(test['all']):.2f} % with all three parts replaced, with "
        f"{parameters['all']:,}. Replaced one at a time, they change it by {each}."
    )
    if harmful:
        conditions += f" The network is more accurate without {' and without '.join(harmful)}."
    effect = changes["all"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the changes of the test error from the published network."""
    test = measurements["test_errors"]
    effect = difference(test["all"], test["1998"])
    title = f"Replacing the parts of LeNet-5 that were dropped later changes its test error by {effect:+.2f} points"
    baseline = f"change of the test error on MNIST from the published network ({statistics.fmean(test['1998']):.2f} %)"
    area, (panel,) = page(title, [("points; to the right: the published network is better", baseline)], label_width=20)
    found = {arm: differences(test[arm], test["1998"]) for arm in ARMS if arm != "1998"}
    texts = {arm: f"{ARMS[arm]}: {statistics.fmean(values):+.2f}" for arm, values in found.items()}
    colours = dict(zip(found, (COLOURS[1], COLOURS[2], COLOURS[3], COLOURS[0]), strict=True))
    rows(panel, [(texts[arm], values, colours[arm]) for arm, values in found.items()], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="lenet5_parts",
    statement=(
        "The parts of LeNet-5 that later networks dropped, the connection table of C3, trained subsampling, and class "
        "scores that are distances to bitmaps, make it more accurate."
    ),
    source="LeCun et al. 1998, sections II.B and II.C",
    rule=(
        "The published network, with the loss of equation 9, is compared with the same network in which one part is "
        "replaced, and with one in which all three are: full connection in C3, plain average pooling, a dense layer "
        "with softmax cross-entropy. All train with Adam at their own best learning rate, chosen on a validation "
        "split. The effect is the test error with all three replaced minus as published, paired by seed. A part makes "
        "the network more accurate if the error is higher without it, with p below 0.05 in a paired t-test, corrected "
        "by Holm's procedure for three comparisons. The claim holds if this is so for all three parts; if it is for "
        "some, the claim holds for those; otherwise it does not hold."
    ),
    effect="test error with all three parts replaced minus as published, points",
    data=("mnist",),
    seeds=8,
    measure=measure,
    decide=decide,
    draw=draw,
)
