"""The verdict on the number of steps follows from hand-made accuracies by the rule."""

import pytest

from jaxcnn.claims.batch_norm_steps import decide, draw, steps_to, target

PLAIN = [0.2, 0.3, 0.4, 0.5]


def measured(batch, same, none=PLAIN, seeds=5):
    runs = {"none": none, "batch": batch, "same rate": same}
    return {
        "learning_rates": {"none": 0.01, "batch": 0.1, "same rate": 0.01},
        "steps": [100, 200, 300, 400],
        # Seeds differ a little, because an interval needs a spread.
        "accuracies": {k: [run and [a + 0.001 * i for a in run] for i in range(seeds)] for k, run in runs.items()},
        "milliseconds_per_step": {"none": [2.0], "batch": [3.0], "same rate": [3.0]},
    }


FAST, SLOW = [0.5, 0.6, 0.6, 0.6], [0.1, 0.2, 0.3, 0.4]


def test_steps_are_interpolated_between_evaluations_and_before_the_first():
    found = measured(batch=[0.3, 0.6, 0.5, 0.6], same=SLOW, seeds=1)
    assert target(found) == 0.5
    assert steps_to(found, "none", 0.5) == [400.0]
    assert steps_to(found, "batch", 0.5) == pytest.approx([100 + 100 * 2 / 3])
    assert steps_to(found, "batch", 0.2) == pytest.approx([50.0])
    assert steps_to(found, "same rate", 0.5) == [400.0]


def test_a_diverged_run_counts_with_all_steps():
    assert steps_to(measured(batch=None, same=SLOW, seeds=2), "batch", 0.5) == [400.0, 400.0]


@pytest.mark.parametrize(
    ("batch", "same", "verdict"),
    [
        (FAST, FAST, "holds"),
        (FAST, SLOW, "holds if the learning rate is tuned for it"),
        (SLOW, FAST, "does not hold"),
        (SLOW, SLOW, "does not hold"),
        (None, None, "does not hold"),
    ],
)
def test_the_verdict_depends_on_both_learning_rates(batch, same, verdict, tmp_path):
    found = measured(batch, same)
    decided = decide(found)
    assert decided.verdict == verdict
    assert ("5 of 5 runs with it never reach" in decided.conditions) == (batch is not FAST)
    assert "A step with it takes 1.50 times as long" in decided.conditions if batch else True
    if batch:
        assert draw(found, tmp_path / "a.png").is_file()
