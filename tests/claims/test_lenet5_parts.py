"""The verdict on the parts of LeNet-5 follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.lenet5_parts import ARMS, decide, draw, network
from jaxcnn.layers import trace

NOISE = [0.02, -0.02, 0.01, -0.01, 0.03, -0.03, 0.0, 0.0]
PARAMETERS = {arm: sum(row.info.parameters for row in trace(network(arm).layers(), (32, 32, 1))) for arm in ARMS}


def measured(table, subsampling, distances, all_three):
    """Test errors in percent of the networks without each part; 2 as published."""
    means = dict(zip(ARMS, (2.0, table, subsampling, distances, all_three), strict=True))
    return {
        "test_errors": {
            arm: [mean + 0.05 * i + (arm == "1998") * e for i, e in enumerate(NOISE)] for arm, mean in means.items()
        },
        "parameters": PARAMETERS,
    }


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ((2.3, 2.2, 2.1, 2.4), "holds"),
        ((2.0, 2.2, 2.1, 2.4), "holds if it is only about trained subsampling and distances to bitmaps"),
        ((2.0, 1.8, 2.1, 2.0), "holds if it is only about distances to bitmaps"),
        ((2.0, 1.8, 2.0, 1.9), "does not hold"),
    ],
)
def test_every_part_must_lower_the_error(errors, verdict, tmp_path):
    found = measured(*errors)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(errors[-1] - 2)
    assert ("more accurate without trained subsampling." in decided.conditions) == (errors[1] < 2)
    assert draw(found, tmp_path / "a.png").is_file()


def test_small_differences_are_corrected_for_three_comparisons():
    # Alone, p is 0.018; the correction makes it 0.055.
    found = measured(2.0, 2.0, 2.0, 2.0)
    found["test_errors"]["table"] = [
        x + 0.02 + 0.01 * y for x, y in zip(found["test_errors"]["1998"], range(-3, 5), strict=True)
    ]
    decided = decide(found)
    assert decided.verdict == "does not hold" and "C3 fully connected (p = 0.0" in decided.conditions


def test_each_network_differs_in_one_part():
    # Table I has 1,516 parameters in C3, all connections 2,416; subsampling has 2 per map, the output 84 x 10 + 10.
    assert PARAMETERS == {
        "1998": 60_000,
        "table": 60_900,
        "subsampling": 60_000 - 12 - 32,
        "distances": 60_850,
        "all": 60_900 - 44 + 850,
    }
