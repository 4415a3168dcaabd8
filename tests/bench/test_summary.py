"""Medians, quartiles and ratios."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.bench.summary import quartiles, speed_ratio, summarize


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30))
def test_quartiles_are_numpys(values):
    np.testing.assert_allclose(quartiles(values), np.percentile(values, (25, 50, 75)), rtol=1e-9)


def test_a_summary_by_hand():
    found = summarize([[2.0, 4.0, 4.0], [8.0], [4.0]], images=10, operations=2e9, peak_gflops=1000.0)
    assert found["milliseconds"] == 4.0 and found["quartiles"] == [4.0, 4.0] and found["steps"] == 5
    assert found["round_milliseconds"] == [4.0, 8.0, 4.0]
    assert found["images_per_second"] == 2500.0
    assert found["gflops"] == pytest.approx(500.0) and found["utilization"] == pytest.approx(0.5)


def test_a_ratio_is_of_medians_and_its_spread_of_rounds():
    def summary(*rounds):
        return summarize([[t] for t in rounds], images=1, operations=1.0, peak_gflops=1.0)

    # The machine was slow in the second round, for both; ours needed a fourth alone.
    found = speed_ratio(summary(2.0, 20.0, 2.0, 1.0), summary(3.0, 30.0, 5.0))
    assert found == {"ratio": 2.5, "quartiles": [1.5, 2.0], "rounds": 3}
