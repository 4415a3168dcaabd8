"""Claim: batch statistics of the test images repair corruptions on CIFAR-10.

The network is that of configs/vgg_a_cifar10.py, VGG A with batch normalization and a quarter of the widths, after a
shortened training: 3 epochs on 19,000 images at scale small, so that it is less accurate than its 10 epochs on all
images make it. The corruptions are those of CIFAR-10-C without frost, made here and not read from its files. It needs
CIFAR-10.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcnn import shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted, error_on, spoken, test_images
from jaxcnn.claims.estimates import difference, holm_p_values
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Record, Study
from jaxcnn.config import Augment, Experiment, Optimizer, Schedule
from jaxcnn.data.targets import Target
from jaxcnn.models import VGG
from jaxcnn.plots.page import FAINT, save

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""Corruptions of CIFAR-10-C by its families."""
CLEAN = "none"
SEVERITY, BATCH = 3, 200
PRIORS = {"batch": 0.0, "blend": 16.0}
"""Number of images that the running averages count for beside those of the batch."""
KINDS = {"averages": "running averages", "batch": "statistics of the batch", "blend": "averages as 16 images more"}


def measure(study: Study) -> Measurements:
    """Return errors in percent by corruption, kind of statistics and seed."""
    vgg = VGG("A", 10, norm="batch", head="cifar", kernel_init="he", width=0.25)
    base = Experiment(
        model=study.choose(tiny=SmallConvNet((2,), norm="batch"), small=vgg, full=vgg),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=20_000, full=50_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=128, full=128),
            validation=0.05,
        ),
        augment=Augment(crop=32, crop_pad=4, flip=True),
        optimizer=Optimizer(
            learning_rate=0.1,
            nesterov=True,
            weight_decay=5e-4,
            schedule=Schedule(name="cosine", warmup_epochs=study.choose(tiny=0, small=1, full=1)),
        ),
        epochs=study.choose(tiny=1, small=3, full=10),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    (records,) = study.repeat({"vgg": base}, keep="last").values()
    every = study.choose(
        tiny=tuple(members[0] for members in FAMILIES.values()),
        small=sum(FAMILIES.values(), ()),
        full=sum(FAMILIES.values(), ()),
    )
    test = test_images(base)
    networks = [_network(record) for record in records]
    errors = {}
    for name in (CLEAN, *every):
        images = test.images if name == CLEAN else corrupted(test, base.data, name, SEVERITY)
        found = [_errors(network, Target(images, test.labels, name), seed) for seed, network in enumerate(networks)]
        errors[name] = {kind: [row[kind] for row in found] for kind in KINDS}
    return {"images": len(test.labels), "trained": _trained(records), "errors": errors}


def _network(record: Record) -> shift.Network | None:
    return shift.load_network(record.workdir) if record.results else None


def _trained(records: Sequence[Record]) -> int | None:
    """Return the number of updates of a run; None if all have diverged."""
    return next((record.results.steps for record in records if record.results), None)


def _errors(network: shift.Network | None, images: Target, seed: int) -> dict[str, float]:
    """Return the errors in percent by kind of statistics; a diverged run counts as guessing, 90 %."""
    if network is None:
        return dict.fromkeys(KINDS, 90.0)
    found = {"averages": error_on(network, images.images, images.labels)}
    for kind, prior in PRIORS.items():
        predicted = shift.predict_by_batch(network, images.images, prior=prior, batch_size=BATCH, seed=seed)
        found[kind] = 100 * float(np.mean(predicted.argmax(axis=-1) != images.labels))
    return found


def mean_errors(measurements: Measurements, kind: str, family: str | None = None) -> list[float]:
    """Return for each seed the mean error over the corruptions of a family, or over all."""
    errors = measurements["errors"]
    names = [name for name in errors if name != CLEAN and (family is None or name in FAMILIES[family])]
    return [statistics.fmean(row) for row in zip(*(errors[name][kind] for name in names), strict=True)]


def repaired(measurements: Measurements, kind: str) -> dict[str, int]:
    """Return by family 1 if the statistics lower the error, -1 if they raise it and 0 if neither is sure, by the rule
    of the claim."""
    pairs = {f: [mean_errors(measurements, each, f) for each in ("averages", kind)] for f in FAMILIES}
    p = holm_p_values({family: (a, b) for family, (a, b) in pairs.items()})
    return {f: int(np.sign(difference(*pair).mean)) if p[f] < 0.05 else 0 for f, pair in pairs.items()}


def decide(measurements: Measurements) -> Verdict:
    """Say for which families of corruptions the statistics of the batch lower the error."""
    errors, found = measurements["errors"], repaired(measurements, "batch")
    good = [family for family, sign in found.items() if sign > 0]
    verdict = "does not hold"
    if good:
        verdict = "holds" if len(good) == len(FAMILIES) else f"holds if the corruption is of {' or '.join(good)}"
    effect = difference(mean_errors(measurements, "averages"), mean_errors(measurements, "batch"))
    by_family = ", ".join(
        f"{difference(*(mean_errors(measurements, kind, f) for kind in ('averages', 'batch'))):+.1f} on {f}"
        for f in FAMILIES
    )
    clean = {kind: statistics.fmean(errors[CLEAN][kind]) for kind in KINDS}
    means = {kind: statistics.fmean(mean_errors(measurements, kind)) for kind in KINDS}
    conditions = (
        f"After {measurements['trained']} updates, a shortened training, the network errs on {clean['averages']:.1f} % "
        f"of {measurements['images']:,} images without corruption and on {means['averages']:.1f} % on average over "
        f"{len(errors) - 1} corruptions of severity {SEVERITY}. With the statistics of each batch of up to {BATCH} "
        f"images it is {clean['batch']:.1f} % and {means['batch']:.1f} %, with the running averages counting as 16 "
        f"images beside the batch {clean['blend']:.1f} % and {means['blend']:.1f} %. The statistics of the batch gain "
        f"{by_family}."
    )
    if worse := [f for f, sign in found.items() if sign < 0]:
        conditions += f" They raise the error on {' and '.join(worse)}."
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw one row for each corruption, with a mark for every seed and the mean of each kind of statistics."""
    from matplotlib.ticker import MaxNLocator

    errors = measurements["errors"]
    means = {kind: statistics.fmean(mean_errors(measurements, kind)) for kind in KINDS}
    title = (
        f"Shortly trained, VGG A errs on {means['averages']:.0f} % of corrupted images of CIFAR-10, with the "
        f"statistics of test batches on {means['batch']:.0f} %; without corruption on "
        f"{statistics.fmean(errors[CLEAN]['averages']):.0f} and {statistics.fmean(errors[CLEAN]['batch']):.0f} %"
    )
    area, (panel,) = page(title, [("test error, %", f"corruption of severity {SEVERITY}")], label_width=270)
    colours = dict(zip(KINDS, (COLOURS[1], COLOURS[0], COLOURS[2]), strict=True))
    ends = []
    for place, (name, kinds) in enumerate(errors.items()):
        panel.axhline(place, color=FAINT, linewidth=0.6, zorder=0)
        for kind, colour in colours.items():
            panel.plot(kinds[kind], [place] * len(kinds[kind]), "|", color=colour, markersize=8, alpha=0.5)
            panel.plot(statistics.fmean(kinds[kind]), place, "o", color=colour, markersize=6)
        before, after = (statistics.fmean(kinds[kind]) for kind in ("averages", "batch"))
        colour = COLOURS[0] if after < before else COLOURS[1]
        text = "no corruption" if name == CLEAN else spoken(name)
        ends.append((place, f"{text}: {before:.0f} → {after:.0f} %", colour))
    panel.set_ylim(len(errors) - 0.4, -0.6)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    panel.grid(True, axis="x", color=FAINT, linewidth=0.6)
    labels(panel, ends)
    note(area, "orange: running averages; blue: batch; green: both; points: means; marks: seeds")
    return save(area, path)


CLAIM = Claim(
    name="cifar10_corruptions",
    statement="Batch statistics of the test images repair corruptions on CIFAR-10.",
    source="Nado et al. 2020; Schneider et al. 2020",
    rule=(
        "VGG A with batch normalization and a quarter of the widths trains on CIFAR-10 as in configs/vgg_a_cifar10.py, "
        "but for 3 epochs on 19,000 images. It is scored on 2,000 test images under 14 corruptions of severity 3, with "
        "the running averages of training, with the statistics of each random test batch of 200 images, and with the "
        "running averages counting as 16 images beside the batch. The statistics of the batch repair a family of "
        "corruptions (noise, blur, weather, digital) if the mean error over its members is lower than with running "
        "averages, with p below 0.05 in a t-test paired by seed, corrected by Holm's procedure for the four families. "
        "The claim holds if they repair all four; if some, for those; otherwise it does not hold. The effect is the "
        "mean error over all corruptions with running averages minus with the statistics of the batch. What they cost "
        "without corruption, and the 16 images, are reported beside."
    ),
    effect="mean error under corruptions with running averages minus with batch statistics, points",
    data=("cifar10",),
    seeds=3,
    measure=measure,
    decide=decide,
    draw=draw,
)
