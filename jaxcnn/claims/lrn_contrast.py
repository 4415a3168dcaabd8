"""Claim: local response normalization makes responses depend less on contrast.

Let a be a response before the normalization, S the sum of squares in its window, and b = a / (k + alpha S)^beta. If all
responses are multiplied by s,

    log b = log a + log s - beta log(k + alpha s^2 S),

so the contrast gain at s = 1, d log b / d log s, is 1 - 2 beta r with r = alpha S / (k + alpha S). The root mean square
of b over many units has the gain 1 - 2 beta r with the mean of r weighted with b^2. The gain is 1 where r = 0 (the
normalization only divides by k^beta), 0 where r = 1 / (2 beta) (alpha S = 2 k for beta = 3/4), and 1 - 2 beta at most
contrast: more contrast then makes the response smaller.
"""

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import mean_interval
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.responses import ALPHA, Trained
from jaxcnn.claims.study import Record, Study
from jaxcnn.config import Data, Experiment, Optimizer, Schedule
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.plots.page import save

ARMS = {
    "unit": "the paper's α, pixels of unit deviation",
    "pixels": "the paper's α, pixels in 0..255",
    "alpha": "α = 0.4, pixels of unit deviation",
}
ACTS_IF = {"pixels": "pixels are in 0..255", "alpha": "alpha is 0.4 for pixels of unit deviation"}

ACTS = 0.9
"""Contrast gain below which a normalization acts."""
CONTRASTS = tuple(2.0 ** (k / 2) for k in range(-6, 7))
_STEP = 1.05
_BETA = LocalResponseNorm().beta
_DIVISOR = LocalResponseNorm().k ** _BETA


def measure(study: Study) -> Measurements:
    """Return responses, contrast gain and r of the first normalization by arm, seed and contrast, and r of every layer
    at contrast 1."""

    def images(**settings: Any) -> Data:
        return study.images(
            "cifar10",
            train=study.choose(tiny=80, small=8000, full=50_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
            image_size=study.choose(tiny=8, small=16, full=None),
            **settings,
        )

    def experiment(alpha: float, data: Data, rate: float) -> Experiment:
        return Experiment(
            model=SmallConvNet(
                study.choose(tiny=(2, 2), small=(16, 32, 64), full=(64, 128, 256)), norm=LocalResponseNorm(alpha=alpha)
            ),
            data=data,
            optimizer=Optimizer(learning_rate=rate, weight_decay=0.0, schedule=Schedule(name="cosine")),
            epochs=study.choose(tiny=1, small=5, full=30),
            eval_every=1000,
            checkpoint_every=1000,
            log_every=1000,
        )

    paper = LocalResponseNorm().alpha
    arms = {
        "unit": experiment(paper, images(), 0.03),
        # Larger inputs need smaller steps.
        "pixels": experiment(paper, images(std=(1 / 255,) * 3), 3e-4),
        "alpha": experiment(ALPHA, images(), 0.03),
    }
    arms = study.tune(arms, study.choose(tiny=(0.3, 1), small=(0.3, 1, 3), full=(0.3, 1, 3)))
    records = study.repeat(arms, keep="last")
    count = study.choose(tiny=16, small=200, full=200)
    return {
        "contrasts": list(CONTRASTS),
        "first": {arm: [_first(r, count) for r in records[arm] if r.results] for arm in ARMS},
        "shares": {arm: [_shares(r, count) for r in records[arm] if r.results] for arm in ARMS},
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "tuning": study.tunings,
    }


def _first(record: Record, count: int) -> dict[str, list[float]]:
    """Return, at every contrast, the root mean square before and after the first normalization, its gain and r."""
    trained = Trained(record, count)
    found: dict[str, list[float]] = {"before": [], "after": [], "gain": [], "share": []}
    for contrast in CONTRASTS:
        low, middle, high = (trained.responses(contrast * factor)[0] for factor in (1 / _STEP, 1.0, _STEP))
        found["before"].append(_rms(middle.before))
        found["after"].append(_rms(middle.after))
        # Biases do not scale with the contrast, so the responses before the normalization have a gain of their own.
        rise = [math.log(_rms(b) / _rms(a)) for a, b in ((low.after, high.after), (low.before, high.before))]
        found["gain"].append(rise[0] / rise[1])
        found["share"].append(middle.share())
    return found


def _shares(record: Record, count: int) -> list[float]:
    return [responses.share() for responses in Trained(record, count).responses()]


def _rms(responses: np.ndarray) -> float:
    return math.sqrt(float(np.mean(np.square(responses, dtype=np.float64))))


def gains(measurements: Measurements, arm: str) -> list[float]:
    """Return the contrast gain of the first normalization at contrast 1 for each seed."""
    at = measurements["contrasts"].index(1.0)
    return [run["gain"][at] for run in measurements["first"][arm]]


def decide(measurements: Measurements) -> Verdict:
    """Compare the contrast gains with the one at which a normalization counts as acting."""
    # An interval needs two runs that have not diverged.
    found = {arm: mean_interval(gains(measurements, arm)) for arm in ARMS if len(measurements["first"][arm]) > 1}
    acting = [arm for arm, gain in found.items() if gain.high < ACTS]
    verdict = "does not hold"
    if "unit" in acting:
        verdict = "holds"
    elif acting:
        verdict = "holds if " + " or ".join(ACTS_IF[arm] for arm in acting)
    parts = []
    for arm, gain in found.items():
        layers = np.mean(measurements["shares"][arm], axis=0)
        parts.append(f"{gain.mean:.3f} with {ARMS[arm]} (r by layer: {', '.join(f'{r:.2g}' for r in layers)})")
    conditions = (
        f"The contrast gain of the first normalization is {'; '.join(parts)}. Over all contrasts from "
        f"{CONTRASTS[0]:g} to {CONTRASTS[-1]:g}, the measured gain differs from 1 - 2 beta r by "
        f"{_deviation(measurements):.1g} at most."
    )
    if "unit" in found:
        conditions += (
            " With the paper's constants on pixels of unit deviation the normalization divides responses by "
            f"{_divisor(measurements):.2f}; k^beta is {_DIVISOR:.2f}."
        )
    unit = found.get("unit")
    effect, interval = (unit.mean, (unit.low, unit.high)) if unit else (None, (None, None))
    return Verdict(verdict, effect, interval, conditions)


def _divisor(measurements: Measurements) -> float:
    at = measurements["contrasts"].index(1.0)
    return statistics.fmean(run["before"][at] / run["after"][at] for run in measurements["first"]["unit"])


def _deviation(measurements: Measurements) -> float:
    """Return the largest difference of a measured gain from the analytic one."""
    return max(
        abs(gain - (1 - 2 * _BETA * share))
        for runs in measurements["first"].values()
        for run in runs
        for gain, share in zip(run["gain"], run["share"], strict=True)
    )


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the response over the contrast, and the contrast gain over r with the analytic line."""
    found = {arm: gains(measurements, arm) for arm in ARMS if measurements["first"][arm]}
    words = {"unit": "pixels of unit deviation", "pixels": "pixels in 0..255", "alpha": "α = 0.4"}
    short = {"unit": "unit\ndeviation", "pixels": "0..255", "alpha": "α = 0.4"}
    rises = [f"{10 * statistics.fmean(values):+.1f} % ({words[arm]})" for arm, values in found.items()]
    title = f"If the contrast rises by 10 %, the responses after LRN change by {', '.join(rises)}"
    axes = [("contrast of the image", "response after the first LRN; 1 at contrast 1")]
    axes += [("r = αS / (k + αS)", "contrast gain; line: 1 − 2βr")]
    area, (left, right) = page(title, axes, label_width=84)
    contrasts = measurements["contrasts"]
    at = contrasts.index(1.0)
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    left.plot(contrasts, contrasts, color="#666666", linewidth=1, linestyle="--")
    right.plot([0, 1], [1, 1 - 2 * _BETA], color="#666666", linewidth=1.2)
    right.axhline(0, color="#666666", linewidth=0.8, linestyle=":")
    ends = [(contrasts[-1], "unchanged", "#666666")]
    for arm, colour, mark in zip(found, COLOURS, "osD", strict=False):
        runs = measurements["first"][arm]
        curves = np.array([np.array(run["after"]) / run["after"][at] for run in runs])
        left.plot(contrasts, curves.mean(axis=0), color=colour, marker=mark, markersize=4, linewidth=1.8)
        left.fill_between(contrasts, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2)
        ends.append((curves[:, -1].mean(), short[arm], colour))
        points = [(share, gain) for run in runs for share, gain in zip(run["share"], run["gain"], strict=True)]
        right.plot(*zip(*points, strict=True), mark, color=colour, markersize=4, alpha=0.6, linestyle="none")
    right.set_xlim(-0.02, 1.02)
    right.set_ylim(-0.6, 1.1)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    labels(left, ends)
    labels(right, [(1.0, "unchanged", "#666666"), (0.0, "removed", "#666666")])
    note(area, "left: mean and range over the seeds; right: every seed and contrast")
    return save(area, path)


CLAIM = Claim(
    name="lrn_contrast",
    statement="Local response normalization damps large responses, so that responses depend less on contrast.",
    source="Krizhevsky et al. 2012, section 3.3",
    rule=(
        "Three networks train with local response normalization after every activation, each at its own best learning "
        "rate, chosen on a validation split: the paper's constants on standardized pixels, the paper's constants on "
        "pixels of 0 to 255 without their mean, and alpha 0.4 on standardized pixels. The contrast gain of the first "
        "normalization is the change of the logarithm of the root mean square response after it, divided by that "
        "before it, if the contrast of test images changes by 5 percent up and down. A normalization acts if the 95 % "
        "interval of its gain lies below 0.9. The effect is the gain with the paper's constants on standardized "
        "pixels. The claim holds if this normalization acts; it holds if pixels are in 0 to 255, or if alpha is 0.4, "
        "where only those act; otherwise it does not hold. The analytic gain is 1 - 2 beta r, with r = alpha S / (k + "
        "alpha S)."
    ),
    effect="contrast gain of the first normalization with the paper's constants on standardized pixels; 1: none",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
