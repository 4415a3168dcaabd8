"""What is known about a shift: whether there is one, where, of what kind, what it costs, and what repairs it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.targets import Target
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.cost import Cost, measure_cost
from jaxcnn.shift.detecting import Findings, detect, detect_by_class, detect_by_layer
from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.features import Network, Outputs, load_network, read
from jaxcnn.shift.kinds import Kind, kind_of_shift
from jaxcnn.shift.populations import Populations, read_populations
from jaxcnn.shift.repairs.repairing import repair
from jaxcnn.shift.repairs.result import Repair, RepairScores
from jaxcnn.shift.trained_repairs import train_repairs

EXAMPLES = 9
"""Images of each population in the report."""

_PREFERRED = (
    "label_shift_correction",
    "adabn",
    "blended_bn_256",
    "blended_bn_64",
    "blended_bn_16",
    "prediction_time_bn",
    "importance_weighting",
)


@dataclass(frozen=True, eq=False)
class Report:
    """What is known about a shift.

    Attributes:
        run: folder of the run.
        checkpoint: step of the weights.
        about: one line each about `source` and `target`.
        counts: images of `source` and `target` that were compared.
        class_names: of the classes.
        findings: results of every test.
        layers: distance of the populations in every layer, from the input on.
        classes: distance of the penultimate features of every class; empty if no class has enough images.
        kind: kind of the shift; None if it cannot be told.
        kind_refused: why it cannot be told; empty if it can.
        cost: what it costs.
        repairs: every repair, made or refused.
        scores: accuracy before and after, by name of the repair, of those that predict; empty without target labels.
        images: up to `EXAMPLES` images by population, float in 0..1, and those most unlike the source.
        seed: seed of all random choices.
    """

    run: str
    checkpoint: int | None
    about: Mapping[str, str]
    counts: Mapping[str, int]
    class_names: tuple[str, ...]
    findings: Findings
    layers: tuple[Detection, ...]
    classes: tuple[Detection, ...]
    kind: Kind | None
    kind_refused: str
    cost: Cost
    repairs: tuple[Repair, ...]
    scores: Mapping[str, RepairScores]
    images: Mapping[str, np.ndarray] = field(repr=False)
    seed: int = 0

    @property
    def first_layer(self) -> str | None:
        """The first layer, from the input on, whose output shows the shift; None if none does."""
        return next((each.features for each in self.layers if each.shifted), None)

    @property
    def recommended(self) -> Repair | None:
        """The repair to use, chosen without target labels; None if all are refused.

        The correction of class shares is only made where they alone have changed, and then is right. Otherwise the
        more target images the statistics of batch normalization come from, the better. A repair with a warning stands
        behind those without, and TENT, whose result depends on the order of the images, is never chosen.
        """
        made = {each.name: each for each in self.repairs if each.log_probabilities is not None}
        found = [made[name] for name in _PREFERRED if name in made]
        return min(found, key=lambda each: len(each.warnings) > 0, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return everything but images and predictions, in JSON types."""
        record = {name: getattr(self, name) for name in ("run", "checkpoint", "about", "counts", "class_names", "seed")}
        record["shift"] = {
            "found": self.findings.shifted,
            "tests": [_plain(each) | {"shifted": each.shifted} for each in self.findings.detections],
            "refused": dict(self.findings.refused),
        }
        record["where"] = {
            "first_layer": self.first_layer,
            "layers": [_plain(each) | {"shifted": each.shifted} for each in self.layers],
            "classes": [_plain(each) | {"shifted": each.shifted} for each in self.classes],
        }
        record["kind"] = {"refused": self.kind_refused} if self.kind is None else _plain(self.kind)
        record["cost"] = _plain(self.cost)
        record["repairs"] = [_repair(each, self.scores.get(each.name)) for each in self.repairs]
        record["recommended"] = None if self.recommended is None else self.recommended.name
        return record


def _repair(found: Repair, scores: RepairScores | None) -> dict[str, Any]:
    fields = ("name", "about", "refused", "warnings", "seconds", "seeds", "details")
    plain = {name: getattr(found, name) for name in fields} | {"details": dict(found.details)}
    return plain if scores is None else plain | {"scores": _plain(scores)}


def _plain(record: Any) -> dict[str, Any]:
    return dataclasses.asdict(record)


@fixed_settings()
def report(
    run: str | Path,
    target: str | Target,
    *,
    checkpoint: Choice = "last",
    data_dir: str | None = None,
    arrays: Mapping[str, Any] | None = None,
    repairs: Sequence[str] | None = None,
    trained: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda part: None,
) -> Report:
    """Compare a target with the test images of a run, and repair the network.

    Args:
        run: folder of a run with a checkpoint.
        target: corruption:NAME:SEVERITY, another name for `read_target`, or images, whose labels may be None.
        checkpoint: `last`, `best` or a step.
        data_dir: folder of prepared data sets; None: the run's.
        arrays: images and labels, if the run had them in memory.
        repairs: names of repairs, as for `repair`; None: all that need no training on source images.
        trained: folder of runs, in which the repairs of `train_repairs` are trained too, or continued; None: none is.
            The target must be a name then.
        seed: seed of all random choices.
        progress: called with the name of each part before it begins.

    Raises:
        InputError: the run or the target cannot be read or do not fit each other, or there are too few images.
    """
    if trained is not None and not isinstance(target, str):
        raise InputError("target is images in memory; trained repairs need the name of a target, as in digits@20.")
    experiment = load_saved(run)
    network = load_network(run, checkpoint=checkpoint)
    progress("images")
    populations = read_populations(experiment, target, data_dir=data_dir, arrays=arrays, seed=seed)
    progress("outputs of the network")
    source, other = (
        read(network, each.images, each.labels, batch_size=experiment.data.eval_batch_size)
        for each in (populations.source, populations.target)
    )
    found = _compare(network, source, other, populations, str(run), repairs, seed, progress)
    if trained is None:
        return found
    more = train_repairs(run, experiment, target, other, trained, data_dir=data_dir, progress=progress)
    return dataclasses.replace(found, repairs=(*found.repairs, *more), scores={**found.scores, **_scores(more, other)})


def _compare(
    network: Network,
    source: Outputs,
    target: Outputs,
    populations: Populations,
    run: str,
    repairs: Sequence[str] | None,
    seed: int,
    progress: Callable[[str], None],
) -> Report:
    progress("tests")
    findings = detect(source, target, seed=seed)
    progress("layers and classes")
    layers = detect_by_layer(source, target, seed=seed)
    try:
        classes = detect_by_class(source, target, seed=seed)
    except InputError:
        # No class has enough images.
        classes = ()
    cost, kind, refused = measure_cost(source, target), None, ""
    try:
        kind = kind_of_shift(source, target, seed=seed)
    except InputError as error:
        refused = str(error)
    progress("repairs")
    repaired = repair(network, source, target, repairs=repairs, seed=seed)
    return Report(
        run=run,
        checkpoint=network.step,
        about={"source": populations.source.about, "target": populations.target.about},
        counts={"source": len(source), "target": len(target)},
        class_names=populations.class_names,
        findings=findings,
        layers=layers,
        classes=classes,
        kind=kind,
        kind_refused=refused,
        cost=cost,
        repairs=repaired,
        scores=_scores(repaired, target),
        images=_examples(source, target, findings, seed),
        seed=seed,
    )


def _scores(repairs: Sequence[Repair], target: Outputs) -> dict[str, RepairScores]:
    if target.labels is None:
        return {}
    return {each.name: each.scores(target.labels) for each in repairs if each.log_probabilities is not None}


def _examples(source: Outputs, target: Outputs, findings: Findings, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {
        name: _shown(each.images, np.sort(random.permutation(len(each))[:EXAMPLES]))
        for name, each in (("source", source), ("target", target))
    }
    rows = next((each.examples for each in findings.detections if each.examples), ())
    return found | ({"most unlike the source": _shown(target.images, np.array(rows))} if rows else {})


def _shown(images: Any, rows: np.ndarray) -> np.ndarray:
    """Return images in 0..1 with 1 or 3 channels."""
    chosen = np.asarray(images)[rows]
    scaled = chosen / np.float32(255) if chosen.dtype == np.uint8 else chosen.astype(np.float32)
    low, high = min(scaled.min(), 0.0), max(scaled.max(), 1.0)
    scaled = (scaled - low) / (high - low)
    return scaled if scaled.shape[-1] in (1, 3) else scaled[..., :1]
