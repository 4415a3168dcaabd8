import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.shift.detectors.class_counts import chi_square, merge_sparse


def classes(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_the_statistic_is_the_sum_over_cells():
    found = chi_square(classes(30, 20, 10), classes(24, 16, 20))
    table = np.array([[30, 20, 10], [24, 16, 20]])
    expected = table.sum(0) / 2
    chi = ((table - expected) ** 2 / expected).sum()
    assert found.statistic == pytest.approx(chi)
    assert found.p == pytest.approx(stats.chi2.sf(chi, 2))
    assert found.effect == pytest.approx(np.sqrt(chi / 120))
    assert found.part == 2


def test_rare_classes_are_merged_instead_of_breaking_the_test():
    counts = np.array([[50, 45, 4, 1, 0], [45, 50, 0, 3, 2]])
    assert merge_sparse(counts).tolist() == [[5, 50, 45], [5, 45, 50]]
    found = chi_square(classes(*counts[0]), classes(*counts[1]))
    merged = stats.chi2_contingency([[50, 45, 5], [45, 50, 5]], correction=False)
    assert (found.statistic, found.p) == pytest.approx((merged.statistic, merged.pvalue))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.lists(st.integers(0, 30), min_size=8, max_size=8))
def test_merged_cells_are_large_enough_and_no_image_is_lost(a, b):
    counts = np.array([a, b[: len(a)]])
    if counts.sum(axis=1).min() == 0:
        return
    merged = merge_sparse(counts)
    assert merged.sum(axis=1).tolist() == counts.sum(axis=1).tolist()
    expected = np.outer(merged.sum(1), merged.sum(0)) / merged.sum()
    assert merged.shape[1] == 1 or expected.min() >= 5


def test_one_class_everywhere_is_no_alarm():
    found = chi_square(classes(40), classes(15))
    assert (found.statistic, found.p, found.effect) == (0.0, 1.0, 0.0)


def test_false_alarms_are_rare_and_other_shares_are_found():
    random = np.random.default_rng(0)
    pairs = random.integers(0, 10, size=(200, 2, 60))
    assert sum(chi_square(*pair).shifted for pair in pairs) <= stats.binom.ppf(0.995, 200, 0.05)
    shifted = [(a, np.where(random.random(60) < 0.5, 3, b)) for a, b in pairs]
    found = [chi_square(*pair) for pair in shifted]
    assert sum(each.shifted and each.part == 3 for each in found) >= 190
