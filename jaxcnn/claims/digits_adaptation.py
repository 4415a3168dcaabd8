"""Claim: unlabelled images of the target adapt a network to it.

The source is MNIST, the target scikit-learn's scans of digits, enlarged from 8 to 20 pixels. Of 1,797 scans, 1,437 are
there without their labels, and 360 score the networks. It needs MNIST; the scans come with scikit-learn.
"""

import statistics
from pathlib import Path

import numpy as np

from jaxcnn import shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import error_on
from jaxcnn.claims.estimates import difference, holm_p_values
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Record, Study, curve
from jaxcnn.config import Data, Experiment, Optimizer, override, run_id
from jaxcnn.data.targets import Target
from jaxcnn.models import LeNet5
from jaxcnn.plots.page import save
from jaxcnn.runs.launch import train

METHODS = {"adabn": "AdaBN", "coral": "deep CORAL", "dann": "DANN"}
"""Adaptations by images without labels."""
ARMS = {"source": "MNIST only", **METHODS, "labels": "100 labels"}
WEIGHTS = {"coral": (1.0, 10.0, 100.0), "dann": (0.1, 1.0)}
"""Weights of the terms that adapt, of which the entropy of the predictions of unlabelled scans chooses one."""
TARGET = "digits@20"
_MEAN, _STD = (0.1,), (0.3,)


def measure(study: Study) -> Measurements:
    """Return the errors on the scans in percent by arm and seed, and the chosen weights."""
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2,), norm="batch"),
            small=LeNet5(norm="batch", activation="relu"),
            full=LeNet5(norm="batch", activation="relu"),
        ),
        data=study.images(
            "mnist",
            train=study.choose(tiny=80, small=12_500, full=60_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=100, full=100),
            pad=2,
            mean=_MEAN,
            std=_STD,
            target=TARGET,
        ),
        optimizer=Optimizer(algorithm="adam", learning_rate=1e-3, weight_decay=0.0),
        epochs=study.choose(tiny=1, small=6, full=6),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=study.choose(tiny=2, small=100, full=480),
    )
    kinds = {"coral": shift.DeepCoral, "dann": shift.DANN}
    tried = {arm: weights[: study.choose(tiny=1, small=3, full=3)] for arm, weights in WEIGHTS.items()}
    candidates = {
        arm: {f"{arm} {weight:g}": override(base, {"objective": kinds[arm](weight=weight)}) for weight in weights}
        for arm, weights in tried.items()
    }
    tuned = study.tune(candidates["coral"] | candidates["dann"], (1,), criterion=target_entropy)
    chosen = {arm: tuned[study.best([*each])] for arm, each in candidates.items()}
    records = study.repeat({"source": base, **chosen}, keep="last")
    unlabelled, scored = (shift.read_target(f"digits:{part}@20", shape=(32, 32, 1)) for part in ("train", "test"))
    errors = {arm: [target_error(r) for r in records[arm]] for arm in records}
    errors["adabn"] = [adapted_error(r, unlabelled, scored) for r in records["source"]]
    errors["labels"] = [labelled_error(study, r, unlabelled, scored) for r in records["source"]]
    return {
        "target_errors": {arm: errors[arm] for arm in ARMS},
        "weights": {arm: chosen[arm].objective.weight for arm in chosen},
        "entropies": study.tunings,
    }


def target_entropy(record: Record) -> float:
    """Return the mean entropy of the predictions of unlabelled scans at the end of training, in nats."""
    return curve(record, "train")[-1]["target_entropy"]


def target_error(record: Record) -> float:
    """Return the error on the scans in percent; a diverged run counts as guessing, 90 %."""
    return 100 * record.results.target["error"] if record.results else 90.0


def adapted_error(record: Record, unlabelled: Target, scored: Target) -> float:
    """Return the error after the running averages were replaced by the statistics of the unlabelled scans."""
    if not record.results:
        return 90.0
    network = shift.adapt_statistics(shift.load_network(record.workdir), np.asarray(unlabelled.images))
    return error_on(network, np.asarray(scored.images), scored.labels)


def labelled_error(study: Study, record: Record, scans: Target, scored: Target) -> float:
    """Return the error after fine-tuning on 100 labelled scans, which the seed draws in equal numbers per class: first
    the last layer alone, then all layers at a tenth of the rate, as in configs/shift/few_labels.py."""
    if not record.results:
        return 90.0
    arrays = {
        "train_images": np.asarray(scans.images),
        "train_labels": scans.labels,
        "test_images": np.asarray(scored.images),
        "test_labels": scored.labels,
    }
    last = Experiment(
        model=record.experiment.model,
        data=Data(source="arrays", train_count=100, batch_size=16, mean=_MEAN, std=_STD),
        optimizer=Optimizer(algorithm="adam", learning_rate=3e-3, weight_decay=0.0),
        objective=shift.LinearProbe(layers=("output",)),
        seed=record.experiment.seed,
        epochs=study.choose(tiny=1, small=30, full=30),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
        compilation_cache=record.experiment.compilation_cache,
    )
    whole = override(last, {"objective": record.experiment.objective, "optimizer.learning_rate": 3e-4})
    folders = [study.folder / "labels" / run_id(each) for each in (last, whole)]
    train(last, folders[0], arrays=arrays, init_from=record.workdir, keep="last", verbose=False)
    results = train(whole, folders[1], arrays=arrays, init_from=folders[0], keep="results", verbose=False)
    return 100 * results.test["error"]


def together(errors: dict[str, list[float]]) -> list[float]:
    """Return for each seed the mean error of the three methods without labels."""
    return [statistics.fmean(row) for row in zip(*(errors[arm] for arm in METHODS), strict=True)]


def decide(measurements: Measurements) -> Verdict:
    """Say which methods without labels lower the error on the scans."""
    errors, weights = measurements["target_errors"], measurements["weights"]
    p = holm_p_values({arm: (errors["source"], errors[arm]) for arm in METHODS})
    changes = {arm: difference(errors["source"], errors[arm]) for arm in METHODS}
    helpful, harmful = ([arm for arm in METHODS if p[arm] < 0.05 and s * changes[arm].mean > 0] for s in (1, -1))
    verdict = "does not hold"
    if helpful:
        names = " or ".join(METHODS[arm] for arm in helpful)
        verdict = "holds" if len(helpful) == len(METHODS) else f"holds if the method is {names}"
    effect = difference(errors["source"], together(errors))
    parts = [
        f"{METHODS[arm]}{f' with a weight of {weights[arm]:g}' if arm in weights else ''} {_accuracy(errors[arm])}"
        for arm in METHODS
    ]
    conditions = (
        f"Of 360 scans, networks trained on MNIST only classify {_accuracy(errors['source'])}; without labels of scans "
        f"{', '.join(parts)}. Fine-tuned on 100 labelled scans they classify {_accuracy(errors['labels'])}, which is "
        f"{difference(together(errors), errors['labels']):+.1f} points more than the mean of the methods without "
        "labels."
    )
    if harmful:
        conditions += f" The error rises with {' and '.join(METHODS[arm] for arm in harmful)}."
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _accuracy(errors: list[float]) -> str:
    values = [100 - x for x in errors]
    return f"{statistics.fmean(values):.1f} % ({min(values):.1f} to {max(values):.1f} over the seeds)"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the accuracies on the scans."""
    errors = measurements["target_errors"]
    accuracies = {arm: [100 - x for x in errors[arm]] for arm in ARMS}
    means = {arm: statistics.fmean(values) for arm, values in accuracies.items()}
    title = (
        f"A network of MNIST classifies {means['source']:.0f} % of other scans, after adaptation without their labels "
        f"{min(means[arm] for arm in METHODS):.0f} to {max(means[arm] for arm in METHODS):.0f} %, after fine-tuning on "
        f"100 labels {means['labels']:.0f} %"
    )
    area, (panel,) = page(title, [("%", "accuracy on 360 scans of scikit-learn's digits")], label_width=20)
    colours = dict(zip(ARMS, (COLOURS[4], *COLOURS[:3], COLOURS[3]), strict=True))
    rows(panel, [(f"{ARMS[arm]}: {means[arm]:.1f} %", accuracies[arm], colours[arm]) for arm in ARMS])
    note(area, "marks: seeds; points: mean and 95 % interval")
    return save(area, path)


CLAIM = Claim(
    name="digits_adaptation",
    statement="Unlabelled images of the target adapt a network to it.",
    source="Li et al. 2016; Sun & Saenko 2016; Ganin et al. 2016",
    rule=(
        "LeNet-5 with batch normalization trains on MNIST for scikit-learn's scans of digits, of which 1,437 are "
        "there without labels and 360 score the networks at the end. All train with Adam at a rate of 0.001: on MNIST "
        "only; by deep CORAL with a weight of 1, 10 or 100; and by DANN with a weight of 0.1 or 1. The weight is the "
        "one with the least mean entropy of the predictions of the unlabelled scans in the last epoch, on seeds of its "
        "own; no label of a scan chooses anything. AdaBN gives the networks of MNIST the statistics of the unlabelled "
        "scans. A method adapts the network if the error on the 360 scans is lower than with MNIST only, with p below "
        "0.05 in a t-test paired by seed, corrected by Holm's procedure for three methods. The claim holds if all "
        "three do, it holds for those that do if only some do, otherwise it does not hold. The effect is the error "
        "with MNIST only minus the mean of the errors of the three methods. Fine-tuning on 100 labelled scans, first "
        "of the last layer, then of all at a tenth of the rate, is reported beside."
    ),
    effect="error on the target with the source only minus mean of three adaptations without labels, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
