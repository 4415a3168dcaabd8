"""The verdict on initializations follows from hand-made gradients and losses by the rule."""

import math

import numpy as np
import pytest

from jaxcnn.claims.he_initialization import decide, draw, kept, stalled

TRAINS, STALLS = [2.3, 1.0, 0.4], [2.3, 2.3, 2.3]


def measured(he, glorot, he_loss=TRAINS, glorot_loss=STALLS, seeds=5):
    """Gradients of three layers, where the first has this share of the last."""
    gradients = {
        arm: [[share * 1.01**seed, 0.5, 1.0] for seed in range(4 * seeds)]
        for arm, share in (("he", he), ("glorot", glorot))
    }
    return {
        "gradients": gradients,
        "learning_rates": {"he": 0.01, "glorot": 1.0},
        "steps": [10, 20, 30],
        "last_epoch": 1,
        "losses": {"he": [he_loss] * seeds, "glorot": [glorot_loss] * seeds},
        "test_errors": {"he": [5.0] * seeds, "glorot": [90.0] * seeds},
        "tuning": {arm: {"rates": [0.001, 0.01], "errors": [0.8, None]} for arm in ("he", "glorot")},
    }


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (measured(0.9, 1e-4), "holds"),
        (
            measured(0.9, 1e-4, glorot_loss=TRAINS),
            "holds if only the gradient at the initial weights is meant, not the training",
        ),
        (measured(0.9, 0.9), "holds if only the training is meant, not the gradient at the initial weights"),
        (measured(3.0, 1e-4), "holds if only the training is meant, not the gradient at the initial weights"),
        (measured(3.0, 1e-4, he_loss=STALLS), "does not hold"),
    ],
)
def test_the_claim_needs_the_gradients_and_the_training(found, verdict, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(found["gradients"]["he"][0][0] * 1.01**9.5)
    assert "Over 3 hidden layers" in decided.conditions
    assert "with Glorot's at 1 " in decided.conditions
    assert "(of the rates from 0.001 to 0.01 none has a validation error below 80 %)." in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_a_run_stalls_near_guessing_or_if_it_diverges(tmp_path):
    found = measured(0.9, 1e-4)
    found["losses"]["glorot"] = [[2.3, 2.3, 0.91 * math.log(10)], [2.3, 2.3, 0.89 * math.log(10)], None, None, None]
    assert stalled(found, "glorot") == 4 and stalled(found, "he") == 0
    found["losses"]["glorot"] = [None] * 5
    assert stalled(found, "glorot") == 5
    assert draw(found, tmp_path / "a.png").is_file()


def test_a_gradient_of_zero_is_not_kept():
    found = measured(0.9, 0.0)
    assert kept(found, "glorot").mean == pytest.approx(float(np.finfo(np.float32).tiny))
