"""The verdict on the learning rates that batch normalization allows follows from hand-made losses by the rule."""

import pytest

from jaxcnn.claims.batch_norm_rates import CLAIM, decide, highest

RATES = [0.01, 0.1, 1.0, 10.0]


def measured(none, batch, seeds=5):
    """Losses by rate, equal for all seeds."""
    return {"rates": RATES, "losses": {"none": [[x] * seeds for x in none], "batch": [[x] * seeds for x in batch]}}


def test_a_rate_trains_up_to_half_the_way_to_guessing():
    # Half way between 0.3 and ln 10 = 2.303 is 1.301.
    assert highest(measured([0.3, 1.30, 1.31, None], [1] * 4), "none") == [0.1] * 5


def test_the_claim_holds_where_the_plain_network_diverges():
    verdict = decide(measured([0.5, 0.4, None, None], [0.5, 0.4, 0.3, 2.5]))
    assert verdict.verdict == "holds"
    assert verdict.effect == pytest.approx(10) and verdict.interval == pytest.approx((10, 10))
    assert "is 0.1 without and 1 with it" in verdict.conditions
    assert "At 1, 5 of 5 runs without it diverge and 0 stall; with it the mean loss is 0.30." in verdict.conditions
    assert "not tried" not in verdict.conditions


def test_the_claim_does_not_hold_if_both_train_at_the_same_rates():
    verdict = decide(measured([0.5, 0.4, 0.3, 0.2], [0.5, 0.4, 0.3, 0.2]))
    assert verdict.verdict == "does not hold" and verdict.effect == pytest.approx(1)
    assert verdict.conditions.endswith("Higher rates were not tried.")


def test_the_claim_does_not_hold_if_the_seeds_disagree():
    losses = measured([0.5, 0.4, None, None], [0.5, 0.4, None, None])
    losses["losses"]["batch"][2] = [0.3, None, None, None, None]
    verdict = decide(losses)
    assert verdict.verdict == "does not hold" and verdict.interval[0] < 1 < verdict.effect
    assert CLAIM.decide is decide
