"""The verdict on norms and batch sizes follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.norms_batch_size import ARMS, decide, draw


def measured(costs, seeds=5):
    """Errors of about 50 % with batches of 32 and 128, higher by these points with batches of 2."""
    noise = [0.0, 0.2, -0.2, 0.1, -0.1]
    errors = {
        str(size): {
            norm: [50 + place / 10 + i + noise[(i + place) % 5] + (costs.get(norm, 0) if size == 2 else 0)
                   for i in range(seeds)]
            for place, norm in enumerate(ARMS)
        }
        for size in (2, 32, 128)
    }  # fmt: skip
    errors["2"] = {norm: [x + noise[i] for i, x in enumerate(values)] for norm, values in errors["2"].items()}
    return {"batch_sizes": [2, 32, 128], "test_errors": errors}


@pytest.mark.parametrize(
    ("costs", "verdict"),
    [
        ({"batch": 5}, "holds"),
        ({"batch": 5, "instance": 5}, "holds if compared with layer or group norm"),
        ({"batch": 5, "instance": 6, "layer": 7}, "holds if compared with group norm"),
        ({}, "does not hold"),
        # All networks get worse.
        (dict.fromkeys(ARMS, 5), "does not hold"),
        ({"layer": 5, "group": 5, "instance": 5}, "does not hold"),
    ],
)
def test_small_batches_must_cost_batch_normalization_more_than_the_others(costs, verdict):
    decided = decide(measured(costs))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(costs.get("batch", 0) - costs.get("group", 0))


def test_conditions_name_costs_and_the_best_norms(tmp_path):
    found = measured({"batch": 5, "none": 1})
    text = decide(found).conditions
    assert "+5.0 with batch, +0.0 with layer" in text and "+1.0 with none" in text
    assert text.endswith("The best norm is layer at 2, batch at 32, batch at 128 images.")
    assert draw(found, tmp_path / "a.png").is_file()
