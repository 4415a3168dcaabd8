"""The verdict on the depth of VGG follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.vgg_depth import CONFIGURATIONS, decide, depth, draw
from jaxcnn.models import VGG

NOISE = [0.2, -0.2, 0.1, -0.1]


def measured(batch, none):
    """Errors of A and E; those between are a fifth lower each, in the order of the configurations."""
    errors = {}
    for norm, (a, e) in {"batch": batch, "none": none}.items():
        names = CONFIGURATIONS[norm]
        means = {name: a + (e - a) * i / (len(names) - 1) for i, name in enumerate(names)}
        errors[norm] = {n: [mean + i + (n == "A") * x for i, x in enumerate(NOISE)] for n, mean in means.items()}
    return {"depths": {name: depth(VGG(name)) for name in "ABCDE"}, "test_errors": errors}


@pytest.mark.parametrize(
    ("batch", "none", "verdict"),
    [
        ((40, 36), (45, 41), "holds"),
        ((40, 36), (45, 80), "holds if the networks have batch normalization"),
        ((40, 40.2), (45, 41), "holds if the networks have no batch normalization"),
        ((40, 44), (45, 45.2), "does not hold"),
    ],
)
def test_depth_must_help_with_and_without_batch_normalization(batch, none, verdict, tmp_path):
    found = measured(batch, none)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(batch[0] - batch[1])
    assert f"changes by {batch[1] - batch[0]:+.1f} (" in decided.conditions
    assert f"by {none[1] - none[0]:+.1f} (" in decided.conditions
    assert f"{(batch[1] - batch[0]) / 4:+.1f} (" in decided.conditions.split("Step by step")[1]
    assert draw(found, tmp_path / "a.png").is_file()


def test_depths_are_those_of_table_1():
    assert [depth(VGG(name)) for name in "ABCDE"] == [11, 13, 16, 16, 19]
