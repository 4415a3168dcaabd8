"""Claim: the error of VGG falls with its depth, from configuration A to E (table 3)."""

from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule, override
from jaxcnn.layers import trace
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

ARMS = {"batch": "with batch norm", "none": "without"}
CONFIGURATIONS = {"batch": "ABCDE", "none": "AE"}
"""All five networks with batch normalization; without it, as in the paper, the two that decide."""


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by norm, configuration and seed, and the depth of each configuration."""
    base = Experiment(
        model=VGG("A", 10, head="cifar", kernel_init="he", width=study.choose(tiny=0.02, small=0.125, full=1.0)),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=40, small=10_000, full=50_000),
            test=study.choose(tiny=16, small=5000, full=10_000),
            batch_size=study.choose(tiny=16, small=32, full=128),
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(schedule=Schedule(name="cosine")),
        epochs=study.choose(tiny=1, small=4, full=60),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    shown = study.choose(tiny={"batch": "AE", "none": "AE"}, small=CONFIGURATIONS, full=CONFIGURATIONS)
    # Batch normalization allows higher rates.
    rates = {"batch": 0.03, "none": 0.01}
    arms = {
        norm + name: override(
            base, {"model.norm": norm, "model.configuration": name, "optimizer.learning_rate": rates[norm]}
        )
        for norm, names in shown.items()
        for name in names
    }
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors))
    return {
        "depths": {name: depth(VGG(name)) for name in shown["batch"]},
        "test_errors": {norm: {n: [error(r) for r in records[norm + n]] for n in shown[norm]} for norm in shown},
        "tuning": study.tunings,
    }


def depth(network: VGG) -> int:
    """Return the number of layers with weights in the paper's network, as in table 1."""
    return sum(row.info.multiply_adds > 0 for row in trace(network.layers(), (224, 224, 3)))


def lowered(measurements: Measurements, norm: str, before: str = "A", after: str = "E") -> Estimate:
    """Return by how many points the test error of one configuration is above that of another."""
    errors = measurements["test_errors"][norm]
    return difference(errors[before], errors[after])


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors of A and E, with and without batch normalization."""
    errors = measurements["test_errors"]
    effects = {norm: lowered(measurements, norm) for norm in ARMS}
    better = {norm: effect.low > 0 for norm, effect in effects.items()}
    verdict = "holds" if all(better.values()) else "does not hold"
    if better["batch"] and not better["none"]:
        verdict = "holds if the networks have batch normalization"
    if better["none"] and not better["batch"]:
        verdict = "holds if the networks have no batch normalization"
    means = {
        norm: ", ".join(f"{np.mean(values):.1f} % ({name})" for name, values in errors[norm].items()) for norm in ARMS
    }
    conditions = (
        f"The test errors are {means['batch']} with batch normalization, and {means['none']} without it. From A to E "
        f"the error changes by {-effects['batch']:+.1f} points with it and by {-effects['none']:+.1f} without; the "
        "paper's networks, without it but initialized from A, found -2.3 on ImageNet."
    )
    pairs = [pair for pair in ("AB", "BC", "CD", "DE") if set(pair) <= set(errors["batch"])]
    if pairs:
        steps = ", ".join(f"{-lowered(measurements, 'batch', *pair):+.1f} from {' to '.join(pair)}" for pair in pairs)
        conditions += f" Step by step, with batch normalization: {steps}."
    effect = effects["batch"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test error over the depth, with and without batch normalization."""
    errors, depths = measurements["test_errors"], measurements["depths"]
    first, last = (depths[name] for name in ("A", "E"))
    batch, none = (-lowered(measurements, norm).mean for norm in ("batch", "none"))
    title = (
        f"From {first} to {last} layers the test error of a narrow VGG changes by {batch:+.1f} points with batch "
        f"normalization and by {none:+.1f} without"
    )
    area, (panel,) = page(title, [("layers with weights", "test error, %")], label_width=150)
    ends = []
    for (norm, name), colour in zip(ARMS.items(), COLOURS, strict=False):
        found = {config: mean_interval(values) for config, values in errors[norm].items()}
        # C and D have the same depth.
        places = [depths[config] + {"C": -0.12, "D": 0.12}.get(config, 0) for config in found]
        line(panel, places, [*found.values()], colour)
        for config, place in zip(found, places, strict=True):
            panel.plot([place] * len(errors[norm][config]), errors[norm][config], "_", color=colour, alpha=0.5)
        ends.append((found["E"].mean, name, colour))
    panel.set_xlim(first - 0.8, last + 0.8)
    names = {d: "/".join(config for config in depths if depths[config] == d) for d in depths.values()}
    panel.set_xticks(list(names), labels=[f"{name}: {d}" for d, name in names.items()])
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds; marks: seeds; C's third convolutions are 1x1")
    return save(area, path)


CLAIM = Claim(
    name="vgg_depth",
    statement="The error of VGG networks falls with depth, from configuration A with 11 layers to E with 19.",
    source="Simonyan & Zisserman 2015, section 4.1 and table 3",
    rule=(
        "Networks of an eighth of the widths, with one dense layer, train for the same number of steps at their own "
        "best learning rate, chosen on a validation split; He's initialization replaces the paper's, from A. The "
        "effect is the test error of A minus that of E, paired by seed, with batch normalization. The claim holds if "
        "the 95 % interval lies above 0 with and without batch normalization; if it does in only one of the two "
        "cases, the claim holds in that case; otherwise it does not hold."
    ),
    effect="test error of A minus E, both with batch normalization, points",
    data=("cifar10",),
    seeds=4,
    measure=measure,
    decide=decide,
    draw=draw,
)
