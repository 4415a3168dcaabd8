"""The verdict on detection and harm follows from hand-made shifts by the rule, and samples share no image."""

import numpy as np
import pytest

from jaxcnn import shift
from jaxcnn.claims.detected_harmful import cases_of, decide, disagreement, draw, harmless, missed, smallest_p

FOUND = {"harmful": (20.0, 1e-9), "alarm": (0.2, 0.001), "missed": (3.0, 0.6), "neither": (0.0, 1.0)}
"""Drop of the accuracy in points and p-value."""


def measured(kinds):
    """Shifts of two severities and three seeds: the kind of each corruption."""
    shifts = {
        f"corruption{number}": {
            str(severity): {
                "drop": [FOUND[kind][0]] * 3,
                "low": [FOUND[kind][0] - 0.5] * 3,
                "p": {"50": [1.0] * 3, "200": [FOUND[kind][1]] * 3},
            }
            for severity in (1, 5)
        }
        for number, kind in enumerate(kinds)
    }
    return {
        "counts": [50, 200],
        "shifts": shifts,
        "without_shift": {"50": [[1.0] * 4] * 3, "200": [[1, 1, 1, 0.01]] * 3},
    }


@pytest.mark.parametrize(
    ("kinds", "verdict", "effect"),
    [
        (["harmful"] * 9 + ["alarm"], "holds", 10),
        (["harmful"] * 8 + ["alarm"] * 2, "holds if only that a harmful shift is detected is meant", 20),
        (["harmful"] * 8 + ["missed"] * 2, "holds if only that a detected shift is harmful is meant", 20),
        (["harmful", "alarm", "missed", "neither"], "does not hold", 50),
        (["neither"] * 3, "holds", 0),
    ],
)
def test_both_directions_must_be_true_for_most_shifts(kinds, verdict, effect, tmp_path):
    found = measured(kinds)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(effect)
    assert 0 <= decided.interval[0] <= decided.effect <= decided.interval[1] <= 100
    assert draw(found, tmp_path / "a.png").is_file()


def test_shares_are_of_the_detected_and_of_the_harmful():
    found = measured(["harmful"] * 3 + ["alarm"] * 2 + ["missed"])
    cases = cases_of(found, 200)
    assert len(cases) == 36
    assert (harmless(cases), missed(cases)) == (pytest.approx(40), pytest.approx(25))
    assert (harmless(cases_of(found, 50)), missed(cases_of(found, 50))) == (0, 100)
    shares = [0, 0, 0, 100, 100, 100]
    t = 2.570582
    half = t * np.std(shares, ddof=1) / np.sqrt(6)
    assert disagreement(cases) == pytest.approx((50, max(50 - half, 0), min(50 + half, 100)))
    text = decide(found).conditions
    assert "18 shifts are detected and harmful, 12 detected and harmless (most often corruption3, corruption4)" in text
    assert "6 harmful and missed (most often corruption5), and 0 neither" in text
    assert "25 % of the draws without a shift are false alarms" in text


def test_a_drop_that_may_be_none_is_harmless():
    found = measured(["harmful", "harmful"])
    found["shifts"]["corruption0"]["1"]["low"] = [-0.1] * 3
    assert sum(case.harmful for case in cases_of(found, 200)) == 9


def test_the_two_samples_have_no_image_in_common(monkeypatch):
    seen = []

    def detect(source, target, *, seed):
        seen.append((source.labels, target.labels))
        return shift.Findings(
            (shift.Detection("mmd", 0.0, 0.3, 0.0, 20, 15), shift.Detection("mmd", 0.0, 0.9, 0.0, 20, 15)), {}
        )

    monkeypatch.setattr(shift, "detect", detect)
    rows = np.arange(40)
    outputs = shift.Outputs(np.zeros((40, 2, 2, 1)), np.zeros((40, 3)), np.zeros((40, 10)), {}, rows)
    random = np.random.default_rng(0)
    assert [smallest_p(outputs, outputs, 20, 15, random) for _ in range(3)] == [0.3] * 3
    for source, target in seen:
        assert (len(source), len(target)) == (20, 15) and not set(source) & set(target)
    assert not np.array_equal(seen[0][0], seen[1][0])
