"""The verdict on adaptation follows from hand-made errors, and labels of the target choose nothing."""

import json
from dataclasses import dataclass

import pytest

from jaxcnn.claims.digits_adaptation import ARMS, decide, draw, target_entropy

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(*errors):
    """Mean errors of the arms in their order, with other noise for each."""
    values = {
        arm: [mean + NOISE[(i + place) % 5] for i in range(5)]
        for place, (arm, mean) in enumerate(zip(ARMS, errors, strict=True))
    }
    return {"target_errors": values, "weights": {"coral": 100.0, "dann": 0.1}}


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        # MNIST only, AdaBN, CORAL, DANN, 100 labels.
        ((60, 20, 10, 30, 15), "holds"),
        ((60, 20, 10, 60, 15), "holds if the method is AdaBN or deep CORAL"),
        ((60, 70, 60, 30, 15), "holds if the method is DANN"),
        ((60, 60, 70, 60, 15), "does not hold"),
    ],
)
def test_all_three_methods_must_lower_the_error(errors, verdict, tmp_path):
    found = measured(*errors)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(60 - sum(errors[1:4]) / 3)
    assert draw(found, tmp_path / "a.png").is_file()


def test_conditions_have_accuracies_weights_and_what_harms():
    text = decide(measured(60, 70, 10, 31, 17)).conditions
    assert "on MNIST only classify 40.0 % (39.7 to 40.3 over the seeds)" in text
    assert "deep CORAL with a weight of 100 90.0 %" in text and "DANN with a weight of 0.1 69.0 %" in text
    assert "which is +20.0 (" in text and text.endswith("The error rises with AdaBN.")


def test_the_criterion_is_the_entropy_of_the_last_row(tmp_path):
    @dataclass
    class Finished:
        workdir: str

    rows = [{"split": "train", "step": i, "target_entropy": x} for i, x in enumerate((2.0, 0.5))]
    rows.append({"split": "validation", "step": 2, "loss": 0.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert target_entropy(Finished(str(tmp_path))) == 0.5
