"""The verdict on the steps that activations need follows from hand-made training accuracies by the rule."""

import json

import pytest

from jaxcnn import Experiment, sweep
from jaxcnn.claims.activation_steps import decide, draw, slowness
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.runs.workdir import Results

STEPS = [100, 200, 400, 800]
# The steps to an accuracy of 0.75 are 100, 150, 400 and 800; the last run never reaches it.
AT_100, AT_150, AT_400 = [0.75, 0.8, 0.9, 0.9], [0.7, 0.8, 0.9, 0.9], [0.4, 0.5, 0.75, 0.9]
NEVER = [0.2, 0.3, 0.4, 0.6]


def measured(relu, tanh, sigmoid, seeds=5):
    runs = {"relu": relu, "tanh": tanh, "sigmoid": sigmoid}
    return {
        "images": 2048,
        "learning_rates": {"relu": 0.1, "tanh": 0.03, "sigmoid": 0.3},
        "steps": STEPS,
        # Seeds differ a little, because an interval needs a spread.
        "accuracies": {arm: [run and [a + 0.001 * i for a in run] for i in range(seeds)] for arm, run in runs.items()},
    }


@pytest.mark.parametrize(
    ("relu", "tanh", "sigmoid", "verdict"),
    [
        (AT_100, AT_400, NEVER, "holds"),
        (AT_100, AT_150, NEVER, "holds if 1.5 times as fast is enough"),
        (AT_150, AT_100, AT_400, "holds if ReLU is compared with sigmoid alone"),
        (AT_150, AT_400, AT_100, "holds if ReLU is compared with tanh alone"),
        (AT_400, AT_100, AT_100, "does not hold"),
        (NEVER, NEVER, None, "does not hold"),
    ],
)
def test_relu_must_be_several_times_faster_than_both(relu, tanh, sigmoid, verdict, tmp_path):
    found = measured(relu, tanh, sigmoid)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.interval[0] <= decided.effect <= decided.interval[1]
    for run, name in ((relu, "ReLU"), (tanh, "tanh"), (sigmoid, "sigmoid")):
        assert (f"5 of 5 runs with {name} do not reach 25 %" in decided.conditions) == (run in (NEVER, None))
    assert draw(found, tmp_path / "a.png").is_file()


def test_the_ratio_is_that_of_the_steps():
    decided = decide(measured(AT_100, AT_400, NEVER, seeds=2))
    assert decided.conditions.startswith("To 25 % training error on 2,048 images, ")
    # To 0.75: 400 / 100 and 800 / 100; the second seed is slightly faster.
    assert decided.effect == pytest.approx(4.0, rel=0.01)
    assert "is 100 with ReLU at 0.1, 400 with tanh at 0.03, 800 with sigmoid at 0.3" in decided.conditions
    # To 0.5: 200 and 600 of ReLU's 61.5, which is 0.4 / 0.65 of the way from 0.1 at step 0 to 0.75 at step 100.
    assert "To 50 % it is 3.2 (" in decided.conditions


@pytest.mark.parametrize(
    ("accuracies", "expected"), [([0.6, 0.9, 0.9], 75.0), ([0.2, 0.3, 0.5], 187.5), ([0.1, 0.1, 0.1], 237.5)]
)
def test_a_rate_is_slower_the_later_it_reaches_the_target_or_the_further_it_stays_away(accuracies, expected, tmp_path):
    # Rows are means over 50 steps, at their middle: 25, 75 and 125.
    rows = [{"split": "train", "step": 50 * i, "accuracy": a} for i, a in enumerate(accuracies, start=1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    experiment = Experiment(model=SmallConvNet((2,)))
    record = sweep.Record(experiment, str(tmp_path), "finished", Results({"error": 0.5}, 150, 1.0, ""))
    if expected == 75.0:
        expected = 25 + 50 * (0.75 - 0.6) / 0.3
    assert slowness(record) == pytest.approx(expected)
