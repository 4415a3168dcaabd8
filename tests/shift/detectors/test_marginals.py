import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.shift.detectors.marginals import distribution_distances, kolmogorov_smirnov


@settings(max_examples=30)
@given(st.integers(10, 40), st.integers(10, 40), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_it_is_scipys_test_of_every_feature_also_with_ties(n, m, d, ties, seed):
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(n, d)), random.normal(0.3, size=(m, d))
    if ties:
        # As after a ReLU: many values are exactly 0.
        source, target = np.maximum(source, 0).round(1), np.maximum(target, 0).round(1)
    expected = stats.ks_2samp(source, target, axis=0, method="asymp")
    np.testing.assert_allclose(distribution_distances(source, target), expected.statistic, atol=1e-12)
    found = kolmogorov_smirnov(source, target)
    assert found.statistic == found.effect == pytest.approx(expected.statistic.max())
    assert expected.statistic[found.part] == pytest.approx(expected.statistic.max())
    assert found.p == pytest.approx(min(1, d * expected.pvalue.min()))


def test_relu_features_without_a_shift_are_not_called_different():
    """An implementation that ignores ties gives D = 0.5 here, the share of zeros."""
    source, target = np.maximum(np.random.default_rng(0).normal(size=(2, 400, 8)), 0)
    found = kolmogorov_smirnov(source, target)
    assert found.statistic < 0.12 and found.p > 0.05 and not found.shifted


def test_false_alarms_are_rare_and_a_change_of_one_feature_in_ten_is_found():
    random = np.random.default_rng(1)
    pool = random.normal(size=(100, 2, 50, 10))
    alarms = sum(kolmogorov_smirnov(*pair).shifted for pair in pool)
    assert alarms <= stats.binom.ppf(0.995, 100, 0.05)
    pool[:, 1, :, 4] += 1.5
    found = [kolmogorov_smirnov(*pair) for pair in pool]
    assert all(each.shifted and each.part == 4 for each in found)
