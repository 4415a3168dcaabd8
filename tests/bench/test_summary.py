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
    peaks = [1000.0, 250.0, 2000.0, 1.0]  # A peer took part in a fourth round.
    found = summarize([[2.0, 4.0, 4.0], [8.0], [4.0]], images=10, operations=2e9, peaks=peaks)
    assert found["milliseconds"] == 4.0 and found["quartiles"] == [4.0, 4.0] and found["steps"] == 5
    assert found["round_milliseconds"] == [4.0, 8.0, 4.0]
    assert found["images_per_second"] == 2500.0
    assert found["gflops"] == pytest.approx(500.0)
    # The speeds are 500, 250 and 500 billion operations per second, each relative to the peak of its own round.
    assert found["utilization"] == pytest.approx(0.5) and found["round_peak_gflops"] == peaks[:3]


def test_a_library_at_the_peak_of_a_machine_that_slows_down_never_exceeds_it():
    peaks = [200.0, 200.0, 200.0, 100.0, 100.0]
    found = summarize([[1e3 / peak] for peak in peaks], images=1, operations=1e9, peaks=peaks)
    assert found["utilization"] == pytest.approx(1.0)


def _summary(rounds):
    return summarize([[t] for t in rounds], images=1, operations=1.0, peaks=[1.0] * len(rounds))


def test_a_ratio_and_its_spread_are_of_paired_rounds():
    # The machine was slow in the second round for both; only ours had a fourth round.
    found = speed_ratio(_summary([2.0, 20.0, 2.0, 1.0]), _summary([3.0, 30.0, 5.0]))
    assert found == {"ratio": 1.5, "quartiles": [1.5, 2.0], "rounds": 3}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=1, max_size=30))
def test_a_ratio_lies_within_its_quartiles(times):
    ours, peer = zip(*times, strict=True)
    found = speed_ratio(_summary(ours), _summary(peer))
    low, median, high = np.percentile(np.divide(peer, ours), (25, 50, 75))
    np.testing.assert_allclose([*found["quartiles"], found["ratio"]], [low, high, median], rtol=1e-9)
    assert found["quartiles"][0] <= found["ratio"] <= found["quartiles"][1]
