"""The verdict on both shifts follows from hand-made quantities, and a layer's distance is that of its inputs."""

import jax
import numpy as np
import pytest

from jaxcnn import shift
from jaxcnn.claims.shift_internal import QUANTITIES, agreement, decide, draw, layer_distances
from jaxcnn.layers import Activation, Dense, Flatten
from jaxcnn.models import Chain

NOISE = [0.02, -0.02, 0.01, -0.01, 0.0]


def measured(*ratios):
    """The gradient and the inputs per update, the inputs and the lost accuracy under corruptions, each with batch
    normalization as a multiple of without."""
    none = [dict.fromkeys(QUANTITIES, 2.0) for _ in NOISE]
    batch = [dict(zip(QUANTITIES, (2 * x * (1 + n) for x in ratios), strict=True)) for n in NOISE]
    return {
        "quantities": {"none": none, "batch": batch},
        "test_errors": {"none": [3.0] * 5, "batch": [2.0] * 5},
        "rates": {"none": 0.1, "batch": 0.3},
    }


GRADIENT, INPUTS = "a layer's gradient per update", "a layer's inputs per update"


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.5, 0.5, 0.5, 0.5), "holds"),
        ((0.5, 0.5, 2.0, 2.0), "does not hold"),
        ((2.0, 2.0, 0.5, 0.5), "does not hold"),
        ((2.0, 2.0, 2.0, 2.0), "does not hold"),
        (
            (2.0, 0.5, 0.5, 2.0),
            f"holds if only {INPUTS} and a layer's inputs on corrupted images are meant",
        ),
        (
            (0.5, 0.5, 2.0, 0.5),
            f"holds if only {GRADIENT} and the accuracy lost on corrupted images, or {INPUTS} and the accuracy lost on "
            "corrupted images are meant",
        ),
    ],
)
def test_what_reduces_one_shift_must_reduce_the_other(ratios, verdict, tmp_path):
    found = measured(*ratios)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(ratios[3], rel=0.01)
    assert draw(found, tmp_path / "a.png").is_file()


def test_pairs_of_which_none_is_reduced_say_nothing():
    assert agreement(measured(2.0, 2.0, 2.0, 2.0)) == {}
    assert agreement(measured(2.0, 0.5, 0.5, 2.0)) == {
        ("gradients", "distance"): False,
        ("inputs", "distance"): True,
        ("inputs", "loss"): False,
    }


def test_what_cannot_be_compared_is_unknown(tmp_path):
    found = measured(0.5, 0.5, 0.5, 0.5)
    for row in found["quantities"]["none"]:
        row["loss"] = -1.0
    decided = decide(found)
    assert decided.effect is None and "the accuracy lost on corrupted images unknown" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()
    found["quantities"]["batch"] = [None] * 5
    assert decide(found).verdict == "does not hold" and draw(found, tmp_path / "a.png").is_file()


def test_the_distance_is_that_of_the_inputs_in_evaluation():
    random = np.random.default_rng(0)
    images, others = (random.uniform(size=(40, 2, 3, 1)).astype(np.float32) * scale for scale in (1, 1.5))
    hidden = (Dense(5, name="fc1"), Activation("tanh", name="act"))
    model = Chain((Flatten(name="flatten"), *hidden, Dense(10, name="output")))
    variables = model.init(jax.random.key(0), images, train=False)
    network = shift.Network(model, variables)
    first = variables["params"]["fc1"]
    a, b = (
        np.tanh(x.reshape(40, -1) @ np.asarray(first["kernel"]) + np.asarray(first["bias"])) for x in (images, others)
    )
    moved = np.square((b.mean(0) - a.mean(0)) / a.std(0)) + np.square((b.std(0) - a.std(0)) / a.std(0))
    np.testing.assert_allclose(layer_distances(network, images, others), [np.sqrt(moved.mean())], rtol=1e-4)
    assert layer_distances(network, images, images) < 1e-6
