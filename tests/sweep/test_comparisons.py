import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.sweep.comparisons import deviation, paired_difference, paired_differences, t_interval

VALUES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8)


@given(VALUES)
def test_the_interval_is_that_of_scipy(values):
    sd = np.std(values, ddof=1)
    assert deviation(values) == pytest.approx(sd, abs=1e-12)
    low, high = t_interval(values)
    if sd > 1e-9:
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (low, high) == pytest.approx(expected, abs=1e-9)
    else:
        assert low == high == pytest.approx(values[0])


def test_one_value_has_no_interval_and_none_has_no_deviation():
    assert t_interval([0.3]) is None and t_interval([]) is None
    assert deviation([0.3]) is None and deviation([]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_the_difference_is_that_of_a_paired_t_test(pairs):
    a, b = (dict(enumerate(values)) for values in zip(*pairs, strict=True))
    differences = np.subtract(*zip(*pairs, strict=True))
    found = paired_difference(a, b)
    assert found.pairs == len(pairs) and found.mean == pytest.approx(differences.mean(), abs=1e-12)
    if np.ptp(differences) > 1e-6:
        test = stats.ttest_rel([*a.values()], [*b.values()])
        assert found.p == pytest.approx(test.pvalue, abs=1e-9)
        assert found.interval == pytest.approx([*test.confidence_interval()], abs=1e-9)


def test_only_seeds_of_both_arms_are_paired():
    found = paired_difference({0: 5.0, 1: 3.0, 7: 100.0}, {1: 1.0, 0: 4.0, 9: -100.0})
    assert (found.mean, found.pairs) == (1.5, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_pair_has_neither_interval_nor_test():
    found = paired_difference({0: 0.5}, {0: 0.25})
    assert (found.mean, found.interval, found.p, found.p_holm, found.pairs) == (0.25, None, None, None, 1)


def test_equal_differences_have_an_interval_of_width_zero_and_no_test():
    # 0.03 - 0.02 and 0.02 - 0.01 differ by a rounding error.
    found = paired_difference({0: 0.03, 1: 0.02}, {0: 0.02, 1: 0.01})
    low, high = found.interval
    assert low == high == pytest.approx(0.01)
    assert found.p is None and found.p_holm is None
    assert paired_difference({0: 0.1, 1: 0.2}, {0: 0.1, 1: 0.2}).interval == (0.0, 0.0)


def test_the_correction_counts_the_comparisons_that_were_tested():
    baseline = {0: 1.0, 1: 2.0, 2: 4.0}
    arms = [{0: 1.1, 1: 2.3, 2: 4.2}, {0: 2.0}, {0: 3.0, 1: 1.0, 2: 9.0}, {5: 1.0}]
    found = paired_differences(arms, baseline)
    assert found[3] is None and found[1].p_holm is None
    smaller, larger = sorted((found[0], found[2]), key=lambda each: each.p)
    assert smaller.p_holm == pytest.approx(2 * smaller.p)
    assert larger.p_holm == pytest.approx(max(larger.p, 2 * smaller.p))
    assert not math.isnan(larger.p)
