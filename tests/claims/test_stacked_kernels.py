"""The verdict on two 3x3 convolutions against one 5x5 follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.stacked_kernels import ARMS, decide, draw, network
from jaxcnn.layers import trace
from jaxcnn.models import VGG

NOISE = [0.2, -0.2, 0.1, -0.1, 0.0]


def measured(pair, linear, single):
    means = dict(zip(ARMS, (pair, linear, single), strict=True))
    return {
        "test_errors": {
            arm: [mean + i + (arm == "single") * e for i, e in enumerate(NOISE)] for arm, mean in means.items()
        },
        "parameters": {"pair": 75, "linear pair": 75, "single": 100},
        "multiply_adds": {"pair": 60, "linear pair": 60, "single": 100},
    }


@pytest.mark.parametrize(
    ("pair", "linear", "single", "verdict"),
    [
        (30, 31, 33, "holds"),
        (30, 33.1, 33, "holds if an activation stands between the two"),
        (33.1, 34, 33, "does not hold"),
        (33.1, 31, 33, "does not hold"),
        (34, 35, 33, "does not hold"),
    ],
)
def test_the_pair_must_be_better_than_the_single_convolution(pair, linear, single, verdict, tmp_path):
    found = measured(pair, linear, single)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(single - pair)
    assert f"without the activation by {linear - single:+.1f} (" in decided.conditions
    assert "0.75 times the parameters and 0.60 times the multiply-adds" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_pairs_of_five_stages_are_configuration_b():
    ours = trace(network("pair", (64, 128, 256, 512, 512)).layers(), (32, 32, 3))
    theirs = trace(VGG("B", 10, head="cifar").layers(), (32, 32, 3))
    for field in ("output_shape", "parameters"):
        assert [getattr(row.info, field) for row in ours] == [getattr(row.info, field) for row in theirs]


def test_one_5x5_convolution_sees_the_window_of_two_3x3():
    shapes = {
        arm: [r.info.output_shape for r in trace(network(arm, (4, 8)).layers(), (8, 8, 3)) if "pool" in r.path]
        for arm in ARMS
    }
    assert shapes["pair"] == shapes["linear pair"] == shapes["single"] == [(4, 4, 4), (2, 2, 8)]
    activations = {arm: sum("act" in r.path for r in trace(network(arm, (4, 8)).layers(), (8, 8, 3))) for arm in ARMS}
    assert activations == {"pair": 4, "linear pair": 2, "single": 2}
