"""What the readings of a network say, in sentences, and changes of its config that may help.

Each threshold is a constant with its reason. A sentence is about the newest reading unless it names another or says
that its number is a median.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxcnn.config import Experiment, override
from jaxcnn.probes.record import Record
from jaxcnn.runtime.errors import InputError

Kind = Literal[
    "diverged",
    "stopped",
    "vanishing",
    "exploding",
    "saturated",
    "dead",
    "turning",
    "unpredictable",
    "fast",
    "slow",
    "lags",
]

VANISHING = -2.0
"""Base 10 logarithm of the gradient norm of the first layer relative to the last, below which gradients vanish. All
layers share one learning rate, and rates are usually searched to a factor of 3 to 10: a factor of 100 is out of reach.
At initialization VGG A is at -1.4 and trains, 20 sigmoid layers are at -12 and do not (our measurements)."""

EXPLODING = 2.0
"""The same above 0, for the same reason. Glorot & Bengio (2010, section 4.2) want both to be 0."""

SATURATED = 0.5
"""Fraction of saturated outputs of a layer. Such an output is within a twentieth of a bound, where the slope of the
activation is below a fifth of the largest (Glorot & Bengio 2010, section 3): half of the layer hardly learns."""

DEAD = 0.2
"""Fraction of dead units of a layer. Some units that respond to no image are normal after training; from a fifth on we
report it, as the capacity of a layer that is a fifth narrower. No source gives a limit."""

TURNING = 0.0
"""Cosine of the angle between a layer's gradient before and after the earlier layers have moved (Santurkar et al. 2018,
definition 2.1): below 0 the layer's own update goes uphill once the earlier layers have made theirs."""

UNPREDICTABLE = 1.0
"""Change of the gradient along one step, relative to the gradient: from 1 on, the gradient at the start says nothing
about the gradient at the end of the step (Santurkar et al. 2018, section 3.1, gradient predictiveness)."""

FAST, SLOW = 0.1, 1e-5
"""Norm of an update relative to that of the kernel, which a common rule of thumb wants near 1e-3 (Stanford CS231n,
"Ratio of weights:updates"); two orders of magnitude away from it are reported."""

_HELP: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]] = {
    "activation": ({"model.activation": "relu", "model.kernel_init": "he"}, {"model.kernel_init": "he"}),
    "initialize": ({"model.kernel_init": "he"},),
    "normalize": ({"model.norm": "batch"},),
    "skip": ({"model.skip": "post_activation"},),
    "scale": ({"model.residual_scale": 0.3},),
    "clip": ({"optimizer.clip_norm": 1.0},),
    "slower": ({"optimizer.learning_rate": 0.1},),
    "faster": ({"optimizer.learning_rate": 10.0},),
    "continue": ({"optimizer.schedule.name": "constant"},),
}
"""Changes by what they do; the first that fits the experiment is used. Learning rates are factors."""

_REMEDIES: Mapping[Kind, Sequence[str]] = {
    "diverged": ("slower", "clip", "normalize"),
    "stopped": ("continue",),
    "vanishing": ("activation", "normalize", "skip"),
    "exploding": ("scale", "skip", "clip", "initialize"),
    "saturated": ("activation", "normalize"),
    "dead": ("normalize", "initialize", "slower"),
    "turning": ("slower", "normalize"),
    "unpredictable": ("slower", "normalize"),
    "fast": ("slower",),
    "slow": ("faster",),
    "lags": (),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what it is.
        text: sentence with its numbers.
        remedies: changes of the experiment, each by dotted path, that may help; each fits the experiment.
    """

    kind: Kind
    text: str
    remedies: tuple[dict[str, Any], ...] = ()


def diagnose(record: Record, experiment: Experiment) -> list[Finding]:
    """Return what is wrong with a network, the gravest first; empty if no threshold is passed.

    Args:
        record: its readings.
        experiment: the experiment that was trained.
    """
    return [Finding(kind, text, remedies(kind, experiment)) for kind, text in _findings(record, experiment)]


def remedies(kind: Kind, experiment: Experiment) -> tuple[dict[str, Any], ...]:
    """Return the changes for a kind of finding that the experiment accepts and that change it."""
    found = (_fitting(_HELP[name], experiment) for name in _REMEDIES[kind])
    return tuple(changes for changes in found if changes)


def distinct(findings: Iterable[Finding], most: int = 4) -> list[dict[str, Any]]:
    """Return the remedies of several findings without duplicates, at most `most`."""
    found: list[dict[str, Any]] = []
    for finding in findings:
        found += [changes for changes in finding.remedies if changes not in found]
    return found[:most]


def arguments(changes: Mapping[str, Any]) -> str:
    """Return changes as command-line arguments."""
    return " ".join(f"--config.{path}={value}" for path, value in changes.items())


def _fitting(candidates: Sequence[Mapping[str, Any]], experiment: Experiment) -> dict[str, Any]:
    """Return the first of several changes that the experiment accepts, without fields that have the value already."""
    for candidate in candidates:
        changes = {
            path: float(f"{value * experiment.optimizer.learning_rate:.6g}") if path.endswith("rate") else value
            for path, value in candidate.items()
        }
        try:
            override(experiment, changes)
            return {path: value for path, value in changes.items() if override(experiment, {path: value}) != experiment}
        except InputError:
            continue
    return {}


def _findings(record: Record, experiment: Experiment) -> Iterable[tuple[Kind, str]]:
    if record.diverged:
        yield "diverged", f"Training diverged: {record.diverged}."
    yield from _stopped(record)
    if record.layers:
        yield from _gradients(record)
        yield from _units(record)
    if "ics" in record.history.readings:
        yield from _shift(record)
    # The readings go along the gradient, which is the step of gradient descent alone.
    if "landscape" in record.history.readings and experiment.optimizer.algorithm == "sgd":
        yield from _landscape(record)
    if record.layers:
        yield from _updates(record)
    if "lags" in record.history.readings:
        yield from _lags(record)


def _stopped(record: Record) -> Iterable[tuple[Kind, str]]:
    if _stands_still(record):
        yield (
            "stopped",
            f"The updates at step {record.steps[-1]:,} are exactly 0 although there is a gradient: the learning rate "
            "is 0, as at the end of a schedule. Readings of updates, of both shifts and along the step show nothing "
            "there.",
        )


def _stands_still(record: Record) -> bool:
    """Return whether the newest updates are exactly 0 although there is a gradient."""
    readings = record.history.readings
    if ratios := record.update_ratios():
        return not any(ratio[-1] for ratio in ratios.values()) and bool(np.any(record.gradient_norms()[:, -1] > 0))
    if "ics" in readings and len(layers := readings["ics"]["layers"].values()) > 1:
        # The shift of the first layer is always 0.
        return not any(x["difference"][-1] for x in layers) and any(x["norm"][-1] > 0 for x in layers)
    if "landscape" in readings:
        # A distance of 0 has no ratio.
        found = readings["landscape"]
        return bool(found["gradient_norm"][-1] > 0 and not np.isfinite(found["smoothness"][-1]))
    return False


def _gradients(record: Record) -> Iterable[tuple[Kind, str]]:
    decay, names = record.decay(), record.weighted
    if len(names) < 2 or math.isnan(decay[-1]):
        return
    before = f" (at step {record.steps[0]}: {power(decay[0])})" if len(decay) > 1 else ""
    if decay[-1] < VANISHING:
        if math.isinf(decay[-1]):
            size = f"is exactly 0 at {names[0]}: nothing arrives there{before}"
        else:
            rate = 10 ** (decay[-1] / (len(names) - 1))
            size = (
                f"falls to {power(decay[-1])} of its norm from {names[-1]} to {names[0]}{before}, "
                f"by a factor of {rate:.2g} in each layer"
            )
        yield "vanishing", f"The gradient vanishes: it {size}. Layers near the input hardly learn."
    if decay[-1] > EXPLODING:
        yield (
            "exploding",
            f"The gradient explodes: it grows to {power(decay[-1])} times its norm from {names[-1]} to {names[0]}"
            f"{before}.",
        )


def _units(record: Record) -> Iterable[tuple[Kind, str]]:
    saturated = {name: float(x[-1]) for name, x in record.by_layer("saturated").items()}
    if many := [name for name, share in saturated.items() if share > SATURATED]:
        worst = max(many, key=saturated.__getitem__)
        others = f"; so are more than half in {len(many)} of {len(saturated)} layers" if len(many) > 1 else ""
        yield (
            "saturated",
            f"{saturated[worst]:.0%} of the outputs of {worst} are saturated{others}. There the slope of the "
            "activation is almost 0.",
        )
    dead, images = record.dead_units()
    if many := [name for name, share in dead.items() if share > DEAD]:
        worst = max(many, key=dead.__getitem__)
        others = f"; more than {DEAD:.0%} are in {len(many)} of {len(dead)} layers" if len(many) > 1 else ""
        yield (
            "dead",
            f"{dead[worst]:.0%} of the units of {worst} are {dead_word(images)}: 0 on the last {images:,} images"
            f"{others}. They get no gradient.",
        )


def _shift(record: Record) -> Iterable[tuple[Kind, str]]:
    cosines = {name: middle(x["cosine"]) for name, x in record.history.readings["ics"]["layers"].items()}
    if many := [name for name, cosine in cosines.items() if cosine < TURNING]:
        worst = min(many, key=cosines.__getitem__)
        others = f"; the same holds for {len(many)} of {len(cosines)} layers" if len(many) > 1 else ""
        yield (
            "turning",
            f"The updates of the earlier layers reverse the gradient of {worst} (cosine {cosines[worst]:.2f}, "
            f"median of the readings){others}: its own update then goes uphill.",
        )


def _landscape(record: Record) -> Iterable[tuple[Kind, str]]:
    found = record.history.readings["landscape"]
    change = middle(found["gradient_changes"][:, 1] / found["gradient_norm"])
    if change > UNPREDICTABLE:
        yield (
            "unpredictable",
            f"Within one step the gradient changes by {change:.2g} times its own norm (median), so that it does "
            "not predict the next one: the step is too long for this loss.",
        )


def _updates(record: Record) -> Iterable[tuple[Kind, str]]:
    ratios = {name: last(ratio) for name, ratio in record.update_ratios().items()}
    ratios = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio)}
    if not ratios or _stands_still(record):
        return
    if (usual := middle(np.array([*ratios.values()]))) > FAST:
        yield "fast", f"An update changes the kernels by {usual:.2g} of their norm (median); about 0.001 is usual."
    if (largest := max(ratios.values())) < SLOW:
        yield "slow", f"An update changes no kernel by more than {largest:.1e} of its norm; about 1e-3 is usual."


def _lags(record: Record) -> Iterable[tuple[Kind, str]]:
    for name, norms in record.history.readings["lags"]["layers"].items():
        factor, change = per_step_back(norms[-1])
        if change < VANISHING:
            yield (
                "lags",
                f"Through time the gradient of {name} vanishes: each step back multiplies it by {factor:.2f}, and "
                f"{len(norms[-1]) - 1} steps back {power(change)} of it is left. Cells with gates (LSTM, GRU) or an "
                "orthogonal recurrent kernel keep more; the module of the network sets them.",
            )
        if change > EXPLODING:
            yield "lags", f"Through time the gradient of {name} explodes: each step back multiplies it by {factor:.2f}."


def per_step_back(norms: np.ndarray) -> tuple[float, float]:
    """Return the factor per step back of gradient norms [steps], and the base 10 logarithm of first over last."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = float(np.log10(np.float64(norms[0]) / norms[-1]))
    return 10 ** (change / max(len(norms) - 1, 1)), change


def middle(values: np.ndarray) -> float:
    """Return the median of the values that are finite; NaN if none is. One batch alone is noisy."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if finite.size else math.nan


def last(values: np.ndarray) -> float:
    """Return the last value that is finite; NaN if none is."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite[-1]) if finite.size else math.nan


def dead_word(images: int) -> str:
    """Return `dead` if this is said of enough images, otherwise `inactive`."""
    return "dead" if images >= 1000 else "inactive"


def power(exponent: float) -> str:
    """Return 10 to a power as text: `10^-11.9`, or a plain number if it is between 0.1 and 1000; `0` for -infinity."""
    if exponent == -math.inf:
        return "0"
    if -1 <= exponent < 3:
        return f"{10**exponent:.{2 if exponent < 2 else 3}g}"
    return f"10^{exponent:.1f}"
