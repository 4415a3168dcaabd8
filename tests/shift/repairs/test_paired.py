import numpy as np
import pytest
from scipy import stats

from jaxcnn.shift.repairs.paired import paired_difference


def table(both, gained, lost, neither):
    before = np.repeat([True, False, True, False], [both, gained, lost, neither])
    after = np.repeat([True, True, False, False], [both, gained, lost, neither])
    return before, after


def test_without_correlation_it_is_the_interval_of_independent_samples():
    """Newcombe's method 10 without pairs, from the two Wilson intervals."""
    difference, (low, high) = paired_difference(*table(25, 25, 25, 25))
    wilson = stats.binomtest(50, 100).proportion_ci(method="wilson")
    side = np.hypot(0.5 - wilson.low, wilson.high - 0.5)
    assert difference == 0 and (low, high) == pytest.approx((-side, side))


def test_pairs_narrow_the_interval():
    difference, (low, high) = paired_difference(*table(900, 20, 10, 70))
    _, (wide_low, wide_high) = paired_difference(*table(846, 74, 64, 16))
    assert difference == pytest.approx(0.01) and 0 < high - low < (wide_high - wide_low) / 2
    bootstrap = np.random.default_rng(0).multinomial(1000, [0.9, 0.02, 0.01, 0.07], 20_000)
    limits = np.quantile((bootstrap[:, 1] - bootstrap[:, 2]) / 1000, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(limits), abs=2e-3)


@pytest.mark.parametrize("counts", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0), (1, 0, 0, 0)])
def test_it_stays_within_bounds(counts):
    difference, (low, high) = paired_difference(*table(*counts))
    assert -1 <= low <= difference <= high <= 1 and low < high


def test_it_contains_the_truth_about_95_times_of_100():
    random, truth = np.random.default_rng(1), 0.15 - 0.05
    hits = []
    for counts in random.multinomial(80, [0.6, 0.15, 0.05, 0.2], 600):
        _, (low, high) = paired_difference(*table(*counts))
        hits.append(low <= truth <= high)
    assert 0.93 < np.mean(hits) < 0.98


def test_exchange_turns_the_interval_around():
    before, after = table(30, 9, 2, 5)
    difference, (low, high) = paired_difference(before, after)
    other, (other_low, other_high) = paired_difference(after, before)
    assert (other, other_low, other_high) == pytest.approx((-difference, -high, -low))
