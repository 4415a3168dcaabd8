"""The verdict on the place of the normalization follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.lrn_place import decide, draw

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(after, before):
    return {
        "test_errors": {
            "post_activation": [after + i for i in range(5)],
            "pre_activation": [before + i + noise for i, noise in enumerate(NOISE)],
        },
        "shares": {"post_activation": [[0.4, 0.2]] * 5, "pre_activation": [[0.6, 0.4]] * 5},
    }


@pytest.mark.parametrize(
    ("after", "before", "verdict", "answer"),
    [
        (42, 40, "holds", "It is better before the activation"),
        (40, 42, "does not hold", "It is better after the activation"),
        (40, 40.1, "does not hold", "The runs show no difference between the places"),
    ],
)
def test_the_place_before_the_activation_must_have_the_lower_error(after, before, verdict, answer, tmp_path):
    found = measured(after, before)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(after - before)
    assert decided.conditions.startswith(f"{answer}: the test error is {after + 2:.1f} % after and {before + 2:.1f} %")
    assert decided.conditions.endswith("r is 0.40, 0.20 after and 0.60, 0.40 before the activation.")
    found["shares"]["pre_activation"] = []
    assert "unknown before" in decide(found).conditions
    assert draw(found, tmp_path / "a.png").is_file()
