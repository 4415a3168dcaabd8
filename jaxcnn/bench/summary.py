"""What the times of steps come to."""

import statistics
from collections.abc import Sequence
from typing import Any

Rounds = Sequence[Sequence[float]]
"""Milliseconds of every step, by round."""

MEDIAN_ROUNDS = 3
"""Rounds that a median over rounds needs before it is shown: with fewer, one disturbed round can be the result."""

QUARTILE_ROUNDS = 5
"""Rounds that quartiles over rounds need before they are shown: with fewer, the lowest and the highest round enter."""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile, linear between values; of one value, that value three times."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def summarize(rounds: Rounds, *, images: int, operations: float, peaks: Sequence[float]) -> dict[str, Any]:
    """Time, speed and share of the machine's peak of one library.

    Args:
        rounds: its times.
        images: in a step.
        operations: floating point operations in a step.
        peaks: billions of operations a second in a matrix product, by round; those of the rounds after the library's
            last are ignored.

    Returns:
        `milliseconds` (median over all steps), `quartiles` (first and third), `steps`, `round_milliseconds` (medians),
        `images_per_second`, `gflops`, `round_peak_gflops` (the peak of each of its rounds), and `utilization`, the
        median over rounds of the ratio of the library's speed to the peak of the same round.
    """
    times = [t for turn in rounds for t in turn]
    first, median, third = quartiles(times)
    medians = [statistics.median(turn) for turn in rounds]
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
    """How many times as fast as a peer we are.

    Args:
        ours, peer: from `summarize`.

    Returns:
        `ratio` and `quartiles` (first and third), the median and the quartiles of one ratio for each round that both
        took part in, that of their median times in this round; and `rounds`, the number of these rounds.
    """
    pairs = zip(ours["round_milliseconds"], peer["round_milliseconds"], strict=False)
    ratios = [b / a for a, b in pairs]
    first, median, third = quartiles(ratios)
    return {"ratio": median, "quartiles": [first, third], "rounds": len(ratios)}
