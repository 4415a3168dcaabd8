"""Claim: L2 regularization and dropout lower the test error where training data are few or labels are wrong.

Every seed trains on its own 1,000 images of a larger pool, so that the intervals also cover the choice of the images
and of the wrong labels. The rest of the pool is the validation split; its labels are as wrong as those of the training
images, because nobody would have others.
"""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn import data
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, differences, holm_p_values
from jaxcnn.claims.outcomes import nll, training_error
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Data, Experiment, Optimizer, Schedule, override
from jaxcnn.data.sources import shuffled
from jaxcnn.layers import Activation, Dense, Dropout, Flatten, Layer
from jaxcnn.models import Chain
from jaxcnn.plots.page import save
from jaxcnn.runtime.atomic import replacing

LABELS = {"right": 0.0, "wrong": 0.2}
"""Share of wrong labels among the training images."""
ARMS = {"none": "neither", "l2": "L2", "dropout": "dropout", "both": "both"}


def network(units: int, dropout: float) -> Chain:
    """Return a network of two dense layers of rectified units, with dropout after both, or none."""
    hidden: tuple[Layer, ...] = ()
    for i in (1, 2):
        hidden += (Dense(units, kernel_init="he_normal", name=f"fc{i}"), Activation("relu", name=f"act{i}"))
        hidden += (Dropout(dropout, name=f"drop{i}"),) if dropout else ()
    return Chain((Flatten(name="flatten"), *hidden, Dense(10, name="output")))


def with_wrong_labels(labels: np.ndarray, share: float) -> np.ndarray:
    """Return labels [n], a share of which, at random, is replaced by another of the ten classes, each equally "
    "likely."""
    chosen, shift = shuffled(len(labels), 0)[: round(share * len(labels))], 1 + shuffled(len(labels), 1) % 9
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + shift[chosen]) % 10
    return changed


def images(study: Study, share: float) -> Data:
    """Write the pool of training images, with that share of wrong labels, and the test images to a file in the folder
    of the study, and return the data set; its seed chooses a quarter of the pool for training."""
    settings = study.images(
        "mnist",
        train=study.choose(tiny=80, small=4000, full=4000),
        test=study.choose(tiny=32, small=5000, full=10_000),
        batch_size=study.choose(tiny=16, small=50, full=50),
        validation=0.0,
        split_seed=None,
    )
    found, file = data.load(settings, 0), study.folder / f"{share:g} wrong.npz"
    if not file.exists():
        study.folder.mkdir(parents=True, exist_ok=True)
        train, test = ((np.asarray(part.images), part.labels) for part in (found.train, found.test))
        arrays = {"train_images": train[0], "train_labels": with_wrong_labels(train[1], share)}
        with replacing(file) as draft, draft.open("wb") as stream:
            np.savez(stream, **arrays, test_images=test[0], test_labels=test[1])
    return replace(settings, source="arrays", name=str(file), validation=0.75)


def measure(study: Study) -> Measurements:
    """Return errors in percent and likelihoods by labels, arm and seed."""
    units = study.choose(tiny=8, small=512, full=2048)
    coefficients = study.choose(tiny=(0.01,), small=(1e-3, 5e-3, 2e-2), full=(1e-3, 5e-3, 2e-2))
    factors = study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3))
    candidates: dict[str, dict[str, Experiment]] = {}
    for labels, share in LABELS.items():
        none = Experiment(
            model=network(units, 0.0),
            data=images(study, share),
            optimizer=Optimizer(learning_rate=0.03, weight_decay=0.0, schedule=Schedule(name="cosine")),
            epochs=study.choose(tiny=2, small=60, full=200),
            eval_every=1000,
            checkpoint_every=1000,
            log_every=1000,
        )
        dropout = override(none, {"model": network(units, 0.5)})
        candidates[f"{labels}, none"], candidates[f"{labels}, dropout"] = {"0": none}, {"0": dropout}
        for arm, without in (("l2", none), ("both", dropout)):
            candidates[f"{labels}, {arm}"] = {
                f"{value:g}": override(without, {"optimizer.weight_decay": value}) for value in coefficients
            }
    arms = {f"{arm}, {value}": e for arm, each in candidates.items() for value, e in each.items()}
    tuned = study.tune(arms, factors)
    chosen = {arm: tuned[study.best([f"{arm}, {value}" for value in each])] for arm, each in candidates.items()}
    records = study.repeat(chosen, keep="last")
    return {
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in chosen},
        "training_errors": {arm: [training_error(r) for r in records[arm]] for arm in chosen},
        "nll": {arm: [nll(r) for r in records[arm]] for arm in chosen},
        "weight_decay": {arm: chosen[arm].optimizer.weight_decay for arm in chosen},
        "learning_rates": {arm: chosen[arm].optimizer.learning_rate for arm in chosen},
        "tuning": study.tunings,
    }


def helping(values: dict[str, list[float]]) -> list[str]:
    """Return the regularizers that lower a measure, as in "L2 on right labels", by the rule of the claim."""
    pairs = {
        f"{ARMS[arm]} on {labels} labels": (values[f"{labels}, none"], values[f"{labels}, {arm}"])
        for labels in LABELS
        for arm in ("l2", "dropout")
    }
    p = holm_p_values(pairs)
    return [name for name, pair in pairs.items() if p[name] < 0.05 and difference(*pair).mean > 0]


def decide(measurements: Measurements) -> Verdict:
    """Compare each regularizer with none, on right labels and with wrong ones."""
    errors = measurements["test_errors"]
    effect = difference(errors["wrong, none"], errors["wrong, both"])
    helped = helping(errors)
    verdict = "does not hold"
    if len(helped) == 4:
        verdict = "holds"
    elif helped:
        verdict = f"holds if only {' and '.join(helped)} {'is' if len(helped) == 1 else 'are'} meant"
    parts = []
    for labels in LABELS:
        texts = [f"{_text(measurements, f'{labels}, {arm}')} with {name}" for arm, name in ARMS.items()]
        parts.append(f"on {labels} labels {'; '.join(texts)}")
    conditions = (
        f"Test error and negative log-likelihood are {'. They are '.join(parts)}. The likelihood is better with "
        f"{', '.join(helping(measurements['nll'])) or 'no regularizer'}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _text(measurements: Measurements, arm: str) -> str:
    error, likelihood = (statistics.fmean(measurements[kind][arm]) for kind in ("test_errors", "nll"))
    return f"{error:.1f} % and {likelihood:.2f}"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw test errors and likelihoods against those without regularization on the same labels."""
    errors, nats = measurements["test_errors"], measurements["nll"]
    changes = {arm: -difference(errors["wrong, none"], errors[f"wrong, {arm}"]).mean for arm in ARMS if arm != "none"}
    title = (
        "1,000 images, 20 % of the labels wrong: the test error changes by "
        f"{changes['l2']:+.1f} points with L2, {changes['dropout']:+.1f} with dropout, {changes['both']:+.1f} with both"
    )
    means = [statistics.fmean(values[f"{labels}, none"]) for values in (errors, nats) for labels in LABELS]
    axes = [("", f"change of the test error (from {means[0]:.1f}, {means[1]:.1f} %), points")]
    axes += [("", f"change of the test NLL in nats (from {means[2]:.2f}, {means[3]:.2f})")]
    area, panels = page(title, axes, label_width=10)
    colours = {"l2": COLOURS[1], "dropout": COLOURS[0], "both": COLOURS[2]}
    for panel, values, digits in zip(panels, (errors, nats), (1, 2), strict=True):
        shown = []
        for labels in LABELS:
            for arm, colour in colours.items():
                change = differences(values[f"{labels}, {arm}"], values[f"{labels}, none"])
                text = f"{ARMS[arm]}, {labels} labels: {statistics.fmean(change):+.{digits}f}"
                shown.append((text, change, colour))
        rows(panel, shown, reference=0)
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="small_noisy_data",
    statement="L2 regularization and dropout lower the test error if training data are few or labels are wrong.",
    source="teaching notes; Krizhevsky et al. 2012, section 4",
    rule=(
        "Networks of two dense layers train on 1,000 images, with right labels and with 20 percent of the labels "
        "wrong, without regularization, with L2, with dropout of one half and with both, each at its own best learning "
        "rate and coefficient of L2, chosen together on a validation split. Every seed has its own training images. A "
        "regularizer helps if the test error is lower than without it, by the t-test paired by seed at 5 percent, with "
        "Holm's correction for the four comparisons of L2 and dropout on right and wrong labels. The claim holds if "
        "all four help; it holds for those that help if only some do; otherwise it does not hold. The effect is the "
        "test error without regularization minus with both, with wrong labels."
    ),
    effect="test error without minus with L2 and dropout, with 20 % wrong labels, points",
    data=("mnist",),
    seeds=10,
    measure=measure,
    decide=decide,
    draw=draw,
)
