"""Long work is shown as a bar on a terminal and as occasional lines elsewhere; short work is not shown."""

import time

import pytest
from rich.console import Console

from jaxcnn.runtime import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances only when a test adds seconds."""
    passed = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    return passed


def count(clock, seconds, **options):
    with progress.counted("decoding", 1000, "images", **options) as advance:
        for _ in range(10):
            clock[0] += seconds
            advance(100)


def test_short_work_is_not_shown(clock, capsys):
    count(clock, 0.9)
    assert capsys.readouterr() == ("", "")


def test_long_work_gets_a_line_after_ten_seconds_and_every_minute(clock, capsys):
    count(clock, 11)
    lines = ["decoding: 100 of 1,000 images", "decoding: 700 of 1,000 images"]
    assert capsys.readouterr() == ("", "\n".join(lines) + "\n")


def test_nothing_is_shown_with_show_false(clock, capsys):
    count(clock, 11, show=False)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress, "Console", lambda **options: Console(force_terminal=True, **options))
    count(clock, 11)
    out, err = capsys.readouterr()
    assert out == "" and "decoding" in err and "1000/1000" in err and "of 1,000 images" not in err
    with progress.waiting("reading"):
        pass
    assert "reading" in capsys.readouterr().err
