"""Claim: training on augmented images lowers the error under corruptions that training does not contain.

No network sees a corruption on which it is scored: not those of the corruption augmentation, and not those that AugMix
applies itself (rotation, shear, translation, and fewer, inverted or spread tones). It needs MNIST.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from jaxcnn import shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted, error_on, spoken, test_images
from jaxcnn.claims.estimates import difference, differences, holm_p_values
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Record, Study
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.data.targets import Target
from jaxcnn.models import LeNet5
from jaxcnn.objectives import CrossEntropy
from jaxcnn.plots.page import save
from jaxcnn.shift.corruption_errors import CorruptionErrors, mean_corruption_error

TRAINED = ("gaussian_noise", "gaussian_blur")
"""Corruptions of the corruption augmentation."""
NEAR = ("shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "motion_blur", "zoom_blur")
"""Corruptions of the same families, noise and blur, which training does not contain."""
FAR = (
    *("fog", "snow", "spatter", "brightness", "contrast", "elastic_transform", "scale"),
    *("stripe", "dotted_line", "zigzag", "pixelate"),
)
"""Corruptions of other families."""
HELD_OUT = (*NEAR, *FAR)
AUGMENTED = {"augmix": "AugMix", "corruptions": "noise and blur"}
ARMS = {"clean": "clean images", **AUGMENTED}


def measure(study: Study) -> Measurements:
    """Return errors in percent by arm and seed, on test images and for every held-out corruption and severity."""
    model = LeNet5(norm="batch", activation="relu")
    base = Experiment(
        model=study.choose(tiny=SmallConvNet((2,), norm="batch"), small=model, full=model),
        data=study.images(
            "mnist",
            train=study.choose(tiny=80, small=12_500, full=60_000),
            test=study.choose(tiny=32, small=1000, full=10_000),
            batch_size=study.choose(tiny=16, small=100, full=100),
            pad=2,
            mean=(0.1,),
            std=(0.3,),
        ),
        optimizer=Optimizer(algorithm="adam", learning_rate=1e-3, weight_decay=0.0),
        epochs=study.choose(tiny=1, small=6, full=6),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    objectives = {
        "clean": CrossEntropy(),
        "augmix": shift.AugMix(),
        "corruptions": shift.CorruptionAugmentation(corruptions=TRAINED),
    }
    records = study.repeat({arm: override(base, {"objective": o}) for arm, o in objectives.items()}, keep="last")
    names = study.choose(tiny=(NEAR[0], FAR[3]), small=HELD_OUT, full=HELD_OUT)
    severities = study.choose(tiny=(3, 5), small=(1, 2, 3, 4, 5), full=(1, 2, 3, 4, 5))
    test = test_images(base)
    errors = {arm: [{name: [] for name in names} for _ in each] for arm, each in records.items()}
    networks = {arm: [_network(r) for r in each] for arm, each in records.items()}
    for name in names:
        for severity in severities:
            images = corrupted(test, base.data, name, severity)
            for arm, each in networks.items():
                for seed, network in enumerate(each):
                    found = 90.0 if network is None else error_on(network, images, test.labels)
                    errors[arm][seed][name].append(found)
    clean = {arm: [_clean(network, test) for network in each] for arm, each in networks.items()}
    return {"severities": list(severities), "clean_errors": clean, "errors": errors}


def _network(record: Record) -> shift.Network | None:
    """Return the network of a run, None if it has diverged."""
    return shift.load_network(record.workdir) if record.results else None


def _clean(network: shift.Network | None, test: Target) -> float:
    return 90.0 if network is None else error_on(network, test.images, test.labels)


def mean_errors(measurements: Measurements, arm: str, names: Sequence[str] = HELD_OUT) -> list[float]:
    """Return for each seed the mean error over corruptions and severities, in percent."""
    return [
        statistics.fmean(x for name, values in row.items() if name in names for x in values)
        for row in measurements["errors"][arm]
    ]


def normalized(measurements: Measurements, arm: str) -> list[float]:
    """Return for each seed the mean corruption error in percent, in which each corruption counts relative to the error
    of the network of clean images with the same seed (Hendrycks & Dietterich 2019, section 4.1)."""
    severities = tuple(measurements["severities"])

    def scored(arm: str, seed: int) -> CorruptionErrors:
        errors = {k: [x / 100 for x in v] for k, v in measurements["errors"][arm][seed].items()}
        return CorruptionErrors(ARMS[arm], measurements["clean_errors"][arm][seed] / 100, errors, severities)

    return [
        100 * mean_corruption_error(scored(arm, seed), scored("clean", seed))
        for seed in range(len(measurements["errors"][arm]))
    ]


def changes(measurements: Measurements, arm: str) -> dict[str, float]:
    """Return by corruption how many points the mean error is lower than with clean images, over severities and
    seeds."""
    return {
        name: statistics.fmean(
            differences(mean_errors(measurements, "clean", (name,)), mean_errors(measurements, arm, (name,)))
        )
        for name in measurements["errors"][arm][0]
    }


def decide(measurements: Measurements) -> Verdict:
    """Say which augmentation lowers the error under held-out corruptions."""
    clean = mean_errors(measurements, "clean")
    pairs = {arm: (clean, mean_errors(measurements, arm)) for arm in AUGMENTED}
    p = holm_p_values(pairs)
    helped = [arm for arm in AUGMENTED if p[arm] < 0.05 and difference(*pairs[arm]).mean > 0]
    verdict = "does not hold"
    if helped:
        limited = f"holds if the augmentation is {' or '.join(AUGMENTED[arm] for arm in helped)}"
        verdict = "holds" if len(helped) == len(AUGMENTED) else limited
    sentences = [
        f"Under held-out corruptions, networks trained on clean images err on {statistics.fmean(clean):.1f} %, without "
        f"corruption on {statistics.fmean(measurements['clean_errors']['clean']):.1f} %."
    ]
    for arm, name in AUGMENTED.items():
        change = changes(measurements, arm)
        most, least = (pick(change, key=change.__getitem__) for pick in (max, min))
        near, far = (
            f"{difference(*(mean_errors(measurements, each, kind) for each in ('clean', arm))):+.1f}"
            for kind in (NEAR, FAR)
        )
        sentences.append(
            f"With {name} it is {statistics.fmean(pairs[arm][1]):.1f} % (mean corruption error "
            f"{statistics.fmean(normalized(measurements, arm)):.0f} % of that of clean images), without corruption "
            f"{statistics.fmean(measurements['clean_errors'][arm]):.1f} %. It gains {near} points on other noise and "
            f"blur and {far} on other families, and is better on {sum(x > 0 for x in change.values())} of "
            f"{len(change)} corruptions: {change[most]:+.1f} points on {spoken(most)}, {change[least]:+.1f} on "
            f"{spoken(least)}."
        )
    effect = difference(*pairs["augmix"])
    return Verdict(verdict, effect.mean, (effect.low, effect.high), " ".join(sentences))


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the mean errors, and what each augmentation changes on corruptions like those of training and on others."""
    means = {arm: statistics.fmean(mean_errors(measurements, arm)) for arm in ARMS}
    title = (
        f"Under corruptions that training does not contain, LeNet-5 errs on {means['clean']:.0f} % after training on "
        f"clean images, on {means['augmix']:.0f} % with AugMix, on {means['corruptions']:.0f} % with Gaussian "
        "noise and blur"
    )
    axes = [("%", "mean error over corruptions and severities"), ("points", "lower error than with clean images")]
    area, (left, right) = page(title, axes, label_width=20)
    colours = dict(zip(ARMS, (COLOURS[4], COLOURS[0], COLOURS[1]), strict=True))
    rows(left, [(f"{ARMS[a]}: {means[a]:.1f} %", mean_errors(measurements, a), c) for a, c in colours.items()])
    shown = []
    for arm in AUGMENTED:
        for kind, names in (("other noise and blur", NEAR), ("other families", FAR)):
            gains = differences(*(mean_errors(measurements, each, names) for each in ("clean", arm)))
            shown.append((f"{ARMS[arm]}: {kind} {statistics.fmean(gains):+.1f}", gains, colours[arm]))
    rows(right, shown, reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="robust_training",
    statement="Training on augmented images lowers the error under corruptions that training does not contain.",
    source="Hendrycks et al. 2020, section 4; Rusak et al. 2020",
    rule=(
        "LeNet-5 with batch normalization trains on MNIST for the same number of epochs, with Adam at a rate of 0.001: "
        "on clean images, with AugMix at its published settings, and with Gaussian noise and Gaussian blur of random "
        "severities on half of the images. It is scored under 17 other corruptions, at all five severities: six of "
        "noise and blur, and eleven of other families. None of them is an operation of AugMix. An augmentation lowers "
        "the error if the mean error over these corruptions and severities is lower than with clean images, with p "
        "below 0.05 in a t-test paired by seed, corrected by Holm's procedure for the two. The claim holds if both do; "
        "if one does, it holds for that one; otherwise it does not hold. The effect is the mean error with clean "
        "images minus with AugMix. Corruptions of the families of training and others, the mean corruption error "
        "normalized by the network of clean images, and the error without corruption are reported beside."
    ),
    effect="mean error under held-out corruptions with clean images minus with AugMix, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
