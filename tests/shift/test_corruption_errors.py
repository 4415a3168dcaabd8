import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.corruption_errors import (
    CorruptionErrors,
    corruption_table,
    draw_corruption_errors,
    mean_corruption_error,
)
from tests.plots.drawn import watch

OURS = CorruptionErrors("ours", 0.1, {"fog": [0.2, 0.4], "noise": [0.1, 0.3]}, severities=(1, 5))
BASELINE = CorruptionErrors("lenet5", 0.2, {"fog": [0.4, 0.8], "noise": [0.3, 0.3]}, severities=(1, 5))


def test_without_a_baseline_it_is_the_mean_error():
    assert mean_corruption_error(OURS) == pytest.approx(0.25)
    assert mean_corruption_error(OURS, relative=True) == pytest.approx(0.15)


def test_with_a_baseline_each_corruption_is_divided_by_its_error():
    """0.6 / 1.2 and 0.4 / 0.6; with clean errors subtracted 0.4 / 0.8 and 0.2 / 0.2."""
    assert mean_corruption_error(OURS, BASELINE) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mean_corruption_error(OURS, BASELINE, relative=True) == pytest.approx((1 / 2 + 1) / 2)
    assert mean_corruption_error(BASELINE, BASELINE) == mean_corruption_error(BASELINE, BASELINE, relative=True) == 1


def test_the_order_of_the_corruptions_does_not_matter():
    turned = CorruptionErrors("ours", 0.1, dict(reversed(OURS.errors.items())), severities=(1, 5))
    assert mean_corruption_error(turned, BASELINE) == pytest.approx(mean_corruption_error(OURS, BASELINE))


def test_the_table_has_means_over_severities_and_corruptions():
    grid = corruption_table(OURS)
    assert grid.headings == ("corruption", "severity 1", "severity 5", "mean")
    assert grid.rows == (("fog", "20.0", "40.0", "30.0"), ("noise", "10.0", "30.0", "20.0"))
    assert grid.footer == ("mean", "15.0", "35.0", "25.0") and "without corruption 10.0" in grid.text()


def test_the_heat_map_says_what_it_shows(monkeypatch, tmp_path):
    drawn = watch(monkeypatch)
    path = draw_corruption_errors(OURS, tmp_path / "a.png")
    drawn.check_layout(path)
    text = " ".join(" ".join(drawn.words).split())
    assert "ours: 10.0 % error without corruption, 25.0 % on average with it; fog is the worst, 30.0 %" in text
    assert {"fog", "noise", "severity", "20.0", "40.0"} <= {*drawn.words}


def test_every_corruption_and_severity_fits():
    errors = {f"corruption_{i}": np.linspace(0.01, 0.9, 5) for i in range(25)}
    assert len(corruption_table(CorruptionErrors("a", 0.01, errors)).rows) == 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": {}}, "errors of x has no corruption; give at least one"),
        (
            {"errors": {"fog": [0.1]}},
            "errors of x has 1 values for fog; there must be one for each of the",
        ),
        ({"errors": {"fog": [0.1, 12.0]}}, "error of x for fog is 12.0; it must be in 0 to 1"),
        ({"clean": float("nan")}, "error of x for clean is nan; it must be in 0 to 1"),
    ],
)
def test_errors_that_are_none_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        CorruptionErrors(**{"network": "x", "clean": 0.1, "errors": {"fog": [0.1, 0.2]}, "severities": (1, 5)} | change)


def test_a_baseline_that_does_not_fit_is_refused():
    other = CorruptionErrors("alexnet", 0.1, {"fog": [0.1, 0.1]}, severities=(1, 5))
    with pytest.raises(InputError, match="ours and the baseline alexnet have different corruptions or severities"):
        mean_corruption_error(OURS, other)
    ours = CorruptionErrors("ours", 0.1, {"fog": [0.2, 0.3]}, severities=(1, 5))
    with pytest.raises(InputError, match="relative error of the baseline alexnet for fog is 0, by which nothing"):
        mean_corruption_error(ours, other, relative=True)
