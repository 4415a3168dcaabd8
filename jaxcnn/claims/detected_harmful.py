"""Claim: a shift that is detected is harmful, and a harmful one is detected. It needs the TFDS data set mnist.

The harm of a shift is a property of the network and the shift, and is measured on all test images; whether it is
detected depends on how many images of it are compared, so that there are several numbers. Each test compares images of
one random half of the test images, as they are, with shifted images of the other half, drawn anew for each shift. What
is found is kept in detections.json of the run's folder, from which a stopped claim continues.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn import data, shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted
from jaxcnn.claims.estimates import Estimate, mean_interval
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.shifted_digits import FACTORS, Kept, lacking, lenet5, mnist
from jaxcnn.claims.study import Study
from jaxcnn.plots.page import save
from jaxcnn.plots.words import MUTED, SMALL, add_text
from jaxcnn.runtime.errors import InputError

CLEAN = "clean"
"""Images without a shift, beside the shifts."""
HARM = 1.0
"""Points of accuracy; a shift that costs less is harmless."""
LEVEL = 0.05
"""Largest p-value, by Holm's correction over the tests, of a shift that counts as detected."""
LEAST = 90.0
"""Percent of the shifts for which a direction of the statement must be true."""
DECIDING = 200
"""Number of target images that decides."""
LOWEST = 1e-8
"""Smaller p-values are drawn at this one."""


@dataclass(frozen=True)
class Case:
    """A shift as one network sees it.

    Attributes:
        corruption: its name.
        seed: place of the network among the seeds.
        drop: accuracy on all test images minus accuracy on them shifted, points.
        harmful: whether the drop is at least `HARM`, and its interval lies above 0.
        p: smallest p-value of the tests, corrected.
    """

    corruption: str
    seed: int
    drop: float
    harmful: bool
    p: float

    @property
    def detected(self) -> bool:
        """Whether any test finds the shift."""
        return self.p <= LEVEL


def measure(study: Study) -> Measurements:
    """Return the cost of every shift on all test images in points, with the lower end of its interval, and its smallest
    corrected p-value by number of target images, by seed; and the same p-values for repeated draws without a shift."""
    names = study.choose(tiny=("contrast", "translate"), small=tuple(shift.CORRUPTIONS), full=tuple(shift.CORRUPTIONS))
    severities = study.choose(tiny=(5,), small=(1, 2, 3, 4, 5), full=(1, 2, 3, 4, 5))
    source, counts = study.choose(tiny=(12, (10, 12)), small=(1000, (50, 200, 400)), full=(1000, (50, 200, 1000)))
    draws = study.choose(tiny=1, small=20, full=100)
    images = mnist(study)
    factors = study.choose(tiny=(1,), small=FACTORS, full=FACTORS)
    arms = study.tune({"batch": lenet5(study, images, "batch", epochs=4)}, factors)
    finished = [record for record in study.repeat(arms, keep="last")["batch"] if record.results]
    if len(finished) < 2:
        raise InputError(
            f"{len(finished)} of {len(study.seeds)} networks have not diverged; there must be 2. Add seeds."
        )
    networks = [Kept(record, "detections.json") for record in finished]
    test = data.load(images, 0).test
    stored = np.asarray(test.images)
    originals = [shift.read(network.network, stored, test.labels) for network in networks]
    cases = {f"{name} {severity}": (name, severity) for name in names for severity in severities}
    for number, part in enumerate((CLEAN, *cases)):
        if unknown := lacking(networks, part):
            shifted = stored if part == CLEAN else corrupted(test, images, *cases[part])
            for network in unknown:
                seed = networks.index(network)
                before, after = originals[seed], shift.read(network.network, shifted, test.labels)
                random = np.random.default_rng([seed, number])
                found = [
                    {str(n): smallest_p(before, after, source, n, random) for n in counts}
                    for _ in range(draws if part == CLEAN else 1)
                ]
                # Accuracy before minus after is the difference of the two the other way round.
                drop, (low, _) = shift.paired_difference(*(x.predictions == x.labels for x in (after, before)))
                network[part] = {"drop": 100 * drop, "low": 100 * low, "p": found}

    def by_seed(part: str) -> dict[str, Any]:
        """Return what is known of a shift by seed."""
        found = [network[part] for network in networks]
        p_values = {str(n): [each["p"][0][str(n)] for each in found] for n in counts}
        return {"drop": [each["drop"] for each in found], "low": [each["low"] for each in found], "p": p_values}

    return {
        "counts": list(counts),
        "shifts": {name: {str(each): by_seed(f"{name} {each}") for each in severities} for name in names},
        "without_shift": {
            str(n): [[found[str(n)] for found in network[CLEAN]["p"]] for network in networks] for n in counts
        },
        "tuning": study.tunings,
    }


def smallest_p(
    before: shift.Outputs, after: shift.Outputs, source: int, target: int, random: np.random.Generator
) -> float:
    """Return the smallest p-value of all tests, corrected, for random images of which none is in both samples.

    Args:
        before, after: outputs for all test images, as they are and shifted.
        source, target: numbers of images of the two samples, each at most half of all.
        random: draws the images.
    """
    halves = np.array_split(random.permutation(len(before)), 2)
    rows = [np.sort(half[:count]) for half, count in zip(halves, (source, target), strict=True)]
    found = shift.detect(before.take(rows[0]), after.take(rows[1]), seed=int(random.integers(2**31)))
    return min(each.p_holm for each in found.detections)


def cases_of(measurements: Measurements, count: int) -> list[Case]:
    """Return all shifts as all networks see them, with that number of target images."""
    return [
        Case(name, seed, drop, drop >= HARM and low > 0, p)
        for name, by_severity in measurements["shifts"].items()
        for found in by_severity.values()
        for seed, (drop, low, p) in enumerate(zip(found["drop"], found["low"], found["p"][str(count)], strict=True))
    ]


def deciding(measurements: Measurements) -> int:
    """Return the number of target images that decides, or the nearest that was measured."""
    return min(measurements["counts"], key=lambda count: abs(count - DECIDING))


def harmless(cases: Sequence[Case]) -> float:
    """Return the percentage of the detected shifts that are harmless; 0 if none is detected."""
    return _share([not case.harmful for case in cases if case.detected])


def missed(cases: Sequence[Case]) -> float:
    """Return the percentage of the harmful shifts that are not detected; 0 if none is harmful."""
    return _share([not case.detected for case in cases if case.harmful])


def disagreement(cases: Sequence[Case]) -> Estimate:
    """Return the percentage of the shifts that are detected though harmless, or harmful though not detected, and its
    interval, for which the corruptions are the independent values."""
    names = dict.fromkeys(case.corruption for case in cases)
    shares = [_share([c.detected != c.harmful for c in cases if c.corruption == name]) for name in names]
    found = mean_interval(shares)
    return Estimate(found.mean, max(found.low, 0.0), min(found.high, 100.0))


def _share(found: Sequence[bool]) -> float:
    return 100 * statistics.fmean(found) if found else 0.0


def decide(measurements: Measurements) -> Verdict:
    """Say which direction is true for most shifts, and how that depends on the number of images."""
    count = deciding(measurements)
    cases = cases_of(measurements, count)
    effect = disagreement(cases)
    harmful, detected = 100 - harmless(cases) >= LEAST, 100 - missed(cases) >= LEAST
    verdict = "does not hold"
    if harmful and detected:
        verdict = "holds"
    elif harmful:
        verdict = "holds if only that a detected shift is harmful is meant"
    elif detected:
        verdict = "holds if only that a harmful shift is detected is meant"
    table = {
        (found, harm): sum(case.detected == found and case.harmful == harm for case in cases)
        for found in (True, False)
        for harm in (True, False)
    }
    each = "; ".join(_with(measurements, n) for n in measurements["counts"])
    often = _most([case for case in cases if case.detected and not case.harmful])
    seldom = _most([case for case in cases if case.harmful and not case.detected])
    conditions = (
        f"With {count} target images {table[True, True]} shifts are detected and harmful, {table[True, False]} "
        f"detected and harmless (most often {often}), {table[False, True]} harmful and missed (most often {seldom}), "
        f"and {table[False, False]} neither. With {each}."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _with(measurements: Measurements, count: int) -> str:
    """Return what is found with that number of target images."""
    cases = cases_of(measurements, count)
    alarms = _share([p <= LEVEL for row in measurements["without_shift"][str(count)] for p in row])
    return (
        f"{count} images: {harmless(cases):.0f} % of the detected shifts are harmless, {missed(cases):.0f} % of the "
        f"harmful ones are missed, and {alarms:.0f} % of the draws without a shift are false alarms"
    )


def _most(cases: Sequence[Case]) -> str:
    """Return the names of the three corruptions that occur most often."""
    names = [case.corruption for case in cases]
    return ", ".join(sorted(dict.fromkeys(names), key=names.count, reverse=True)[:3]) or "none"


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the drop of the accuracy over the p-value for every shift, and both kinds of exceptions over the number of
    images."""
    counts, count = measurements["counts"], deciding(measurements)
    cases = cases_of(measurements, count)
    title = (
        f"With {count} images {harmless(cases):.0f} % of the detected shifts are harmless, and {missed(cases):.0f} % "
        "of the harmful ones are missed"
    )
    axes = [
        ("smallest p-value, corrected over the tests", f"drop of the accuracy, points, {count} target images"),
        ("target images", "share, %"),
    ]
    area, (left, right) = page(title, axes, label_width=100)
    kinds = {
        (True, True): ("detected,\nharmful", COLOURS[4], (0.02, 0.97)),
        (False, True): ("missed,\nharmful", COLOURS[3], (0.98, 0.97)),
        (True, False): ("detected,\nharmless", COLOURS[1], (0.02, 0.03)),
        (False, False): ("neither", COLOURS[5], (0.98, 0.03)),
    }
    left.set_xscale("log")
    left.set_yscale("symlog", linthresh=HARM)
    left.grid(False)
    left.axvline(LEVEL, color=MUTED, linewidth=1.2, linestyle="--")
    left.axhline(HARM, color=MUTED, linewidth=1.2, linestyle="--")
    for (found, harm), (text, colour, (x, y)) in kinds.items():
        own = [case for case in cases if case.detected == found and case.harmful == harm]
        values = [max(case.p, LOWEST) for case in own], [case.drop for case in own]
        left.plot(*values, "o", color=colour, markersize=5, alpha=0.6, markeredgewidth=0)
        style = {"transform": left.transAxes, "color": colour, "weight": "bold"}
        style |= {"ha": "left" if x < 0.5 else "right", "va": "bottom" if y < 0.5 else "top"}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        add_text(left, x, y, f"{text}: {len(own)}", SMALL, **style)
    # Room for the texts above and below the dots.
    left.set(xlim=(LOWEST / 3, 3), ylim=(-10, 1000), yticks=(-1, 0, 1, 10, 100), xticks=(1e-8, 1e-6, 1e-4, 1e-2, 1))
    left.set_yticklabels(["-1", "0", "1", "10", "100"])
    left.minorticks_off()
    right.set_xscale("log")
    ends = []
    seeds = sorted({case.seed for case in cases})
    for share, text, colour in (
        (harmless, "harmless\namong the\ndetected", COLOURS[1]),
        (missed, "missed\namong the\nharmful", COLOURS[3]),
    ):
        found = [
            mean_interval([share([c for c in cases_of(measurements, n) if c.seed == seed]) for seed in seeds])
            for n in counts
        ]
        line(right, counts, found, colour)
        ends.append((found[-1].mean, text, colour))
    right.set_xticks(counts, labels=list(map(str, counts)))
    right.minorticks_off()
    right.set_ylim(bottom=0)
    labels(right, ends)
    note(area, f"dots: every corruption, severity and seed; p below {LOWEST:g} at the left edge; intervals: seeds")
    return save(area, path)


CLAIM = Claim(
    name="detected_harmful",
    statement="A shift that is detected is harmful, and a harmful one is detected.",
    source="common practice; against it Rabanser et al. 2019 and Ginsberg et al. 2023",
    rule=(
        "LeNet-5 with batch normalization learns MNIST, and each of 28 corruptions at severities 1 to 5 is one shift "
        "for each seed. It is harmful if it costs at least 1 point of accuracy on all 10,000 test images, with the 95 "
        "% interval of the difference on the same images above 0. It is detected if 200 shifted images of one random "
        "half of the test images differ from 1,000 images of the other half, which are as they were, by any test of "
        "shift.detect, p <= 0.05 with Holm's correction over the tests. A detected shift is harmful, as a direction "
        "of the statement, if that is true for at least 90 % of the detected shifts, and a harmful one is detected if "
        "that is true for at least 90 % of the harmful ones. The claim holds if both directions do; it holds in part "
        "for one of them; otherwise it does not hold. The effect is the share of all shifts that are detected though "
        "harmless, or harmful though not detected; its interval is that of the mean over the corruptions. Other "
        "numbers of images are reported and do not decide."
    ),
    effect="shifts detected though harmless, or harmful though not detected, %",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
