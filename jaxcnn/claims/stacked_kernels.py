"""Claim: two 3x3 convolutions in a row are better than one 5x5 convolution (VGG, sections 2.3 and 4.1)."""

import statistics
from dataclasses import replace
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule
from jaxcnn.layers import Activation, Conv, Dense, Flatten, Layer, MaxPool, trace
from jaxcnn.models import Chain
from jaxcnn.plots.page import save

ARMS = {
    "pair": "two 3x3",
    "linear pair": "two 3x3, no ReLU between",
    "single": "one 5x5",
}


def network(arm: str, widths: tuple[int, ...]) -> Chain:
    """Return stages of two 3x3 convolutions or of one 5x5 convolution, each with 2x2 pooling, and a dense layer.

    With five stages of VGG's widths these are configuration B and the shallow network of section 4.1, with one dense
    layer.
    """
    layers: tuple[Layer, ...] = ()
    for i, width in enumerate(widths, start=1):
        if arm == "single":
            layers += (Conv(width, kernel=5, padding=2, kernel_init="he_normal", name=f"conv{i}"),)
        else:
            # He's scale makes up for the half of the responses that a rectifier removes.
            init = "lecun_normal" if arm == "linear pair" else "he_normal"
            layers += (Conv(width, padding=1, kernel_init=init, name=f"conv{i}_1"),)
            layers += (Activation("relu", name=f"act{i}_1"),) if arm == "pair" else ()
            layers += (Conv(width, padding=1, kernel_init="he_normal", name=f"conv{i}_2"),)
        layers += (Activation("relu", name=f"act{i}"), MaxPool(name=f"pool{i}"))
    return Chain((*layers, Flatten(name="flatten"), Dense(10, name="output")))


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by arm and seed, and the cost of each network."""
    widths = study.choose(tiny=(2, 2), small=(16, 32, 64), full=(64, 128, 256, 512, 512))
    size = study.choose(tiny=8, small=16, full=32)
    base = Experiment(
        model=network("pair", widths),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=10_000, full=50_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=size,
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(learning_rate=0.03, schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=2, small=14, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {arm: replace(base, model=network(arm, widths)) for arm in ARMS}
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors))
    infos = {arm: [row.info for row in trace(network(arm, widths).layers(), (size, size, 3))] for arm in ARMS}
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "parameters": {arm: sum(info.parameters for info in infos[arm]) for arm in ARMS},
        "multiply_adds": {arm: sum(info.multiply_adds for info in infos[arm]) for arm in ARMS},
        "tuning": study.tunings,
    }


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors with one 5x5 convolution and with pairs, with and without an activation between."""
    test = measurements["test_errors"]
    effect, linear = (difference(test["single"], test[arm]) for arm in ("pair", "linear pair"))
    verdict = "does not hold"
    if effect.low > 0:
        verdict = "holds" if linear.low > 0 else "holds if an activation stands between the two"
    mean = {arm: statistics.fmean(test[arm]) for arm in ARMS}
    cost = {name: measurements[name]["pair"] / measurements[name]["single"] for name in ("parameters", "multiply_adds")}
    conditions = (
        f"The test error is {mean['single']:.1f} % with one 5x5 convolution per stage, {mean['pair']:.1f} % with two "
        f"3x3 convolutions and {mean['linear pair']:.1f} % with two that have no activation between them. The pair "
        f"changes the error by {-effect:+.1f} points, without the activation by {-linear:+.1f}; the paper found -7 on "
        f"ImageNet. The network of pairs has {cost['parameters']:.2f} times the parameters and "
        f"{cost['multiply_adds']:.2f} times the multiply-adds."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the changes of the test error from the network of 5x5 convolutions."""
    test = measurements["test_errors"]
    found = {arm: differences(test[arm], test["single"]) for arm in ("pair", "linear pair")}
    change = {arm: statistics.fmean(values) for arm, values in found.items()}
    title = (
        f"Two 3x3 convolutions instead of one 5x5 change the test error by {change['pair']:+.1f} points, and without "
        f"the activation between them by {change['linear pair']:+.1f}"
    )
    baseline = f"change of the test error from {ARMS['single']} ({statistics.fmean(test['single']):.1f} %), points"
    area, (panel,) = page(title, [("to the left: two convolutions are better", baseline)], label_width=20)
    texts = {arm: f"{ARMS[arm]}: {change[arm]:+.1f}" for arm in found}
    rows(panel, [(texts[a], found[a], colour) for a, colour in zip(found, COLOURS, strict=False)], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="stacked_kernels",
    statement="Two 3x3 convolutions in a row are better than one 5x5 convolution, which sees the same window.",
    source="Simonyan & Zisserman 2015, sections 2.3 and 4.1",
    rule=(
        "Networks with two 3x3 convolutions or one 5x5 convolution in every stage, of the same numbers of maps, train "
        "at their own best learning rate, chosen on a validation split. The effect is the test error with one minus "
        "with two, paired by seed. A third network has the pairs without the activation between the two. The claim "
        "holds if the 95 % intervals of the effect and of the same difference for the third network lie above 0; it "
        "holds if an activation stands between the two, if only that of the effect does; otherwise it does not hold."
    ),
    effect="test error with one 5x5 minus with two 3x3 convolutions, points",
    data=("cifar10",),
    seeds=6,
    measure=measure,
    decide=decide,
    draw=draw,
)
