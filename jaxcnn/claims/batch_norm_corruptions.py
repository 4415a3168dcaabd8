"""Claim: batch normalization makes a network robust against covariate shift. It needs the TFDS data set mnist.

Every test image is corrupted in all ways of `jaxcnn.corruptions`, without its padding. A network with batch
normalization normalizes by the moving averages of training, by a blend of them and of the statistics of each batch of
test images, or by the batch alone, with or without training on it by TENT. What is found for each corruption is kept
in corruptions.json of the run's folder, from which a stopped claim continues.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn import data, shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted, spoken
from jaxcnn.claims.estimates import Estimate, difference
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.shifted_digits import FACTORS, NETWORKS, Kept, lacking, lenet5, mnist
from jaxcnn.claims.study import Study
from jaxcnn.plots.page import FAINT, save
from jaxcnn.plots.words import MUTED, SMALL, add_text

Predict = Callable[[shift.Network, Any], np.ndarray]
"""A function from a network and stored images to log probabilities, [n, classes]."""

METHODS: dict[str, tuple[str, Predict]] = {
    "source": ("statistics of training", lambda network, images: shift.read(network, images).log_probabilities),
    "N=0": ("statistics of the test batch", shift.predict_by_batch),
    "N=16": ("blend, N = 16", lambda network, images: shift.predict_by_batch(network, images, prior=16)),
    "N=64": ("blend, N = 64", lambda network, images: shift.predict_by_batch(network, images, prior=64)),
    "N=0, batch 8": (
        "test batches of 8",
        lambda network, images: shift.predict_by_batch(network, images, batch_size=8),
    ),
    "TENT": ("TENT", lambda network, images: shift.minimize_entropy(network, images).log_probabilities),
}
"""What a network with batch normalization predicts with, by batches of 200 images unless another size is named."""
WITHOUT = "without"
"""The network without batch normalization, beside the methods."""
CLEAN = "clean"
"""Images without a corruption, beside the corruptions."""
GUESSING = 90.0
"""Error of a diverged run, in percent."""
MARGIN = 1.0
"""Points of error that are too few to matter for one corruption."""


def measure(study: Study) -> Measurements:
    """Return errors in percent by corruption, severity, method and seed, and those of images without a corruption."""
    names = study.choose(tiny=("contrast", "translate"), small=tuple(shift.CORRUPTIONS), full=tuple(shift.CORRUPTIONS))
    severities = study.choose(tiny=(5,), small=(3, 5), full=(1, 2, 3, 4, 5))
    images = mnist(study)
    arms = {norm: lenet5(study, images, norm, epochs=4) for norm in NETWORKS}
    records = study.repeat(study.tune(arms, study.choose(tiny=(1,), small=FACTORS, full=FACTORS)), keep="last")
    networks = {norm: [Kept(record, "corruptions.json") for record in records[norm]] for norm in NETWORKS}
    every = [network for row in networks.values() for network in row]
    test = data.load(images, 0).test
    cases = {f"{name} {severity}": (name, severity) for name in names for severity in severities}
    for part in (CLEAN, *cases):
        if unknown := lacking(every, part):
            shifted = np.asarray(test.images) if part == CLEAN else corrupted(test, images, *cases[part])
            for network in unknown:
                methods = METHODS if network in networks["batch"] else {"source": METHODS["source"]}
                network[part] = {name: _error(network, each, shifted, test.labels) for name, each in methods.items()}

    def errors(part: str) -> dict[str, list[float]]:
        """Return the errors of a part by method and seed."""
        own = {name: [network[part][name] for network in networks["batch"]] for name in METHODS}
        return {WITHOUT: [network[part]["source"] for network in networks["none"]]} | own

    return {
        "clean": errors(CLEAN),
        "errors": {name: {str(each): errors(f"{name} {each}") for each in severities} for name in names},
        "tuning": study.tunings,
    }


def _error(network: Kept, method: tuple[str, Predict], images: np.ndarray, labels: np.ndarray) -> float:
    if network.network is None:
        return GUESSING
    predictions = method[1](network.network, images).argmax(axis=-1)
    return 100 * float(np.mean(predictions != labels))


def by_corruption(measurements: Measurements, method: str) -> dict[str, list[float]]:
    """Return the error of a method by corruption and seed, the mean over the severities."""
    return {
        name: np.mean([errors[method] for errors in by_severity.values()], axis=0).tolist()
        for name, by_severity in measurements["errors"].items()
    }


def overall(measurements: Measurements, method: str) -> list[float]:
    """Return the error of a method by seed, the mean over corruptions and severities."""
    return np.mean([*by_corruption(measurements, method).values()], axis=0).tolist()


def gains(measurements: Measurements, method: str) -> dict[str, Estimate]:
    """Return the error without batch normalization minus that of a method, by corruption."""
    without, own = (by_corruption(measurements, each) for each in (WITHOUT, method))
    return {name: difference(without[name], own[name]) for name in own}


def decide(measurements: Measurements) -> Verdict:
    """Compare the networks as trained, and by the statistics of the test batch."""
    without = overall(measurements, WITHOUT)
    effects = {method: difference(without, overall(measurements, method)) for method in METHODS}
    verdict = "does not hold"
    if effects["source"].low > 0:
        verdict = "holds"
    elif effects["N=0"].low > 0:
        verdict = "holds if the statistics of the test batch replace those of training"
    means = {WITHOUT: statistics.fmean(without)} | {
        method: statistics.fmean(overall(measurements, method)) for method in METHODS
    }
    clean = {method: statistics.fmean(values) for method, values in measurements["clean"].items()}
    each = ", ".join(f"{means[method]:.1f} % ({clean[method]:.1f} %) with {METHODS[method][0]}" for method in METHODS)
    counts = "; ".join(
        f"with {METHODS[method][0]} {_helped(measurements, method, 1)} and {_helped(measurements, method, -1)}"
        for method in ("source", "N=0")
    )
    conditions = (
        f"The error over corruptions, and in brackets that without a corruption, is {means[WITHOUT]:.1f} % "
        f"({clean[WITHOUT]:.1f} %) without batch normalization, and with it {each}. Of {len(measurements['errors'])} "
        f"corruptions batch normalization lowers and raises the error by more than {MARGIN:g} point: {counts}."
    )
    return Verdict(verdict, effects["source"].mean, (effects["source"].low, effects["source"].high), conditions)


def _helped(measurements: Measurements, method: str, sign: int) -> int:
    """Return for how many corruptions a method changes the error by more than the margin, in that direction, with an
    interval on its side of 0."""
    own = [gain if sign > 0 else -gain for gain in gains(measurements, method).values()]
    return sum(gain.mean > MARGIN and gain.low > 0 for gain in own)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the errors of three methods by corruption, in families, and the mean error of every method."""
    means = {method: statistics.fmean(overall(measurements, method)) for method in (WITHOUT, *METHODS)}
    title = (
        f"Under corruptions the error is {means[WITHOUT]:.0f} % without batch norm, {means['source']:.0f} % with batch "
        f"norm as trained, and {means['N=0']:.0f} % with the statistics of the test batch"
    )
    colours = {WITHOUT: COLOURS[1], "source": COLOURS[0], "N=0": COLOURS[2]}
    found = {method: by_corruption(measurements, method) for method in colours}
    harm = {name: -gain.mean for name, gain in gains(measurements, "source").items()}
    families = [
        (family, sorted(set(members) & set(harm), key=harm.__getitem__, reverse=True))
        for family, members in shift.FAMILIES.items()
    ]
    families = [(family, members) for family, members in families if members]
    families.sort(key=lambda each: statistics.fmean(harm[name] for name in each[1]), reverse=True)
    axes = [("error, %", "error by corruption"), ("error, %", "mean error over all corruptions")]
    count = len(harm) + 0.6 * (len(families) - 1)
    area, (left, right) = page(title, axes, label_width=20, height=max(330, round(19 * count)))
    # Names are written to the left of the dots, inside the panel.
    left.set(xlim=(-56, 100), yticks=[], xticks=range(0, 101, 20))
    left.grid(False)
    left.spines["left"].set_visible(False)
    for x in range(0, 101, 20):
        left.axvline(x, color=FAINT, linewidth=0.6, zorder=0)
    place = 0.0
    for family, members in families:
        add_text(left, -58, place + (len(members) - 1) / 2, family, SMALL, color=MUTED, va="center", ha="right")
        for name in members:
            values = {method: statistics.fmean(found[method][name]) for method in colours}
            worse = values["source"] > values[WITHOUT]
            line = {"color": COLOURS[3] if worse else COLOURS[5], "linewidth": 3, "alpha": 0.6, "zorder": 1}
            left.plot([values[WITHOUT], values["source"]], [place] * 2, **line)
            for method, colour in colours.items():
                left.plot(values[method], place, "o", color=colour, markersize=5.5, zorder=3)
            add_text(left, -2, place, spoken(name), SMALL, va="center", ha="right")
            place += 1
        place += 0.6
    left.set_ylim(place - 1, -1)
    texts = {WITHOUT: NETWORKS["none"]} | {
        method: f"batch norm, {'TENT' if method == 'TENT' else text}" for method, (text, _) in METHODS.items()
    }
    ordered = [(f"{texts[m]}: {means[m]:.1f}", overall(measurements, m), colours.get(m, COLOURS[4])) for m in texts]
    rows(right, ordered)
    note(
        area,
        "dots: colours as on the right; lines: batch norm as trained raises the error (purple) or lowers it (blue)",
    )
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_corruptions",
    statement="Batch normalization makes a network robust against covariate shift.",
    source="common notes; against it Schneider et al. 2020 and Nado et al. 2020, which replace its statistics",
    rule=(
        "LeNet-5 with batch normalization after both convolutions, and without, learns MNIST, each at its best "
        "learning rate by the validation error, and is tested on all 10,000 test images under each of 28 corruptions "
        "at severities 3 and 5. With batch normalization it uses the statistics of training, those of test batches of "
        "200 images, blends of both in which training counts for 16 or 64 images, those of test batches of 8 images, "
        "or TENT. The effect is the mean error over corruptions and severities without batch normalization minus that "
        "with it and the statistics of training, paired by seed. The claim holds if its 95 % interval lies above 0. "
        "Otherwise, if the same difference with the statistics of test batches of 200 images has an interval above 0, "
        "it holds if these statistics replace those of training; otherwise it does not hold. Other methods are "
        "reported and do not decide."
    ),
    effect="mean error under corruptions without minus with batch normalization as trained, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
