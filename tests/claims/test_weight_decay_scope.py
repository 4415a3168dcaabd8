"""The verdict on the scope of weight decay follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.weight_decay_scope import ARMS, decide, draw

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(none, dense, conv, kernels, all_, spread=1.0):
    errors = dict(zip(ARMS, (none, dense, conv, kernels, all_), strict=True))
    values = {
        arm: [value + i + spread * NOISE[(i + place) % 5] for i in range(5)]
        for place, (arm, value) in enumerate(errors.items())
    }
    return {
        "test_errors": values,
        "nll": {arm: [x / 20 for x in row] for arm, row in values.items()},
        "norms": {arm: [{"conv": 5.0 + place, "dense": 10.0}, None] for place, arm in enumerate(ARMS)},
        "weight_decay": dict(zip(ARMS, (0.0, 0.02, 0.005, 0.005, 0.001), strict=True)),
        "coefficients": [0.001, 0.005, 0.02],
    }


@pytest.mark.parametrize(
    ("dense", "kernels", "spread", "verdict"),
    [
        (45, 45, 1, "holds"),
        (44, 45, 1, "holds"),
        (48, 45, 1, "does not hold"),
        (45, 45, 4, "holds if a disadvantage of up to "),
        # Decay of all kernels does not help.
        (49, 50, 1, "does not hold"),
        (50, 52, 1, "does not hold"),
    ],
)
def test_decay_must_help_and_the_dense_kernels_suffice(dense, kernels, spread, verdict):
    decided = decide(measured(50, dense, 48, kernels, 45, spread))
    assert decided.verdict.startswith(verdict)
    assert decided.effect == pytest.approx(dense - kernels)


def test_conditions_have_errors_likelihoods_and_norms(tmp_path):
    found = measured(50, 47, 48, 45, 45)
    text = decide(found).conditions
    assert "lower by 5.0 (" in text and "by 3.0 (" in text and "by 2.0 (" in text
    assert "52.0 %, 2.60, 5.0 and 10.0 (no decay); 49.0 %, 2.45, 6.0 and 10.0 (dense kernels)" in text
    assert text.endswith("The largest coefficient tried, 0.02, is the best for dense kernels.")
    found["weight_decay"]["dense"] = 0.005
    found["norms"]["none"] = [None] * 5
    text = decide(found).conditions
    assert "52.0 %, 2.60, unknown (no decay)" in text and "largest" not in text
    assert draw(found, tmp_path / "a.png").is_file()
