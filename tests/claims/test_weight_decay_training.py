"""The verdict on the training error follows from hand-made errors by the rule."""

import pytest
from scipy.stats import ttest_rel

from jaxcnn.claims.weight_decay_training import COEFFICIENTS, decide, draw

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(*training):
    errors = {
        value: [e + i + NOISE[(i + place) % 5] for i in range(5)]
        for place, (value, e) in enumerate(zip(COEFFICIENTS, training, strict=True))
    }
    return {
        "training_errors": errors,
        "test_errors": {value: [x + 10 for x in row] for value, row in errors.items()},
        "learning_rates": dict.fromkeys(COEFFICIENTS, 0.03),
    }


@pytest.mark.parametrize(
    ("training", "verdict"),
    [
        # Coefficients 0, 0.0005, 0.002 and 0.01.
        ((30, 28, 30, 30), "holds"),
        ((30, 30, 28, 35), "holds if the coefficient is 0.002"),
        ((30, 30, 28, 27), "holds if the coefficient is 0.002 or 0.01"),
        ((30, 31, 32, 33), "does not hold"),
        ((30, 30, 30, 30), "does not hold"),
    ],
)
def test_the_coefficient_of_the_paper_decides_first(training, verdict):
    decided = decide(measured(*training))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(training[0] - training[1])


def test_other_coefficients_are_corrected_for_their_number():
    found = measured(30, 30, 30, 30)
    errors = found["training_errors"]
    errors["0.002"] = [x - gain for x, gain in zip(errors["0"], (2.0, 1.0, 3.0, 0.3, 1.0), strict=True)]
    assert 0.025 < ttest_rel(errors["0"], errors["0.002"]).pvalue < 0.05
    assert decide(found).verdict == "does not hold"


def test_conditions_have_all_errors(tmp_path):
    found = measured(30, 28, 31, 40)
    text = decide(found).conditions
    assert "are 32.0 and 42.0 with coefficient 0 (learning rate 0.03); 30.0 and 40.0 with coefficient 0.0005" in text
    assert "-2.0 (" in text and "+10.0 (" in text
    assert draw(found, tmp_path / "a.png").is_file()
