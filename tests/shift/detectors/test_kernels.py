import itertools

import numpy as np
import pytest
from scipy import stats

from jaxcnn.shift.detectors.kernels import _estimates, gaussian_kernel, maximum_mean_discrepancy


def by_loops(source, target):
    """The unbiased estimate, pair by pair."""
    pooled = [*source, *target]
    width = np.median([np.sum((a - b) ** 2) for a, b in itertools.combinations(pooled, 2)])

    def mean(pairs):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / width) for a, b in pairs])

    within = mean(itertools.permutations(source, 2)) + mean(itertools.permutations(target, 2))
    return within - 2 * mean(itertools.product(source, target))


@pytest.mark.parametrize(("n", "m", "shift"), [(12, 12, 0.0), (10, 15, 0.5), (14, 11, 3.0)])
def test_the_statistic_is_that_of_loops_over_pairs(n, m, shift):
    random = np.random.default_rng(n)
    source, target = random.normal(size=(n, 4)), random.normal(shift, size=(m, 4))
    found = maximum_mean_discrepancy(source, target)
    # The samples are shuffled before they are compared, which changes nothing but the order of sums.
    assert found.statistic == pytest.approx(by_loops(source, target), abs=1e-5)
    assert found.effect == pytest.approx(max(found.statistic, 0) ** 0.5)


def test_every_permutation_is_an_estimate_of_its_own():
    random = np.random.default_rng(3)
    features = random.normal(size=(21, 3))
    picked = np.stack([random.permutation(np.arange(21) < 9) for _ in range(6)], axis=1).astype(np.float32)
    found = np.asarray(_estimates(gaussian_kernel(features), picked))
    expected = [by_loops(features[column == 1], features[column == 0]) for column in picked.T]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_p_value_is_never_zero_and_its_smallest_is_one_over_the_number_of_splits():
    random = np.random.default_rng(0)
    found = maximum_mean_discrepancy(random.normal(size=(20, 3)), random.normal(9, size=(20, 3)), permutations=99)
    assert found.p == 0.01 and found.shifted


def test_false_alarms_have_the_level_of_the_test():
    random = np.random.default_rng(2)
    pool = random.normal(size=(200, 2, 20, 5))
    alarms = sum(maximum_mean_discrepancy(*pair, permutations=99, seed=i).shifted for i, pair in enumerate(pool))
    low, high = stats.binom.interval(0.99, 200, 0.05)
    assert low <= alarms <= high


def test_a_small_change_of_every_feature_is_found_better_than_by_single_features():
    """With 32 features moved by 0.25, no single one is significant after Bonferroni's correction."""
    random = np.random.default_rng(4)
    source, target = random.normal(size=(150, 32)), random.normal(0.25, size=(150, 32))
    assert maximum_mean_discrepancy(source, target).p < 0.01


def test_images_beyond_the_limit_are_left_out():
    random = np.random.default_rng(5)
    found = maximum_mean_discrepancy(random.normal(size=(50, 2)), random.normal(size=(20, 2)), limit=30)
    assert (found.source, found.target) == (30, 20)


def test_samples_most_of_which_are_equal_have_a_kernel():
    features = np.zeros((20, 2))
    features[:3] = 1
    kernel = gaussian_kernel(features)
    # The median of the squared distances is 0; their mean is 51 * 2 / 190, for 190 pairs.
    assert kernel[4, 5] == 1 and kernel[0, 5] == pytest.approx(np.exp(-190 / 51))
