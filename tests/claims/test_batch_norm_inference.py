"""The verdict on the statistics at inference follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.batch_norm_inference import KINDS, decide, draw, worse


def measured(changes, seeds=5):
    """Errors of about 40 % everywhere, changed by points by cell and kind."""
    cells = [f"{size} {length}" for size in (2, 32) for length in ("short", "long")]
    noise = [0.0, 0.1, -0.1, 0.05, -0.05]
    errors = {
        cell: {
            kind: [40 + changes.get((cell, kind), 0) + i + noise[(i + place) % 5] for i in range(seeds)]
            for place, kind in enumerate(KINDS)
        }
        for cell in cells
    }
    return {"batch_sizes": [2, 32], "errors": errors}


def test_equal_errors_hold_with_no_difference():
    decided = decide(measured({}))
    assert decided.verdict == "holds"
    assert decided.conditions.count("the same") == len(KINDS) - 1
    assert decided.effect == pytest.approx(0, abs=1e-9)


def test_a_better_kind_excludes_its_batch_size(tmp_path):
    found = measured({("2 long", "batch"): -3, ("32 short", "ema"): 8})
    decided = decide(found)
    assert decided.verdict == "holds if the batch size is 32"
    assert "moving average: worse by up to 8.0 points (batch size 32 short)" in decided.conditions
    assert "test batch: better by up to 3.0 points (batch size 2 long)" in decided.conditions
    assert decided.effect == pytest.approx(8 / 4)
    assert draw(found, tmp_path / "a.png").is_file()


def test_a_better_kind_at_every_batch_size_refutes_the_claim():
    assert decide(measured({("2 long", "ema"): -3, ("32 long", "pooled"): -3})).verdict == "does not hold"


def test_differences_within_the_margin_or_the_noise_do_not_count():
    small = measured({("2 long", "ema"): -0.4})
    noisy = measured({("2 long", "ema"): -3})
    noisy["errors"]["2 long"]["ema"] = [30, 48, 35, 46, 31]
    assert worse(small)["2 long"] == worse(noisy)["2 long"] == {}
