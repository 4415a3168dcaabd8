"""The verdict on remedies follows from hand-made decades and errors by the rule."""

import pytest

from jaxcnn.claims.vanishing_remedies import NETWORKS, decide, draw, per_layer
from jaxcnn.models import PlainNet

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(decades, errors):
    """Decades of sigmoid networks with 20 layers and test errors, for neither, batch norm, skips and both."""
    arms = ("none", "batch", "skip", "both")
    sigmoid = dict(zip(arms, decades, strict=True)) | {"scaled": 0.1, "post": -9.0}
    relu = {"none": 0.0, "batch": 1.0, "skip": 0.5, "both": 0.25, "scaled": 0.125, "post": 0.0}
    return {
        "depth": 20,
        "depths": [10, 20, 50],
        "decades": {
            activation: {
                name: [[factor * x + n / 10 for n in NOISE] for factor in (0.5, 1, 2.5)] for name, x in each.items()
            }
            for activation, each in (("sigmoid", sigmoid), ("relu", relu))
        },
        "learning_rates": dict.fromkeys(arms, 0.1),
        "test_errors": {arm: [x + n for n in NOISE] for arm, x in zip(arms, errors, strict=True)},
    }


@pytest.mark.parametrize(
    ("decades", "errors", "verdict"),
    [
        ((-12, -0.3, 0.4, 0.2), (90, 8, 9, 7), "holds"),
        ((-12, 1.3, 0.4, 0.2), (90, 8, 9, 7), "holds if the remedy is skips or both"),
        ((-12, -0.3, 0.4, -2.0), (90, 8, 9, 7), "holds if the remedy is batch norm or skips"),
        ((-12, -0.3, 0.4, 0.2), (90, 8, 90, 91), "holds if the remedy is batch norm"),
        ((-12, -2, 2, -2), (90, 8, 9, 7), "does not hold"),
    ],
)
def test_a_remedy_keeps_the_gradient_and_lowers_the_error(decades, errors, verdict, tmp_path):
    found = measured(decades, errors)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(errors[0] - errors[3])
    assert "+1.0 with batch normalization alone (a layer multiplies the gradient by 1.12)" in decided.conditions
    assert "follows the sum the skips leave -9.0 powers of ten" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_factor_of_a_layer_is_that_between_the_shallowest_and_the_deepest():
    # From 0.5 to 2.5 decades over 40 layers.
    assert per_layer(measured((-12, 0, 0, 0), (90, 8, 9, 7)), "relu", "batch") == pytest.approx(10 ** (2 / 40))


@pytest.mark.parametrize("fields", NETWORKS.values(), ids=NETWORKS)
def test_every_network_has_its_last_hidden_layer(fields):
    layers = PlainNet(20, 8, "sigmoid", "glorot", kind="dense", **{"norm": "none"} | fields).layers()
    inner = [part for layer in layers for branch in layer.branches() for part in branch]
    assert {"fc1", "fc19"} <= {layer.name for layer in (*layers, *inner)}
