"""Intervals and p-values equal those of scipy, and Holm's correction a published example."""

import numpy as np
import pytest
from scipy import stats

from jaxcnn.claims.estimates import Estimate, difference, holm, mean_interval, negligible, p_value, ratio

A, B = [3.0, 5.0, 4.0, 6.5], [1.0, 2.0, 4.0, 3.0]


def test_intervals_are_those_of_scipy():
    low, high = stats.t.interval(0.95, 3, loc=np.mean(A), scale=stats.sem(A))
    assert mean_interval(A) == pytest.approx((np.mean(A), low, high))
    found = stats.ttest_rel(A, B).confidence_interval(0.9)
    assert difference(A, B, level=0.9)[1:] == pytest.approx(tuple(found))


def test_a_ratio_is_the_geometric_mean_with_an_interval_in_logarithms():
    logs = mean_interval(np.log(np.divide(A, B)).tolist())
    assert ratio(A, B) == pytest.approx(np.exp(logs))


def test_the_p_value_is_that_of_scipy_also_without_a_spread():
    assert p_value(A, B) == pytest.approx(stats.ttest_rel(A, B).pvalue)
    assert p_value([2.0, 3.0], [1.0, 2.0]) == 0.0 and p_value(A, A) == 1.0


def test_holm_multiplies_by_the_number_of_hypotheses_that_remain_and_keeps_the_order():
    # 0.01 * 4, 0.02 * 3 (raised to the previous 0.06 where smaller), 0.022 * 2 -> 0.06, 0.09 * 1.
    assert holm({"a": 0.022, "b": 0.01, "c": 0.09, "d": 0.02}) == pytest.approx(
        {"a": 0.06, "b": 0.04, "c": 0.09, "d": 0.06}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_an_estimate_is_written_with_its_interval_and_negated_with_it():
    estimate = Estimate(1.25, -0.5, 3.0)
    assert f"{estimate:+.1f}" == "+1.2 (-0.5 to +3.0)" and f"{-estimate:.2f}" == "-1.25 (-3.00 to 0.50)"
    assert -difference(A, B) == pytest.approx(difference(B, A))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-2.0, 0.9, "holds"),
        (0.1, 0.9, "holds"),
        (0.1, 1.1, "does not hold"),
        (-2.0, 1.1, "holds if a gain of up to 1.1 points does not count"),
    ],
)
def test_an_effect_is_negligible_if_its_interval_ends_below_the_margin(low, high, verdict):
    assert negligible(Estimate((low + high) / 2, low, high), 1.0, "a gain") == verdict
