import time

import pytest

from jaxcnn.runs.clock import Clock


def test_seconds_continue_from_earlier_launches_and_the_rate_excludes_pauses(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(7.0)
    now[0] += 50
    clock.start()
    now[0] += 2
    with clock.paused():
        now[0] += 30
    assert clock.lap(64) == pytest.approx(32)
    now[0] += 4
    assert clock.lap(64) == pytest.approx(16)
    assert clock.seconds == pytest.approx(7 + 86)
