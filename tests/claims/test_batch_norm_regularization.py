"""The verdict on regularization follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.batch_norm_regularization import ARMS, decide, draw


def measured(test, train, seeds=5):
    return {
        "test_errors": {arm: [value + 0.1 * i for i in range(seeds)] for arm, value in zip(ARMS, test, strict=True)},
        "training_errors": {arm: [value] * seeds for arm, value in zip(ARMS, train, strict=True)},
    }


@pytest.mark.parametrize(
    ("test", "train", "verdict"),
    [
        # Neither, dropout, batch norm, both.
        ((50, 46, 45, 45), (0, 5, 0, 5), "holds"),
        ((50, 46, 45, 42), (0, 5, 0, 5), "holds if dropout is kept"),
        ((45, 46, 46, 46), (0, 5, 2, 5), "holds if it only says that dropout does not help"),
        # The gap is smaller only because training is worse.
        ((45, 46, 50, 46), (0, 5, 20, 5), "does not hold"),
        ((45, 46, 46, 42), (0, 5, 0, 5), "does not hold"),
    ],
)
def test_the_verdict_needs_a_smaller_gap_and_no_need_of_dropout(test, train, verdict):
    decided = decide(measured(test, train))
    assert decided.verdict.startswith(verdict)
    assert decided.effect == pytest.approx((test[0] - train[0]) - (test[2] - train[2]))


def test_conditions_have_the_errors_of_all_networks(tmp_path):
    found = measured((50, 46, 45, 42), (0, 5, 1, 6))
    text = decide(found).conditions
    assert "are 0.0 and 50.2 with neither, 5.0 and 46.2 with dropout, 1.0 and 45.2 with batch norm" in text
    assert "changes the gap between them by -6.0 (-6.0 to -6.0) points and the test error by -5.0" in text
    assert "dropout changes the test error by -3.0 (-3.0 to -3.0); without it, by -4.0" in text
    assert draw(found, tmp_path / "a.png").is_file()
