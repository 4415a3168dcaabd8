"""Weights are ratios of densities, models are fitted with them, and the verdict follows from hand-made errors."""

import numpy as np
import pytest
from scipy import stats

from jaxcnn.claims.importance_weighting import (
    CENTRE,
    MODELS,
    WEIGHTS,
    classes,
    decide,
    draw,
    exact_weights,
    faded,
    fitted,
    problem,
    trained,
)

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(line, parabola, net, early=8.0):
    """Mean errors of every model without weights, with exact and with estimated ones, and the gain of the network at
    the first readings."""
    errors = {
        model: {
            kind: [mean + NOISE[(i + place) % 5] for i in range(5)]
            for place, (kind, mean) in enumerate(zip(WEIGHTS, means, strict=True))
        }
        for model, means in zip(MODELS, (line, parabola, net), strict=True)
    }
    curves = {
        kind: [[30 - early * (kind != "none") + x, end + x, end] for x, end in zip(NOISE, ends, strict=True)]
        for kind, ends in errors["network"].items()
    }
    return {
        "count": 500,
        "errors": errors,
        "epochs": [1, 10, 100],
        "network": curves,
        "network_source": {kind: [[20.0, 10.0, 0.0]] * 5 for kind in WEIGHTS},
        "lines": {kind: [1.0, 0.5, 2.0] for kind in WEIGHTS},
        "effective": {kind: [0.1] * 5 for kind in WEIGHTS},
    }


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        (((30, 20, 21), (5, 3, 3), (9, 7, 7)), "holds"),
        (((30, 20, 21), (5, 5, 5), (9, 9, 9)), "holds if the model is misspecified"),
        (((30, 20, 21), (5, 5, 5), (9, 7, 7)), "holds if the model is a straight line or an overparameterized network"),
        # A gain below the margin, or with one kind of weights only.
        (((30, 29.7, 29.7), (5, 5, 5), (9, 9, 9)), "does not hold"),
        (((30, 20, 31), (5, 5, 5), (9, 9, 9)), "does not hold"),
    ],
)
def test_both_kinds_of_weights_must_lower_the_error(errors, verdict, tmp_path):
    found = measured(*errors)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(errors[0][0] - errors[0][1])
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_effect_on_the_network_fades_if_it_is_smaller_at_the_end():
    same = ((30, 20, 21), (5, 5, 5), (9, 9, 9))
    assert faded(measured(*same)).low > 0 and ", which fades." in decide(measured(*same)).conditions
    kept = measured((30, 20, 21), (5, 5, 5), (17, 9, 9))
    assert ", which does not fade significantly." in decide(kept).conditions


def test_exact_weights_are_the_ratio_of_the_densities():
    points = np.random.default_rng(0).normal(size=(50, 2))
    source, target = (stats.multivariate_normal((x, 0)).pdf(points) for x in (-CENTRE, CENTRE))
    np.testing.assert_allclose(exact_weights(points), target / source)
    found = problem(0, 400, 100)
    assert [w.mean() for w in found.weights.values()] == pytest.approx([1, 1, 1])
    assert np.corrcoef(np.log(found.weights["exact"]), np.log(found.weights["estimated"]))[0, 1] > 0.8
    np.testing.assert_array_equal(classes(np.array([[0, -0.8], [0, -0.7], [2, 1.2], [-2, 1.3]])), [0, 1, 0, 1])


def test_a_parabola_fits_both_and_a_line_only_what_is_weighted():
    found = problem(1, 1000, 2000)
    assert fitted("parabola", found, "none")[0] < 2
    without, weighted = (fitted("line", found, kind)[1] for kind in ("none", "exact"))
    # The border rises with x1 on the target and falls on the source.
    assert -without[1] / without[2] < 0 < -weighted[1] / weighted[2]


def test_networks_of_the_same_seed_differ_only_by_their_weights():
    found = problem(0, 50, 60)
    plain = found._replace(weights=dict.fromkeys(WEIGHTS, np.ones(50)))
    target, source = trained([plain, found], (1, 300))
    assert target.shape == source.shape == (2, 3, 2)
    np.testing.assert_array_equal(target[0, 0], target[0, 1])
    assert not np.array_equal(target[1, 0], target[1, 1])
    assert source[0, 0, 1] < 5
