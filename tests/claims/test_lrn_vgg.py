"""The verdict on A-LRN follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.lrn_vgg import ARMS, decide, draw

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(a, lrn, acts, spread=1.0):
    errors = dict(zip(ARMS, (a, lrn, acts), strict=True))
    return {
        "test_errors": {
            arm: [value + i + spread * NOISE[(i + place) % 5] for i in range(5)]
            for place, (arm, value) in enumerate(errors.items())
        },
        "shares": {"A-LRN": [1e-4, 3e-4], "acts": []},
        "milliseconds_per_step": {"A": [10, 12, 20], "A-LRN": [15], "acts": []},
    }


@pytest.mark.parametrize(
    ("lrn", "spread", "verdict"),
    [
        (60, 1, "holds"),
        (62, 1, "holds"),
        (57, 1, "does not hold"),
        (60, 10, "holds if an improvement of up to "),
    ],
)
def test_the_improvement_must_be_below_a_point(lrn, spread, verdict):
    decided = decide(measured(60, lrn, 59, spread))
    assert decided.verdict.startswith(verdict)
    assert decided.effect == pytest.approx(60 - lrn)


def test_conditions_have_r_and_the_cost(tmp_path):
    found = measured(60, 60, 59)
    text = decide(found).conditions
    assert "and by 1.0 (" in text and "r is 0.0002 and unknown" in text
    assert text.endswith("A step with it takes 1.25 times as long on this machine.")
    found["milliseconds_per_step"]["A-LRN"] = []
    assert decide(found).conditions.endswith("r is 0.0002 and unknown.")
    assert draw(found, tmp_path / "a.png").is_file()
