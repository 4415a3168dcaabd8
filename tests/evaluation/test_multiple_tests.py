import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.evaluation.multiple_tests import holm

P_VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8)


def test_holm_of_a_worked_example():
    # The smallest of four is multiplied by 4, the next by 3, and so on; none falls below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.8, None]) == [1.0, 1.0, None]
    assert holm([]) == [] and holm([0.02]) == [0.02]


@given(P_VALUES)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    rejected, tested = set(), [(p, i) for i, p in enumerate(p_values) if p is not None]
    for rank, (p, i) in enumerate(sorted(tested)):
        if p > 0.05 / (len(tested) - rank):
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p is not None and p <= 0.05 + 1e-12} >= rejected
    assert {i for i, p in enumerate(holm(p_values)) if p is not None and p <= 0.05 - 1e-12} <= rejected


@given(P_VALUES, st.randoms())
def test_holm_does_not_depend_on_the_order(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]) == [holm(p_values)[i] for i in order]
