"""Statistics of the times of steps."""

import statistics
from collections.abc import Sequence
from typing import Any

Rounds = Sequence[Sequence[float]]
"""Milliseconds of every step, by round."""

MEDIAN_ROUNDS = 3
"""Minimum number of rounds for showing a median over rounds: with fewer, one disturbed round can be the result."""

QUARTILE_ROUNDS = 5
"""Minimum number of rounds for showing quartiles over rounds: with fewer, the lowest and the highest round enter."""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile, linear between values; a single value is all three."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def summarize(rounds: Rounds, *, images: int, operations: float, peaks: Sequence[float]) -> dict[str, Any]:
    """Return time, speed and share of the machine's peak of one library.

    Args:
        rounds: times of its steps.
        images: images per step.
        operations: floating point operations per step.
        peaks: billions of operations per second in a matrix product, by round; rounds after the library's last are
            ignored.

    Returns:
        `milliseconds` (median over all steps), `quartiles` (first and third), `steps`, `round_milliseconds` (medians),
        `images_per_second`, `gflops`, `round_peak_gflops` (the peak of each of its rounds), and `utilization`, the
        median over rounds of the ratio of the library's speed to the peak of the same round.
    """
    times = [t for steps in rounds for t in steps]
    first, median, third = quartiles(times)
    medians = [statistics.median(steps) for steps in rounds]
    shares = [operations / t / 1e6 / peak for t, peak in zip(medians, peaks, strict=False)]
    return {
        "milliseconds": median,
        "quartiles": [first, third],
        "steps": len(times),
        "round_milliseconds": medians,
        "images_per_second": 1e3 * images / median,
        "gflops": operations / median / 1e6,
        "round_peak_gflops": list(peaks[: len(medians)]),
        "utilization": statistics.median(shares),
    }


def speed_ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """Return how many times as fast as a peer a library is.

    Args:
        ours, peer: results of `summarize`.

    Returns:
        `ratio` and `quartiles` (first and third), the median and the quartiles over the rounds in which both took part,
        each with the ratio of their median times; and `rounds`, the number of these rounds.
    """
    pairs = zip(ours["round_milliseconds"], peer["round_milliseconds"], strict=False)
    ratios = [b / a for a, b in pairs]
    first, median, third = quartiles(ratios)
    return {"ratio": median, "quartiles": [first, third], "rounds": len(ratios)}
