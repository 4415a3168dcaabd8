"""The verdict on the forms of weight decay follows from hand-made errors and norms by the rule."""

import pytest

from jaxcnn.claims.weight_decay_forms import ARMS, decide, draw, same

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(norms, errors=None):
    """Norms of kernels and test errors by arm; by default the norm is 10 and the error 40 %."""
    norms, errors = dict.fromkeys(ARMS, 10.0) | norms, dict.fromkeys(ARMS, 40.0) | (errors or {})
    values = {arm: [e + i + NOISE[(i + p) % 5] for i in range(5)] for p, (arm, e) in enumerate(errors.items())}
    return {
        "test_errors": values,
        "nll": {arm: [x / 20 for x in row] for arm, row in values.items()},
        "norms": {
            arm: [x and x * (1 + (i + NOISE[(i + p) % 5]) / 100) for i in range(5)]
            for p, (arm, x) in enumerate(norms.items())
        },
        "learning_rate": 0.03,
    }


DIVIDED = "the coefficient of decoupled decay is divided by 1 - momentum, 0.1"


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [
        ({}, "holds"),
        ({"decoupled": 15}, f"holds if {DIVIDED}"),
        ({"decoupled": 15, "matched": 8}, "holds if only L2 and Krizhevsky's rule are meant"),
        ({"krizhevsky": 15}, "holds if Krizhevsky's rule is not meant"),
        ({"krizhevsky": 15, "decoupled": 15}, f"holds if Krizhevsky's rule is not meant and {DIVIDED}"),
        ({"krizhevsky": None, "decoupled": 15, "matched": 15}, "does not hold"),
    ],
)
def test_forms_are_the_same_where_norms_and_errors_are(norms, verdict):
    decided = decide(measured(norms))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(norms.get("decoupled", 10) / 10, rel=0.01)


def test_errors_that_differ_make_forms_different_too():
    found = measured({"decoupled": 9.5}, {"decoupled": 41, "matched": 43})
    assert same(found, "decoupled", "l2") and not same(found, "matched", "l2")
    assert not same(measured({"decoupled": 9}), "decoupled", "l2") and not same(measured({"l2": None}), "none", "l2")


def test_conditions_have_norms_and_errors_and_divergence(tmp_path):
    found = measured({"none": 20, "decoupled": 15, "matched": None}, {"none": 44})
    text = decide(found).conditions
    assert "no decay: 2.00 (" in text and ") times the norm, +4.0 (" in text and "and +0.20 (" in text
    assert text.endswith("5 runs diverged (decoupled, 0.1).")
    assert draw(found, tmp_path / "a.png").is_file()
    found["norms"]["l2"][0] = None
    decided = decide(found)
    assert (decided.verdict, decided.effect, decided.interval) == ("does not hold", None, (None, None))
    assert draw(found, tmp_path / "a.png").is_file()
