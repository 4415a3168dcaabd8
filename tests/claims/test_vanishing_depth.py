"""The verdict on the decay with depth follows from hand-made decades, and the formula's derivative from numpy."""

import numpy as np
import pytest

from jaxcnn.claims.layer_gradients import initial_variables
from jaxcnn.claims.vanishing_depth import ARMS, decide, draw, exponents, network, squared_derivatives, straightness

DEPTHS = [2, 5, 10]


def measured(exponents, *, analytic=None, bend=0.0, seeds=5):
    """Decades of straight lines, one exponent for each arm; `bend` adds to the deepest stack of the first arm."""
    rows = {}
    for kind, slopes in (("measured", exponents), ("analytic", analytic or exponents)):
        rows[kind] = {
            arm: [[slope * (depth - 1) * (1 + 0.001 * seed) for seed in range(seeds)] for depth in DEPTHS]
            for arm, slope in zip(ARMS, slopes, strict=True)
        }
    rows["measured"]["sigmoid, 1"][-1] = [x + bend for x in rows["measured"]["sigmoid, 1"][-1]]
    return {"units": 8, "depths": DEPTHS, **rows}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (measured([-0.6, -0.2, -0.1, -0.02]), "holds"),
        (
            measured([-0.6, -0.2, 0.1, -0.02]),
            "holds if the weights have at most 4 times the deviation of Glorot and Bengio",
        ),
        (
            measured([-0.6, -0.2, -0.1, -0.02], analytic=[-0.5, -0.2, -0.1, -0.02]),
            "holds if only the decay is meant, not its analytic exponent",
        ),
        (measured([0.1, 0.2, 0.1, 0.1]), "does not hold"),
        (measured([-0.6, -0.2, -0.1, -0.02], bend=2), "does not hold"),
    ],
)
def test_a_gradient_vanishes_geometrically_along_a_straight_line(found, verdict, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(np.mean(exponents(found, "sigmoid, 1")))
    assert "of 8 units" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_exponent_is_the_slope_of_the_line_through_the_origin():
    found = measured([-0.6, -0.2, -0.1, -0.02])
    assert exponents(found, "sigmoid, 1") == pytest.approx([-0.6 * (1 + 0.001 * seed) for seed in range(5)])
    assert straightness(found, "sigmoid, 1") == pytest.approx(1)
    # Decades 1 and 0 at 1 and 4 layers more: the slope is 1 / 17, the residuals are 16 / 17 and 4 / 17.
    found |= {"depths": [2, 5], "measured": {"sigmoid, 1": [[1.0, 1.0], [0.0, 0.0]]}}
    assert exponents(found, "sigmoid, 1") == pytest.approx([1 / 17] * 2)
    assert straightness(found, "sigmoid, 1") == pytest.approx(1 - (16**2 + 4**2) / 17**2)


@pytest.mark.parametrize("activation", ["sigmoid", pytest.param("tanh", marks=pytest.mark.slow)])
def test_squared_derivatives_are_those_at_the_pre_activations(activation):
    batch = {"image": np.random.default_rng(0).normal(size=(6, 2, 2, 1)).astype(np.float32)}
    model = network(2, 3, activation, 4.0, 4)
    found = squared_derivatives(model, batch, [3])
    params, x = initial_variables(model, batch, 3)["params"], batch["image"].reshape(6, 4).astype(np.float64)
    for i, mean in enumerate(found[0], start=1):
        z = x @ np.asarray(params[f"fc{i}"]["kernel"], np.float64)
        x = 1 / (1 + np.exp(-z)) if activation == "sigmoid" else np.tanh(z)
        slope = x * (1 - x) if activation == "sigmoid" else 1 - x**2
        assert mean == pytest.approx(np.mean(slope**2), rel=1e-5)
