"""Claim: random distortions of the training images lower the error of LeNet-5 (section III)."""

from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule, override
from jaxcnn.models import LeNet5
from jaxcnn.objectives import MaximumAPosteriori
from jaxcnn.plots.page import save

ARMS = {"plain": "as they are", "distorted": "distorted at random"}
_AUGMENT = {"plain": Augment(), "distorted": Augment(shift=2.0, rotation=8.0, scale=0.08)}


def measure(study: Study) -> Measurements:
    """Return the test errors in percent by number of training images, arm and seed; the number of steps is the same."""
    test, batch_size = study.choose(tiny=(16, 16), small=(10_000, 64), full=(10_000, 64))
    # Training images with and without the validation split, and epochs.
    sizes = study.choose(
        tiny=((36, 30, 2), (72, 60, 1)),
        small=((12_000, 10_000, 20), (60_000, 50_000, 4)),
        full=((12_000, 10_000, 100), (60_000, 50_000, 20)),
    )
    arms = {}
    for total, count, epochs in sizes:
        base = Experiment(
            model=LeNet5(variant="1998"),
            data=study.images(
                "mnist",
                train=total,
                test=test,
                batch_size=batch_size,
                validation=1 / 6,
                # Background at -0.1 and ink at 1.175, as in section II.B.
                pad=2,
                mean=(0.0784,),
                std=(0.784,),
            ),
            optimizer=Optimizer(
                algorithm="adam", learning_rate=3e-3, weight_decay=0.0, schedule=Schedule(name="cosine")
            ),
            objective=MaximumAPosteriori(),
            epochs=epochs,
            eval_every=1000,
            checkpoint_every=1000,
            log_every=1000,
        )
        arms |= {f"{count} {arm}": override(base, {"augment": _AUGMENT[arm]}) for arm in ARMS}
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors))
    steps = [r.results.steps for runs in records.values() for r in runs if r.results]
    return {
        "images": [count for _, count, _ in sizes],
        "steps": max(steps),
        "test_errors": {
            str(count): {arm: [error(r) for r in records[f"{count} {arm}"]] for arm in ARMS} for _, count, _ in sizes
        },
        "tuning": study.tunings,
    }


def gains(measurements: Measurements) -> list[Estimate]:
    """Return by how many points distortions lower the test error, for each number of training images."""
    errors = [measurements["test_errors"][str(count)] for count in measurements["images"]]
    return [difference(each["plain"], each["distorted"]) for each in errors]


def decide(measurements: Measurements) -> Verdict:
    """Compare the test errors with and without distortions, for few and for many training images."""
    few, many = measurements["images"]
    at_few, at_many = gains(measurements)
    verdict = "holds" if at_few.low > 0 and at_many.low > 0 else "does not hold"
    if at_few.low > 0 >= at_many.low:
        verdict = f"holds if there are few training images, {few:,} and not {many:,}"
    if at_many.low > 0 >= at_few.low:
        verdict = f"holds if there are many training images, {many:,} and not {few:,}"
    mean = {
        count: {arm: np.mean(values) for arm, values in measurements["test_errors"][str(count)].items()}
        for count in (few, many)
    }
    each = " and ".join(
        f"{gain:.2f} points with {count:,} training images, from {mean[count]['plain']:.2f} to "
        f"{mean[count]['distorted']:.2f} %"
        for count, gain in ((few, at_few), (many, at_many))
    )
    conditions = (
        f"Random shifts, rotations and changes of size lower the test error by {each}, all after "
        f"{measurements['steps']:,} steps. LeCun et al. found 0.15 points, from 0.95 to 0.80 %, with 60,000 images and "
        "shifts, changes of size, squeezing and shearing."
    )
    return Verdict(verdict, at_many.mean, (at_many.low, at_many.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test error over the number of training images, with and without distortions."""
    counts = measurements["images"]
    at_few, at_many = gains(measurements)
    title = (
        f"Distortions lower the test error of LeNet-5 by {at_few.mean:.2f} points with {counts[0]:,} training images "
        f"and by {at_many.mean:.2f} with {counts[1]:,}"
    )
    area, (panel,) = page(title, [("training images", "test error, %")], label_width=170)
    ends = []
    for place, ((arm, name), colour) in enumerate(zip(ARMS.items(), (COLOURS[1], COLOURS[0]), strict=True)):
        values = [measurements["test_errors"][str(count)][arm] for count in counts]
        found = [mean_interval(each) for each in values]
        # The arms are moved a little apart, so that intervals do not cover each other.
        line(panel, [number + 0.02 * (place - 0.5) for number in range(len(counts))], found, colour)
        ends.append((found[-1].mean, name, colour))
    panel.set_xlim(-0.3, len(counts) - 0.7)
    panel.set_xticks(range(len(counts)), labels=[f"{count:,}" for count in counts])
    panel.set_ylim(bottom=0)
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="lenet5_distortions",
    statement="Random distortions of the training images lower the test error of LeNet-5.",
    source="LeCun et al. 1998, section III.C",
    rule=(
        "The network of 1998, with the loss of equation 9, trains with Adam on images as they are and on images that "
        "are shifted by up to 2 pixels, rotated by up to 8 degrees and scaled by up to 8 %, drawn anew for every use, "
        "for the same number of steps, each at its own best learning rate, chosen on a validation split. The effect "
        "is the test error without minus with distortions, paired by seed, with 50,000 training images. The claim "
        "holds if its 95 % interval lies above 0 with 50,000 and with 10,000 images; if it does with only one of "
        "them, the claim holds for that number; otherwise it does not hold."
    ),
    effect="test error without minus with distortions, 50,000 training images, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
