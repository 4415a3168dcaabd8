import numpy as np
import pytest

from jaxcnn.shift.repairs.collapse import effective_classes, has_collapsed


def test_effective_classes_of_known_histograms():
    assert effective_classes(np.repeat([0, 1, 5, 9], 7)) == pytest.approx(4)
    assert effective_classes(np.full(9, 3)) == 1
    assert effective_classes(np.array([0, 0, 0, 1])) == pytest.approx(4 / 3**0.75)


def test_a_collapse_is_measured_against_what_the_target_allows():
    all_classes, two, one = np.arange(100) % 10, np.arange(100) % 2, np.zeros(100, int)
    assert has_collapsed(all_classes, one) and has_collapsed(all_classes, two)
    assert not has_collapsed(all_classes, np.arange(100) % 6)
    assert not has_collapsed(two, two) and not has_collapsed(one, one)
