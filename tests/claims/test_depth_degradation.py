"""The verdict on depth follows from hand-made errors and decades by the rule."""

import pytest

from jaxcnn.claims.depth_degradation import decide, draw, worse

NOISE = [0.2, -0.2, 0.0]


def measured(errors, decades):
    """Training errors of plain-20, plain-56, ResNet-20 and ResNet-56, and the decades of plain-56."""
    arms = ("plain, shallow", "plain, deep", "residual, shallow", "residual, deep")
    return {
        "depths": {"shallow": 20, "deep": 56},
        "learning_rates": dict.fromkeys(arms, 0.1),
        "training_errors": {
            arm: [x + (i + 1) * n for n in NOISE] for i, (arm, x) in enumerate(zip(arms, errors, strict=True))
        },
        "test_errors": {arm: [x + 5.0] * 3 for arm, x in zip(arms, errors, strict=True)},
        "steps": [0, 100],
        "decades": {arm: [[decades + n, decades - n / 2] for n in NOISE] for arm in arms},
    }


@pytest.mark.parametrize(
    ("errors", "decades", "verdict"),
    [
        ((30, 40, 30, 29), 0.2, "holds"),
        ((30, 40, 30, 29), -2.0, "holds if only the errors are meant, not that the gradient arrives"),
        ((30, 40, 30, 40), 0.2, "does not hold"),
        ((40, 30, 30, 29), 0.2, "does not hold"),
    ],
)
def test_plain_networks_must_get_worse_and_keep_their_gradients(errors, decades, verdict, tmp_path):
    found = measured(errors, decades)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(errors[1] - errors[0])
    assert worse(found, "plain") == pytest.approx([errors[1] - errors[0] + n for n in NOISE])
    assert f"plain-56 {errors[1]:.1f} % (test {errors[1] + 5:.1f} %) at 0.1" in decided.conditions
    assert f"plain-56 {decades:+.2f}" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_runs_that_diverge_have_no_gradient(tmp_path):
    found = measured((30, 90, 30, 29), 0.2)
    found["decades"]["plain, deep"] = []
    decided = decide(found)
    assert decided.verdict == "holds if only the errors are meant, not that the gradient arrives"
    assert decided.conditions.count("plain-56") == 1
    assert draw(found, tmp_path / "a.png").is_file()
