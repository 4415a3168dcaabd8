"""The verdict on overlapping pooling follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.overlapping_pooling import decide, draw, network
from jaxcnn.layers import trace

NOISE = [0.2, -0.2, 0.1, -0.1, 0.0]


def measured(plain, overlapping):
    """Errors (test, training) of both networks; seeds differ."""
    arms = {"plain": plain, "overlapping": overlapping}
    return {
        "test_errors": {
            arm: [test + i + (arm == "plain") * e for i, e in enumerate(NOISE)] for arm, (test, _) in arms.items()
        },
        "training_errors": {arm: [train + i for i in range(5)] for arm, (_, train) in arms.items()},
    }


@pytest.mark.parametrize(
    ("plain", "overlapping", "verdict"),
    [
        ((31, 20), (30, 22), "holds"),
        ((31, 20), (30, 19), "holds if only the error is meant, not overfitting"),
        ((31, 20), (31.1, 22), "holds if only overfitting is meant, not the error"),
        ((31, 20), (32, 20), "does not hold"),
    ],
)
def test_the_claim_needs_a_lower_error_and_a_smaller_gap(plain, overlapping, verdict, tmp_path):
    found = measured(plain, overlapping)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(plain[0] - overlapping[0])
    assert f"change the test error by {overlapping[0] - plain[0]:+.1f}" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_papers_effect_may_lie_within_the_interval():
    assert "0.4 points on ImageNet are within" in decide(measured((30.4, 20), (30, 20))).conditions
    assert "0.4 points on ImageNet are outside" in decide(measured((31, 20), (30, 20))).conditions


@pytest.mark.parametrize("side", [23, 31])
def test_both_windows_give_maps_of_the_same_size(side):
    shapes = [
        [row.info.output_shape for row in trace(network(window, (16, 32, 64)).layers(), (side, side, 3))]
        for window in (2, 3)
    ]
    assert shapes[0] == shapes[1] and shapes[0][2] == (side // 2, side // 2, 16)
