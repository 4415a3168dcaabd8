"""What a report says, in sentences: one answer to each of its questions, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxcnn.shift.detectors.detection import ALPHA
from jaxcnn.shift.kinds import MEANINGS
from jaxcnn.shift.reporting import Report

SMALL = 0.01
"""A drop in accuracy below one point is called small."""

_CALIBRATION = 0.05
"""A calibration error that grows by more than this makes probabilities misleading."""


@dataclass(frozen=True)
class Answers:
    """The answers of a report, each one or more sentences.

    Attributes:
        shift: is there a shift?
        where: in which layers and classes?
        kind: covariate or label shift, and what the tests cannot tell.
        cost: what does it cost?
        repairs: what repairs it?
        next: what to do next.
    """

    shift: str
    where: str
    kind: str
    cost: str
    repairs: str
    next: tuple[str, ...]


def answers(report: Report) -> Answers:
    """Return the answers of a report."""
    return Answers(
        shift=_shift(report),
        where=_where(report),
        kind=_kind(report),
        cost=f"{cost_title(report)}. {_calibration(report)}",
        repairs=_repairs(report),
        next=tuple(_next(report)),
    )


def shift_title(report: Report) -> str:
    """Return in one sentence how many tests find a shift."""
    found = report.findings.detections
    count = sum(each.shifted for each in found)
    if not count:
        return "No test finds a shift"
    return f"All {count} tests find a shift" if count == len(found) else f"{count} of {len(found)} tests find a shift"


def where_title(report: Report) -> str:
    """Return in one sentence where the shift starts."""
    start, largest = report.first_layer, max(report.layers, key=lambda each: each.effect)
    if start is None:
        return "No layer shows a shift"
    if start == largest.features:
        return f"The shift starts at {start}, where it is largest"
    return f"The shift starts at {start} and is largest at {largest.features}"


def cost_title(report: Report) -> str:
    """Return in one sentence what the shift costs."""
    cost = report.cost
    if cost.target is None:
        drop = cost.source.accuracy - cost.estimated_accuracy
        return f"Without target labels, the cost is estimated as {points(drop)} of accuracy"
    low, high = cost.drop_interval
    return (
        f"The shift costs {points(cost.accuracy_drop)} of accuracy ({100 * low:.1f} to {100 * high:.1f}); without "
        f"labels one would estimate {points(cost.source.accuracy - cost.estimated_accuracy)}"
    )


def repairs_title(report: Report) -> str:
    """Return in one sentence what repairs the shift."""
    found = report.recommended
    if found is None:
        return "No repair is recommended"
    if found.name not in report.scores:
        return f"{found.name} can be applied; whether it helps cannot be told without target labels"
    scores = report.scores[found.name]
    low, high = scores.interval
    verb = "raises" if low > 0 else "lowers" if high < 0 else "does not change"
    before, after = (100 * each.accuracy for each in (scores.before, scores.after))
    return f"{found.name} {verb} the accuracy, from {before:.1f} to {after:.1f} %"


def points(difference: float) -> str:
    """Return a difference of accuracies in points, as in `3.2 points`."""
    return f"{100 * difference:.1f} points"


def listed(names: Sequence[str]) -> str:
    """Return names as in `a, b and c`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _shift(report: Report) -> str:
    refused = [f"{name} was not made: {reason}" for name, reason in report.findings.refused.items()]
    level = (
        f"p-values are corrected for all tests (Holm), so that the probability of any false alarm is at most "
        f"{100 * ALPHA:g} %."
    )
    return " ".join([f"{shift_title(report)}.", level, *refused])


def _where(report: Report) -> str:
    sentence = f"{where_title(report)}."
    shifted = [each for each in report.classes if each.shifted]
    if not report.classes:
        return f"{sentence} No class has enough images to be compared."
    names = [report.class_names[each.part] for each in sorted(shifted, key=lambda each: -each.effect)]
    kind = "class" if report.cost.target is not None else "predicted class"
    if not names:
        return f"{sentence} Within no {kind} do the penultimate features differ."
    if len(names) == len(report.classes):
        return f"{sentence} The penultimate features differ in every {kind}, most in {names[0]}."
    return f"{sentence} The penultimate features differ in these classes, most in the first: {listed(names)}."


def _kind(report: Report) -> str:
    if report.kind is None:
        return f"It cannot be told: {report.kind_refused}"
    return " ".join([f"{MEANINGS[report.kind.verdict].capitalize()}.", *report.kind.limits])


def _calibration(report: Report) -> str:
    cost = report.cost
    if cost.target is None:
        return f"{100 * cost.tilt:.1f} % of the predictions would have to change for equal shares of the classes."
    return (
        f"The negative log-likelihood goes from {cost.source.nll:.3f} to {cost.target.nll:.3f}, the calibration error "
        f"from {cost.source.ece:.3f} to {cost.target.ece:.3f}; {100 * cost.tilt:.1f} % of the predictions would have "
        "to change for equal shares of the classes."
    )


def _repairs(report: Report) -> str:
    sentences = [f"{repairs_title(report)}."]
    if report.recommended is not None:
        sentences += ["It was chosen without target labels.", *report.recommended.warnings]
    refused = [each.name for each in report.repairs if each.refused is not None]
    if refused and len(refused) < len(report.repairs):
        sentences.append(f"Refused: {listed(refused)}.")
    return " ".join(sentences)


def _next(report: Report) -> list[str]:
    cost, found = report.cost, []
    drop = cost.accuracy_drop if cost.target is not None else cost.source.accuracy - cost.estimated_accuracy
    harmful = cost.drop_interval[0] > 0 and drop >= SMALL if cost.target is not None else drop >= SMALL
    if not report.findings.shifted and not harmful:
        return [
            f"Keep the network. With {report.counts['target']:,} images no test finds a shift; `python -m jaxcnn shift "
            f"calibrate {report.run}` measures how small a shift they would find."
        ]
    if report.findings.shifted and not harmful:
        found.append("Keep the network: the shift is found, but it costs less than one point of accuracy.")
    if harmful and not report.findings.shifted:
        found.append("The accuracy falls although no test finds a shift; give more target images to the tests.")
    if cost.target is None:
        found.append(
            "Label 100 target images, drawn at random. They tell the accuracy to about 10 points, and whether a repair "
            "helps."
        )
    repair = report.recommended
    helps = repair is not None and (repair.name not in report.scores or report.scores[repair.name].interval[0] > 0)
    if harmful and helps:
        found.append(f"Use {repair.name}. {repair.about}")
    if harmful and cost.target is not None and (left := _left(report, helps)) >= SMALL:
        found.append(
            f"{points(left)} of accuracy are still lost{' after it' * helps}. Train on images that are changed in this "
            "way (shift.CorruptionAugmentation, shift.AugMix, or shift.DeepCoral with unlabelled target images), or "
            "fine-tune on some labelled target images."
        )
    if cost.target is not None and cost.target.ece - cost.source.ece > _CALIBRATION:
        found.append(
            f"Do not rely on the network's probabilities here: their calibration error is {cost.target.ece:.2f}."
        )
    return found


def _left(report: Report, helps: bool) -> float:
    reached = report.scores[report.recommended.name].after if helps else report.cost.target
    return report.cost.source.accuracy - reached.accuracy
