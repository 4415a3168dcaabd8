"""Claim: convolutional networks suffer less from covariate shift than simpler classifiers. It needs the TFDS data set
mnist; scikit-learn's digits come with scikit-learn.

Every seed trains all classifiers on the same images, its own 10,000 of the training images. The others are the
validation split, on which one setting of each classifier is chosen. What is found of the simpler classifiers is kept in
the folder of the study, and that of the networks in shifts.json of the run's folder, from which a stopped claim
continues.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn import data, shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted
from jaxcnn.claims.estimates import difference, holm_p_values
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.shifted_digits import FACTORS, NETWORKS, Kept, lenet5
from jaxcnn.claims.study import TUNING_SEEDS, Study
from jaxcnn.config import Data
from jaxcnn.data import Split
from jaxcnn.data.subgroups import subgroup_rows
from jaxcnn.plots.page import save
from jaxcnn.runtime.atomic import replacing, write_json
from jaxcnn.runtime.json_object import read_object
from jaxcnn.shift.cost import class_tilt

Predict = Callable[[np.ndarray], np.ndarray]
"""A function from stored images to classes, int [n]."""

SIMPLE = {
    "nearest": "k-nearest neighbours",
    "svm": "support vector machine",
    "forest": "random forest",
    "logistic": "logistic regression",
}
CLASSIFIERS = SIMPLE | {norm: f"LeNet-5 {text}" for norm, text in NETWORKS.items()}
SETTINGS: Mapping[str, tuple[float, ...]] = {
    "nearest": (1, 3, 5),
    "svm": (1, 10),
    "forest": (1, 3),
    "logistic": (0.01, 0.1, 1),
}
"""What is tried: number of neighbours, C of the radial kernel, images in a leaf, and C."""
CORRUPTED = (
    "gaussian_noise",
    "gaussian_blur",
    "fog",
    "contrast",
    "rotate",
    "translate",
    "stripe",
    "pixelate",
)
"""At least one corruption of each family."""
STROKES = ("thick", "thin")
DIGITS = "digits"
CLEAN = "clean"
PAD = 2
GUESSING = {"accuracy": 10.0, "tilt": 0.9}
"""What a diverged network is given: accuracy in percent, and the tilt of a prediction of one class."""


def images(study: Study) -> Data:
    """Write the training images and the first test images to a file in the folder of the study, and return the data
    set; its seed chooses a sixth of the training images to train on."""
    settings = study.images(
        "mnist",
        train=study.choose(tiny=120, small=60_000, full=60_000),
        test=study.choose(tiny=24, small=2000, full=10_000),
        batch_size=study.choose(tiny=16, small=64, full=64),
        validation=0.0,
        split_seed=None,
    )
    file = study.folder / "mnist.npz"
    if not file.exists():
        study.folder.mkdir(parents=True, exist_ok=True)
        found = data.load(settings, 0)
        train, test = ((np.asarray(part.images), part.labels) for part in (found.train, found.test))
        with replacing(file) as draft, draft.open("wb") as stream:
            np.savez(stream, train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1])
    return replace(settings, source="arrays", name=str(file), validation=5 / 6, pad=PAD)


def targets(study: Study, test: Split, config: Data) -> dict[str, Split]:
    """Return the test images as they are and under every shift, by name of the shift, padded like the training
    images."""
    severities = study.choose(tiny=(5,), small=(3, 5), full=(3, 5))
    found = {CLEAN: Split(np.asarray(test.images), test.labels)}
    for name in study.choose(tiny=CORRUPTED[3:4], small=CORRUPTED, full=CORRUPTED):
        for severity in severities:
            found[f"{name} {severity}"] = Split(corrupted(test, config, name, severity), test.labels)
    scans = [shift.read_target(f"digits:{part}@20", shape=test.images.shape[1:]) for part in ("train", "test")]
    scanned = np.concatenate([np.asarray(part.images) for part in scans])
    found[DIGITS] = Split(scanned, np.concatenate([part.labels for part in scans]))
    for name in STROKES:
        chosen = subgroup_rows(name, test.images, test.labels)
        found[name] = Split(np.asarray(test.images[chosen]), test.labels[chosen])
    return found


def measure(study: Study) -> Measurements:
    """Return the accuracy in percent and the tilt of the predicted classes by classifier, shift and seed."""
    config = images(study)
    arms = {norm: lenet5(study, config, norm, epochs=10) for norm in NETWORKS}
    records = study.repeat(study.tune(arms, study.choose(tiny=(1,), small=FACTORS, full=FACTORS)), keep="last")
    shifted = targets(study, data.load(config, 0).test, config)
    settings = _chosen(study, config)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CLASSIFIERS}
    for seed in study.seeds:
        for name in SIMPLE:
            file = study.folder / "simple" / f"{name} {seed}.json"
            if not file.exists():
                write_json(file, scores(fitted(name, settings[name], config, seed), shifted))
            found[name].append(read_object(file))
        for norm in NETWORKS:
            kept = Kept(records[norm][seed], "shifts.json")
            if "scores" not in kept:
                kept["scores"] = _network_scores(kept.network, shifted)
            found[norm].append(kept["scores"])
    return {
        measure: {
            name: {part: [each[part][measure] for each in by_seed] for part in shifted}
            for name, by_seed in found.items()
        }
        for measure in GUESSING
    } | {"settings": settings, "tuning": study.tunings}


def _network_scores(network: shift.Network | None, shifted: Mapping[str, Split]) -> dict[str, dict[str, float]]:
    if network is None:
        return dict.fromkeys(shifted, GUESSING)
    return scores(lambda images: shift.read(network, images).predictions, shifted)


def _chosen(study: Study, config: Data) -> dict[str, float]:
    """Return the setting of each simple classifier that has the least error on validation images, of the training
    images of another seed than those that are reported."""
    file = study.folder / "simple" / "settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, float] = read_object(file) if file.exists() else {}
    seed, count = TUNING_SEEDS[0], study.choose(tiny=10, small=2000, full=10_000)
    for name, values in SETTINGS.items():
        if name in known:
            continue
        validation = data.load(config, seed).validation
        held, labels = np.asarray(validation.images[:count]), validation.labels[:count]
        errors = {value: np.mean(fitted(name, value, config, seed)(held) != labels) for value in values}
        known[name] = min(values, key=errors.__getitem__)
        write_json(file, known)
    return known


def fitted(name: str, setting: float, config: Data, seed: int) -> Predict:
    """Return a simple classifier, trained on the training images of a seed.

    Args:
        name: a name in `SIMPLE`.
        setting: as in `SETTINGS`.
        config: the data set.
        seed: chooses the images, and is the seed of the random forest.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    model = {
        "nearest": lambda: KNeighborsClassifier(int(setting)),
        "svm": lambda: SVC(C=setting, cache_size=1000),
        "forest": lambda: RandomForestClassifier(200, min_samples_leaf=int(setting), random_state=seed),
        "logistic": lambda: LogisticRegression(C=setting, max_iter=2000, tol=1e-3),
    }[name]()
    train = data.load(config, seed).train
    model.fit(_pixels(train.images), train.labels)
    return lambda images: model.predict(_pixels(images))


def _pixels(images: Any) -> np.ndarray:
    """Return the pixels of images [n, height, width, 1] without their padding, in 0..1, [n, pixels]."""
    inner = np.asarray(images)[:, PAD:-PAD, PAD:-PAD]
    return inner.reshape(len(inner), -1).astype(np.float32) / 255


def scores(predict: Predict, shifted: Mapping[str, Split]) -> dict[str, dict[str, float]]:
    """Return, by shift, the accuracy in percent and how far the shares of the predicted classes are from those of the
    images without a shift (total variation, 0 to 1)."""
    predictions = {part: predict(split.images) for part, split in shifted.items()}
    return {
        part: {
            "accuracy": 100 * float(np.mean(predictions[part] == split.labels)),
            "tilt": class_tilt(_outputs(predictions[CLEAN]), _outputs(predictions[part])),
        }
        for part, split in shifted.items()
    }


def _outputs(predictions: np.ndarray) -> shift.Outputs:
    """Return outputs of a classifier that gives nothing but classes."""
    scored = np.eye(10, dtype=np.float32)[predictions]
    return shift.Outputs(None, scored, scored)


def by_shift(measurements: Measurements, measure: str, name: str) -> dict[str, list[float]]:
    """Return the loss of accuracy in points, or the tilt, of a classifier by shift and seed; severities of a corruption
    are averaged.

    Args:
        measurements: the measurements.
        measure: accuracy or tilt.
        name: of the classifier.
    """
    found = measurements[measure][name]
    clean = found[CLEAN]
    parts: dict[str, list[list[float]]] = {}
    for part, values in found.items():
        if part != CLEAN:
            changes = [c - x for c, x in zip(clean, values, strict=True)] if measure == "accuracy" else values
            parts.setdefault(part.partition(" ")[0], []).append(changes)
    return {part: np.mean(each, axis=0).tolist() for part, each in parts.items()}


def overall(measurements: Measurements, measure: str, name: str) -> list[float]:
    """Return the loss, or the tilt, of a classifier by seed, the mean over the shifts."""
    return np.mean([*by_shift(measurements, measure, name).values()], axis=0).tolist()


def decide(measurements: Measurements) -> Verdict:
    """Compare the losses of each network and each simpler classifier."""
    losses = {name: overall(measurements, "accuracy", name) for name in CLASSIFIERS}
    pairs = {(norm, name): (losses[name], losses[norm]) for norm in NETWORKS for name in SIMPLE}
    corrected = holm_p_values(pairs)
    better = {
        norm: [name for name in SIMPLE if corrected[norm, name] < 0.05 and difference(*pairs[norm, name]).mean > 0]
        for norm in NETWORKS
    }
    winners = [norm for norm in NETWORKS if len(better[norm]) == len(SIMPLE)]
    beaten = [name for name in SIMPLE if all(name in found for found in better.values())]
    verdict = "does not hold"
    if len(winners) == len(NETWORKS):
        verdict = "holds"
    elif winners:
        verdict = f"holds if the network is {CLASSIFIERS[winners[0]]}"
    elif beaten:
        verdict = f"holds if the simpler classifier is {' or '.join(SIMPLE[name] for name in beaten)}"
    effect = difference(*(np.mean([losses[name] for name in group], axis=0).tolist() for group in (SIMPLE, NETWORKS)))
    each = "; ".join(_words(measurements, name) for name in CLASSIFIERS)
    conditions = (
        "Mean loss of accuracy over the shifts in points, accuracy under them and without a shift in percent, tilt of "
        f"the predicted classes, and the shift that costs most: {each}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _words(measurements: Measurements, name: str) -> str:
    loss, tilt = (statistics.fmean(overall(measurements, each, name)) for each in ("accuracy", "tilt"))
    clean = statistics.fmean(measurements["accuracy"][name][CLEAN])
    means = {part: statistics.fmean(values) for part, values in by_shift(measurements, "accuracy", name).items()}
    worst = max(means, key=means.__getitem__)
    return (
        f"{CLASSIFIERS[name]} {loss:.1f}, {clean - loss:.1f} and {clean:.1f}, {tilt:.2f}, "
        f"{worst.replace('_', ' ')} ({means[worst]:.1f})"
    )


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the loss of accuracy and the tilt of the predicted classes of every classifier."""
    losses = {name: overall(measurements, "accuracy", name) for name in CLASSIFIERS}
    order = sorted(CLASSIFIERS, key=lambda name: statistics.fmean(losses[name]))
    least, most = (f"{CLASSIFIERS[name]} {statistics.fmean(losses[name]):.0f} points" for name in (order[0], order[-1]))
    title = f"Covariate shift costs {least} of accuracy, the least, and {most}, the most"
    axes = [("points", "loss of accuracy, mean over the shifts"), ("total variation", "tilt of the predicted classes")]
    area, panels = page(title, axes, label_width=20, height=400)
    colours = dict.fromkeys(SIMPLE, COLOURS[4]) | {"none": COLOURS[1], "batch": COLOURS[0]}
    for panel, measure, form in zip(panels, GUESSING, (".1f", ".2f"), strict=True):
        values = {name: overall(measurements, measure, name) for name in order}
        texts = {name: f"{CLASSIFIERS[name]}: {statistics.fmean(values[name]):{form}}" for name in order}
        for place, name in enumerate(order):
            each = [statistics.fmean(x) for x in by_shift(measurements, measure, name).values()]
            style = {"color": colours[name], "markersize": 5, "alpha": 0.4, "markerfacecolor": "none"}
            panel.plot(each, [place] * len(each), "o", **style)
        rows(panel, [(texts[name], values[name], colours[name]) for name in order], reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval; circles: the single shifts")
    return save(area, path)


CLAIM = Claim(
    name="classifiers_shift",
    statement="Convolutional networks suffer less from covariate shift than simpler classifiers.",
    source="common notes, which name k-nearest neighbours, SVM, random forests and logistic regression as affected",
    rule=(
        "K-nearest neighbours, a support vector machine with a radial kernel, a random forest, logistic regression, "
        "and LeNet-5 with and without batch normalization learn the same 10,000 images of MNIST, others for each seed; "
        "the number of neighbours, the constant C, the size of leaves and the learning rates are chosen on validation "
        "images. Eleven shifts are tested: eight corruptions, each at severities 3 and 5, scikit-learn's digits, and "
        "the halves of the test images with the thicker and with the thinner strokes. The loss is the accuracy on "
        "2,000 test images minus that under a shift, the mean over the eleven shifts. A network suffers less than a "
        "simpler classifier if its loss is smaller and the paired t-test gives p < 0.05, corrected by Holm over all "
        "eight pairs. The claim holds if both networks suffer less than all four simpler classifiers; if only one of "
        "them does, it holds for that network; otherwise it holds for the simpler classifiers than which both networks "
        "suffer less, and without any it does not hold. The effect is the mean loss of the simpler classifiers minus "
        "that of the networks, paired by seed."
    ),
    effect="loss of accuracy of the simpler classifiers minus that of the networks, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
