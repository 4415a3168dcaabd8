"""The verdict on the test error follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.lrn_accuracy import ARMS, decide, draw


def measured(none, division, paper, acts, mean, seeds=5):
    errors = dict(zip(ARMS, (none, division, paper, acts, mean), strict=True))
    noise = [0.3, -0.3, 0.1, -0.1, 0.0]
    return {
        "test_errors": {
            arm: [value + i + noise[(i + place) % 5] for i in range(seeds)]
            for place, (arm, value) in enumerate(errors.items())
        },
        "shares": {
            arm: [[share, share / 2, share / 4]] * seeds
            for arm, share in {"division": 0, "paper": 2e-4, "acts": 0.4, "mean": 0.1}.items()
        },
    }


@pytest.mark.parametrize(
    ("paper", "acts", "verdict"),
    [
        (38, 40, "holds"),
        (38, 38, "holds"),
        (40, 38, "holds if alpha fits the scale of the pixels"),
        (42, 38, "holds if alpha fits the scale of the pixels"),
        (40, 40, "does not hold"),
        (42, 41, "does not hold"),
    ],
)
def test_the_paper_constants_decide_first(paper, acts, verdict):
    decided = decide(measured(40, 40, paper, acts, 40))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(40 - paper)


def test_conditions_compare_all_controls(tmp_path):
    found = measured(40, 39, 38, 35, 37)
    text = decide(found).conditions
    assert "by -2.0 (" in text and "where r is 0.0002, 0.0001, 5e-05 in the layers" in text
    assert "by -5.0 (" in text and "where r is 0.4, 0.2, 0.1." in text
    assert (
        "The paper's constants change it by -1.0 (" in text
        and "instead of the sum of the squares changes it by +2.0 (" in text
    )
    assert draw(found, tmp_path / "a.png").is_file()


def test_runs_that_diverge_have_no_r(tmp_path):
    found = measured(40, 39, 38, 90, 37)
    found["shares"]["acts"] = found["shares"]["paper"] = []
    assert "where r is unknown" in decide(found).conditions
    assert draw(found, tmp_path / "a.png").is_file()
