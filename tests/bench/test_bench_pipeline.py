"""The share of the input pipeline in a tiny experiment."""

from pathlib import Path

import pytest

from jaxcnn.bench import pipeline
from jaxcnn.bench.pipeline import Pipeline, measure

TINY = Path(__file__).parents[1] / "tiny.py"


@pytest.mark.slow
def test_three_ways_alternate():
    found = measure(Pipeline(str(TINY), 0.1))
    assert found["batch_size"] == 16
    assert found["milliseconds"].keys() == {"full", "plain", "ready"} and min(found["milliseconds"].values()) > 0
    for key in ("share", "plain_share"):
        low, high = found[key]["quartiles"]
        assert low <= found[key]["median"] <= high < 1


def test_shares_by_hand(monkeypatch):
    calls = []

    def loop(name, *times):
        times = iter(times)

        def run(seconds):
            calls.append((name, seconds))
            return next(times) if seconds else 1e9

        return run

    full, plain, ready = [10.0, 20.0] * 10, [8.0, 16.0] * 10, [7.5, 15.0] * 10
    loops = {"full": loop("full", *full), "plain": loop("plain", *plain), "ready": loop("ready", *ready)}
    monkeypatch.setattr(pipeline, "_loops", lambda plan: loops)
    found = measure(Pipeline(str(TINY), 2.0))
    # The first call compiles and warms up, and is not counted.
    assert calls[:6] == [(n, s) for s in (0, 0.1) for n in ("full", "plain", "ready")] and len(calls) == 63
    assert found["milliseconds"] == {"full": 15.0, "plain": 12.0, "ready": 11.25}
    assert found["share"]["median"] == pytest.approx(0.25) and found["plain_share"]["median"] == pytest.approx(0.0625)
