"""Which layer saturates first follows from hand-made shares by the rule."""

import jax
import numpy as np
import pytest

from jaxcnn.claims.saturation_order import LAYERS, beyond_chance, decide, draw, first_saturated, network

LAST = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.05, 0.3], [0.0, 0.2, 0.1]]
FIRST = LAST[::-1]
NONE = [[0.0, 0.05, 0.09]] * LAYERS


def measured(sigmoid, tanh, runs=5):
    return {
        "learning_rates": {"sigmoid": 0.3, "tanh": 0.03},
        "steps": {"sigmoid": [50.0, 150.0, 250.0], "tanh": [50.0, 150.0, 250.0]},
        "saturated": {"sigmoid": sigmoid, "tanh": tanh},
        "runs": runs,
        "test_errors": {"sigmoid": [10.0] * runs, "tanh": [5.0] * runs},
    }


@pytest.mark.parametrize(
    ("sigmoid", "tanh", "verdict", "effect"),
    [
        ([LAST] * 5, [FIRST] * 5, "holds", 1.0),
        ([LAST] * 4 + [NONE], [FIRST] * 5, "holds", 0.9),
        ([LAST] * 3 + [FIRST] * 2, [FIRST] * 5, "holds if units are tanh", 0.8),
        ([LAST] * 5, [LAST] * 5, "holds if units are sigmoid", 0.5),
        ([NONE] * 5, [], "does not hold", 0.0),
    ],
)
def test_most_runs_must_saturate_in_the_order_of_the_paper(sigmoid, tanh, verdict, effect, tmp_path):
    found = measured(sigmoid, tanh)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(effect)
    assert draw(found, tmp_path / "a.png").is_file()


def test_conditions_name_the_layers_and_their_largest_shares():
    text = decide(measured([LAST] * 3 + [NONE] * 2, [FIRST] * 5)).conditions
    assert "the first such layer is layer 4 in 3 of 5 runs, none in 2 of 5 runs; the layers reach at most" in text
    assert (
        "With tanh at 0.03 the first such layer is layer 1 in 5 of 5 runs; the layers reach at most 20, 30, 0, 0 %"
        in text
    )


def test_the_first_layer_is_the_earliest_and_then_the_largest():
    assert first_saturated(LAST) == 4 and first_saturated(FIRST) == 1 and first_saturated(NONE) is None
    assert first_saturated([[0.1], [0.3], [0.2], [0.0]]) == 2


def test_four_of_five_runs_are_beyond_chance_and_three_are_not():
    assert beyond_chance(4, 5) and not beyond_chance(3, 5)


@pytest.mark.slow
def test_initial_weights_have_a_third_of_the_variance_of_lecuns():
    model = network(100, "tanh", 300)
    params = model.init(jax.random.key(0), np.zeros((1, 10, 30, 1), np.float32), train=False)["params"]
    for name, inputs in (("fc1", 300), ("fc2", 100), ("output", 100)):
        assert np.var(params[name]["kernel"]) == pytest.approx(1 / (3 * inputs), rel=0.2)
