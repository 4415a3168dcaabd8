"""What the times of steps come to."""

import statistics
from collections.abc import Sequence
from typing import Any

Rounds = Sequence[Sequence[float]]
"""Milliseconds of every step, by round."""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile, linear between values; of one value, that value three times."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def summarize(rounds: Rounds, *, images: int, operations: float, peak_gflops: float) -> dict[str, Any]:
    """Time, speed and share of the machine's peak of one library.

    Args:
        rounds: its times.
        images: in a step.
        operations: floating point operations in a step.
        peak_gflops: billions of operations a second in a matrix product.

    Returns:
        `milliseconds` (median over all steps), `quartiles` (first and third), `steps`, `round_milliseconds` (medians),
        `images_per_second`, `gflops`, `peak_gflops`, `utilization`.
    """
    times = [t for turn in rounds for t in turn]
    first, median, third = quartiles(times)
    gflops = operations / median / 1e6
    return {
        "milliseconds": median,
        "quartiles": [first, third],
        "steps": len(times),
        "round_milliseconds": [statistics.median(turn) for turn in rounds],
        "images_per_second": 1e3 * images / median,
        "gflops": gflops,
        "peak_gflops": peak_gflops,
        "utilization": gflops / peak_gflops,
    }


def speed_ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """How many times as fast as a peer we are.

    Args:
        ours, peer: from `summarize`.

    Returns:
        `ratio`, of the medians over all steps; `quartiles`, of the ratios of the medians within each round that both
        took part in, and `rounds`, their number.
    """
    pairs = list(zip(ours["round_milliseconds"], peer["round_milliseconds"], strict=False))
    first, _, third = quartiles([b / a for a, b in pairs])
    ratio = peer["milliseconds"] / ours["milliseconds"]
    return {"ratio": ratio, "quartiles": [first, third], "rounds": len(pairs)}
