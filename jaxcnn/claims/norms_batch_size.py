"""Claim: batch normalization needs large batches, other norms do not."""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, holm_p_values, mean_interval
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.layers import GroupNorm
from jaxcnn.models import VGG
from jaxcnn.plots.page import save

ARMS = {
    "batch": "batch",
    "layer": "layer",
    "group": "group",
    "instance": "instance",
    "local_response": "local response",
    "none": "none",
}
OTHERS = ("layer", "group", "instance")
"""Norms of single images, with which the claim compares batch normalization."""


def measure(study: Study) -> Measurements:
    """Return test errors in percent by batch size, norm and seed."""
    sizes = study.choose(tiny=(8, 16), small=(2, 8, 32, 128), full=(2, 8, 32, 128))
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((4,)),
            small=SmallConvNet((8, 16, 32)),
            full=VGG("A", 10, head="cifar", kernel_init="he"),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=2560, full=50_000),
            test=study.choose(tiny=32, small=5000, full=10_000),
            batch_size=8,
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(weight_decay=0.0),
        epochs=study.choose(tiny=1, small=6, full=30),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {
        f"{size} {norm}": override(
            base,
            {
                "model.norm": GroupNorm(num_groups=4) if norm == "group" else norm,
                "data.batch_size": size,
                # The rate that suits a batch grows with its size.
                "optimizer.learning_rate": 0.003 * (size / 8) ** 0.5,
            },
        )
        for size in sizes
        for norm in ARMS
    }
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors))
    errors = {str(size): {norm: [error(r) for r in records[f"{size} {norm}"]] for norm in ARMS} for size in sizes}
    return {"batch_sizes": list(sizes), "test_errors": errors, "tuning": study.tunings}


def losses(measurements: Measurements, norm: str) -> list[float]:
    """Return how many points the test error of each seed rises from the reference batch size to the smallest."""
    sizes, errors = measurements["batch_sizes"], measurements["test_errors"]
    pairs = zip(errors[str(sizes[0])][norm], errors[str(reference(sizes))][norm], strict=True)
    return [small - large for small, large in pairs]


def reference(sizes: list[int]) -> int:
    """Return the batch size with which the smallest is compared: 32, or the largest if there is no 32."""
    return 32 if 32 in sizes else sizes[-1]


def decide(measurements: Measurements) -> Verdict:
    """Compare what small batches cost batch normalization with what they cost the norms of single images."""
    own = losses(measurements, "batch")
    corrected = holm_p_values({norm: (own, losses(measurements, norm)) for norm in OTHERS})
    differences = {norm: difference(own, losses(measurements, norm)) for norm in OTHERS}
    beaten = [norm for norm in OTHERS if differences[norm].mean > 0 and corrected[norm] < 0.05]
    verdict = "does not hold"
    if beaten:
        verdict = "holds" if len(beaten) == len(OTHERS) else f"holds if compared with {' or '.join(beaten)} norm"
    small, large = measurements["batch_sizes"][0], reference(measurements["batch_sizes"])
    costs = ", ".join(f"{statistics.fmean(losses(measurements, norm)):+.1f} with {name}" for norm, name in ARMS.items())
    best = {
        size: min(ARMS, key=lambda norm: statistics.fmean(errors[norm]))
        for size, errors in measurements["test_errors"].items()
    }
    conditions = (
        f"From batches of {large} to {small} images the test error changes by these points: {costs}. The best norm is "
        f"{', '.join(f'{ARMS[norm]} at {size}' for size, norm in best.items())} images."
    )
    effect = differences["group"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test error over the batch size for every norm."""
    sizes = measurements["batch_sizes"]
    cost = {norm: statistics.fmean(losses(measurements, norm)) for norm in ARMS}
    title = (
        f"From batches of {reference(sizes)} to {sizes[0]} images, batch normalization's error changes by "
        f"{cost['batch']:+.1f} points, group normalization's by {cost['group']:+.1f}, without a norm by "
        f"{cost['none']:+.1f}"
    )
    area, (panel,) = page(title, [("batch size", "test error, %")], label_width=130)
    panel.set_xscale("log", base=2)
    ends = []
    colours = (COLOURS[0], COLOURS[2], COLOURS[3], COLOURS[5], COLOURS[1], COLOURS[4])
    for place, ((norm, name), colour) in enumerate(zip(ARMS.items(), colours, strict=True)):
        values = [mean_interval(measurements["test_errors"][str(size)][norm]) for size in sizes]
        # Every norm is moved a little to the side, so that intervals do not cover each other.
        shifted = [size * 1.04 ** (place - 2.5) for size in sizes]
        spread = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        means = [v.mean for v in values]
        width = 2.6 if norm == "batch" else 1.4
        panel.errorbar(shifted, means, spread, color=colour, marker="o", markersize=4, linewidth=width, capsize=2)
        ends.append((means[-1], name, colour))
    panel.set_xticks(sizes, labels=list(map(str, sizes)))
    panel.minorticks_off()
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="norms_batch_size",
    statement="Batch normalization gets worse with small batches; layer, group and instance normalization do not.",
    source="Wu & He 2018, table 2; common notes",
    rule=(
        "Networks with each norm train with batches of 2, 8, 32 and 128 images for the same number of epochs, each at "
        "its own best learning rate, chosen on a validation split. What small batches cost a network is its test error "
        "with batches of 2 minus that with batches of 32. The claim holds if small batches cost batch normalization "
        "more than layer, group and instance normalization, by a paired t-test with Holm's correction, p < 0.05; it "
        "holds for those norms for which this is so; otherwise it does not hold. The effect is the cost with batch "
        "normalization minus that with group normalization."
    ),
    effect="cost of batches of 2 instead of 32, batch minus group normalization, points of test error",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
