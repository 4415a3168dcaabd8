"""Intervals and p-values equal those of scipy."""

import numpy as np
import pytest
from scipy import stats

from jaxcnn.claims.estimates import Estimate, difference, holm_p_values, mean_interval, negligible, ratio

A, B, C = [3.0, 5.0, 4.0, 6.5], [1.0, 2.0, 4.0, 3.0], [2.0, 5.5, 3.5, 7.0]


def test_intervals_are_those_of_scipy():
    low, high = stats.t.interval(0.95, 3, loc=np.mean(A), scale=stats.sem(A))
    assert mean_interval(A) == pytest.approx((np.mean(A), low, high))
    assert difference(A, B)[1:] == pytest.approx(tuple(stats.ttest_rel(A, B).confidence_interval()))


def test_a_ratio_is_the_geometric_mean_with_an_interval_in_logarithms():
    logs = mean_interval(np.log(np.divide(A, B)).tolist())
    assert ratio(A, B) == pytest.approx(np.exp(logs))


def test_p_values_of_pairs_are_corrected_for_their_number():
    one, two = (stats.ttest_rel(A, other).pvalue for other in (B, C))
    assert one < two
    assert holm_p_values({"b": (A, B), "c": (A, C)}) == pytest.approx({"b": 2 * one, "c": max(two, 2 * one)})


def test_p_values_of_equal_differences_are_0_or_1():
    assert holm_p_values({"same": (A, A), "moved": (A, [x - 1 for x in A])}) == {"same": 1.0, "moved": 0.0}


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
