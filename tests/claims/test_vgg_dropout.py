"""The verdict on dropout in VGG follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.vgg_dropout import DECAYS, DROPOUTS, decide, draw

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(without, with_dropout, spread=1.0):
    errors = {
        f"{dropout}, {decay}": value
        for dropout, row in zip(DROPOUTS, (without, with_dropout), strict=True)
        for decay, value in zip(DECAYS, row, strict=True)
    }
    values = {
        arm: [value + i + spread * NOISE[(i + place) % 5] for i in range(5)]
        for place, (arm, value) in enumerate(errors.items())
    }
    return {
        "test_errors": values,
        "training_errors": {arm: [x - 30 for x in row] for arm, row in values.items()},
        "nll": {arm: [x / 20 for x in row] for arm, row in values.items()},
        "decay": {"0": "0.01", "0.5": "0.0005"},
    }


@pytest.mark.parametrize(
    ("alone", "both", "spread", "verdict"),
    [
        (60, 60, 1, "holds"),
        (60, 63, 1, "holds"),
        (63, 60, 1, "does not hold"),
        (60, 60, 4, "holds if a gain from dropout of up to "),
    ],
)
def test_dropout_must_gain_less_than_a_point(alone, both, spread, verdict):
    decided = decide(measured((65, 64, alone), (62, both, 70), spread))
    assert decided.verdict.startswith(verdict)
    assert decided.effect == pytest.approx(alone - both)


def test_conditions_have_the_effects_of_both(tmp_path):
    found = measured((65, 64, 61), (62, 60, 70))
    text = decide(found).conditions
    assert "by -1.0 (" in text and "points with decay and by -3.0 (" in text
    assert "decay of 0.01 changes it by -4.0 (" in text and "37.0 and 67.0 with dropout 0 and decay 0;" in text
    assert "is 3.15 with decay alone, 3.20 with dropout alone, 3.10 with both and 3.35 with neither." in text
    assert draw(found, tmp_path / "a.png").is_file()
