"""Every repair of a shift that needs no training on source images, with its guards, from one call."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.cost import class_tilt
from jaxcnn.shift.detectors.samples import LEAST
from jaxcnn.shift.features import Network, Outputs, read
from jaxcnn.shift.kinds import MEANINGS, kind_of_shift
from jaxcnn.shift.label_shift import estimate_class_shares
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from jaxcnn.shift.repairs.class_skew import ClassSkew, class_skew, lost_confidence, mean_confidence, remaining_skew
from jaxcnn.shift.repairs.collapse import effective_classes, has_collapsed
from jaxcnn.shift.repairs.density_ratio import CAP, ImportanceWeights, importance_weights, weighted_accuracy
from jaxcnn.shift.repairs.label_correction import correct_shares
from jaxcnn.shift.repairs.last_layer import refit_last_layer
from jaxcnn.shift.repairs.normalized import batch_norms
from jaxcnn.shift.repairs.result import Repair
from jaxcnn.shift.repairs.stream import BATCH_SIZE
from jaxcnn.shift.repairs.target_statistics import adapt_statistics
from jaxcnn.shift.repairs.tent import LEARNING_RATE, minimize_entropy

TENT_SEEDS = 3
"""Orders of the images with which TENT is repeated, because its result depends on them."""

FEW = 100
"""Images of the target below which statistics without those of training are doubted."""

LARGEST_DISAGREEMENT = 0.1
"""Share of images with another predicted class under another order from which on a result counts as unstable."""

LARGEST_CONDITION = 100.0
"""Condition number from which on class shares are not estimated: an error of 1 % of the predictions, as 1,000 images
have it, could then be as large as the shares themselves."""


@dataclass(frozen=True, eq=False)
class _Task:
    """What the repairs share; what several of them need is computed once."""

    network: Network
    source: Outputs
    target: Outputs
    seed: int
    poll: Callable[[], None]

    @cached_property
    def skew(self) -> ClassSkew:
        return class_skew(self.source, self.target, seed=self.seed)

    @cached_property
    def by_batch(self) -> np.ndarray:
        return predict_by_batch(self.network, self.target.images, seed=self.seed, poll=self.poll)

    @cached_property
    def weights(self) -> ImportanceWeights:
        return importance_weights(self.source.features, self.target.features, seed=self.seed)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a repair found; its fields are those of `Repair`."""

    log_probabilities: np.ndarray | None = None
    refused: str | None = None
    warnings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    repeats: tuple[np.ndarray, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)


@fixed_settings()
def repair(
    network: Network,
    source: Outputs,
    target: Outputs,
    *,
    repairs: Iterable[str] | None = None,
    seed: int = 0,
    poll: Callable[[], None] = lambda: None,
) -> tuple[Repair, ...]:
    """Repair a network for a target without training it on source images, by each method that can be used here.

    A repair that would mislead is refused with a reason. Labels of the target are never used, neither by a repair nor
    to select one; score a result with `Repair.scores`.

    Args:
        network: the network that computed source and target.
        source: outputs for images that it was not trained on. Without labels, repairs that need them are refused.
        target: outputs for the images to repair it for.
        repairs: names from `REPAIRS`; None: all.
        seed: seed of all random choices; TENT is repeated with the two that follow.
        poll: called before every batch of images; may raise to stop.

    Returns:
        One result for each name, in the order of `REPAIRS`.

    Raises:
        InputError: a name is unknown; a sample has fewer than `LEAST` images or values that are not finite; or source
            and target differ in the shape of their images or in their number of classes.
    """
    names = [*REPAIRS] if repairs is None else [*repairs]
    for name in names:
        if name not in REPAIRS:
            raise InputError(
                f"repair {name!r} is unknown; there are {', '.join(REPAIRS)}.{did_you_mean(name, list(REPAIRS))}"
            )
    _check(source, target)
    task = _Task(network, source, target, seed, poll)
    return tuple(_repaired(name, task) for name in REPAIRS if name in names)


def _repaired(name: str, task: _Task) -> Repair:
    about, method = REPAIRS[name]
    begun = time.perf_counter()
    try:
        found = method(task)
    except InputError as error:
        found = _Found(refused=str(error))
    results = [each for each in (found.log_probabilities, *found.repeats) if each is not None]
    if broken := sum(int((~np.isfinite(each)).any(axis=1).sum()) for each in results):
        refused = f"class probabilities after it are not finite for {broken} images. Check the weights of the network."
        found = replace(found, log_probabilities=None, repeats=(), refused=refused)
    return Repair(
        name,
        about,
        task.target.log_probabilities,
        found.log_probabilities,
        found.refused,
        found.warnings,
        time.perf_counter() - begun,
        found.seeds,
        found.repeats,
        found.details,
    )


def _check(source: Outputs, target: Outputs) -> None:
    for name, each in (("source", source), ("target", target)):
        if len(each) < LEAST:
            raise InputError(
                f"{name} has {len(each)} images; repairs need at least {LEAST}, because with fewer their classes "
                "cannot be compared. Give more images."
            )
        finite = np.isfinite(each.features).all(axis=1) & np.isfinite(each.log_probabilities).all(axis=1)
        if broken := int((~finite).sum()):
            raise InputError(
                f"{name} has {broken} images with features or class probabilities that are NaN or infinite. Remove "
                "them, or check the weights of the network."
            )
    shapes = [tuple(np.shape(each.images)[1:]) for each in (source, target)]
    if shapes[0] != shapes[1]:
        one, two = ("x".join(map(str, shape)) for shape in shapes)
        raise InputError(f"target has images of {two} and source of {one}. Resize or pad the target to {one}.")
    classes, other = (each.log_probabilities.shape[1] for each in (source, target))
    if classes != other:
        raise InputError(f"target has {other} classes and source has {classes}. Give outputs of the same network.")


def _by_batch(task: _Task, *, prior: float) -> _Found:
    batch_norms(task.network, task.target.images)
    n = min(BATCH_SIZE, len(task.target))
    details = {"prior": prior, "batch_size": n, "tilt_before": task.skew.tilt}
    if task.skew.refused:
        return _Found(refused=task.skew.refused, details=details)
    found = (
        predict_by_batch(task.network, task.target.images, prior=prior, seed=task.seed, poll=task.poll)
        if prior
        else task.by_batch
    )
    return _adapted(task, found, (task.seed,), details, n + prior)


def _adabn(task: _Task) -> _Found:
    batch_norms(task.network, task.target.images)
    details = {"prior": 0.0, "images": len(task.target), "tilt_before": task.skew.tilt}
    if task.skew.refused:
        return _Found(refused=task.skew.refused, details=details)
    adapted = adapt_statistics(task.network, task.target.images, poll=task.poll)
    found = read(adapted, task.target.images, poll=task.poll).log_probabilities
    return _adapted(task, found, (), details, len(task.target))


def _adapted(
    task: _Task, found: np.ndarray, seeds: tuple[int, ...], details: Mapping[str, float], images: float
) -> _Found:
    """Return the result of an adaptation with its warnings; `images` is the number that its statistics count for."""
    before, repaired = task.target.log_probabilities, replace(task.target, log_probabilities=found)
    details = {
        **details,
        "tilt_after": class_tilt(task.source, repaired),
        "confidence_before": mean_confidence(before),
        "confidence_after": mean_confidence(found),
    }
    if refused := lost_confidence(before, found):
        return _Found(refused=refused, seeds=seeds, details=details)
    few = (
        f"The statistics are those of {len(task.target)} images only; a larger prior than {details['prior']:g} keeps "
        "more of the statistics of training.",
    )
    return _Found(
        found,
        warnings=(
            *task.skew.warnings,
            *(few if images < FEW else ()),
            *remaining_skew(task.source, repaired),
        ),
        seeds=seeds,
        details=details,
    )


def _tent(task: _Task) -> _Found:
    batch_norms(task.network, task.target.images)
    n, target = len(task.target), task.target
    details = {"learning_rate": LEARNING_RATE, "batch_size": min(BATCH_SIZE, n), "tilt_before": task.skew.tilt}
    # TENT itself raises confidence, so that the statistics that it starts from are checked.
    if refused := task.skew.refused or lost_confidence(target.log_probabilities, task.by_batch):
        return _Found(refused=refused, details=details)
    seeds = tuple(range(task.seed, task.seed + TENT_SEEDS))
    found = [
        minimize_entropy(task.network, target.images, seed=seed, poll=task.poll).log_probabilities for seed in seeds
    ]
    plain, classes = task.by_batch.argmax(axis=1), [each.argmax(axis=1) for each in found]
    # A collapse shows at the end of the stream.
    last = [shuffled(n, seed, Stream.TEST_ORDER)[-(-3 * n // 4) :] for seed in seeds]
    pairs = [(plain[rows], own[rows]) for rows, own in zip(last, classes, strict=True)]
    gone = [seed for seed, pair in zip(seeds, pairs, strict=True) if has_collapsed(*pair)]
    disagreement = float(np.mean([classes[0] != other for other in classes[1:]]))
    details |= {
        "effective_classes_before": float(np.mean([effective_classes(before) for before, _ in pairs])),
        "effective_classes_after": min(effective_classes(after) for _, after in pairs),
        "top_class_share": max(float(np.bincount(after).max() / len(after)) for _, after in pairs),
        "disagreement": disagreement,
    }
    if gone:
        refused = (
            f"it collapsed with {len(gone)} of {len(seeds)} orders of the images: at the end it predicted "
            f"{details['effective_classes_after']:.1f} effective classes, where batch statistics alone predict "
            f"{details['effective_classes_before']:.1f}."
        )
        return _Found(refused=refused, seeds=seeds, details=details)
    result = _adapted(task, found[0], seeds, details | {"prior": 0.0}, n)
    unstable = (f"Unstable: with another order of the images {disagreement:.0%} of them get another class.",) * (
        disagreement > LARGEST_DISAGREEMENT
    )
    return replace(result, repeats=tuple(found[1:]), warnings=(*result.warnings, *unstable))


def _last_layer(task: _Task) -> _Found:
    return _Found(refit_last_layer(task.source, task.target), details={"source_images": len(task.source)})


def _importance(task: _Task) -> _Found:
    weights, n = task.weights, len(task.source)
    details = {
        "cap": CAP,
        "effective": weights.effective,
        "effective_share": weights.effective / n,
        "effective_after_cap": weights.used,
        "capped": weights.capped,
        "auc": weights.auc,
    }
    seeds = (task.seed,)
    if weights.refused:
        return _Found(refused=weights.refused, seeds=seeds, details=details)
    found = refit_last_layer(task.source, task.target, weights.weights)
    estimate, (low, high) = weighted_accuracy(task.source, weights.weights)
    details |= {"estimated_accuracy_before": estimate, "estimate_low": low, "estimate_high": high}
    return _Found(found, seeds=seeds, details=details)


def _label_shift(task: _Task) -> _Found:
    source, target, seeds = task.source, replace(task.target, labels=None), (task.seed,)
    if source.labels is None:
        raise InputError("source has no labels; class shares need them. Give labelled source images.")
    shares = estimate_class_shares(source.labels, source.predictions, target.predictions)
    details = {"condition": shares.condition, "largest_weight": float(shares.weights.max())}
    if shares.condition > LARGEST_CONDITION:
        refused = (
            f"the condition number of the estimate is {shares.condition:.3g}, above {LARGEST_CONDITION:g}: small "
            "errors of the predicted shares become large errors of the class shares. Give more source images, or a "
            "better network."
        )
        return _Found(refused=refused, seeds=seeds, details=details)
    try:
        verdict = kind_of_shift(source, target, seed=task.seed).verdict
    except InputError as error:
        return _Found(refused=str(error), seeds=seeds, details=details)
    if verdict != "label":
        return _Found(
            refused=f"{MEANINGS[verdict]}; class shares are corrected only where they alone have changed.",
            seeds=seeds,
            details=details,
        )
    # A class with estimated share 0 may still occur: it gets half an image.
    least = 0.5 / len(target) / shares.source
    found = correct_shares(target.log_probabilities, np.maximum(shares.weights, least))
    return _Found(found, seeds=seeds, details=details)


_BY_BATCH = (
    "Every batch normalization uses the statistics of a batch of {n} target images{rest}. It needs unlabelled target "
    "images with the class shares of the source, in random order, and it changes no weight."
)

REPAIRS: Mapping[str, tuple[str, Callable[[_Task], _Found]]] = {
    "prediction_time_bn": (_BY_BATCH.format(n=BATCH_SIZE, rest=""), partial(_by_batch, prior=0.0)),
    **{
        f"blended_bn_{prior}": (
            _BY_BATCH.format(n=BATCH_SIZE, rest=f", blended with those of training, which count for {prior} images"),
            partial(_by_batch, prior=float(prior)),
        )
        for prior in (16, 64, 256)
    },
    "adabn": (
        "Every batch normalization uses the statistics of the whole target. It needs unlabelled target images with the "
        "class shares of the source, all at once, and it changes no weight.",
        _adabn,
    ),
    "tent": (
        "Scales and biases of batch normalization are trained to predict the target with low entropy, one step a "
        "batch, with statistics of the batch. It needs unlabelled target images with the class shares of the source.",
        _tent,
    ),
    "last_layer": (
        "The last layer is fitted again to held-out source images, without weights. It needs labelled source images, "
        "and is the comparison for importance weighting.",
        _last_layer,
    ),
    "importance_weighting": (
        "The last layer is fitted again to held-out source images, weighted by how much more frequent images like "
        "them are in the target. It needs labelled source images that overlap with the target, and unlabelled target "
        "images.",
        _importance,
    ),
    "label_shift_correction": (
        "Class probabilities are corrected for other class shares, which are estimated from predictions. It needs "
        "labelled source images, and a shift of the class shares alone.",
        _label_shift,
    ),
}
"""What each repair is, by name: what it does and what it needs, and its function."""
