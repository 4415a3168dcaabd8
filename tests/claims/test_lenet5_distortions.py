"""The verdict on distortions follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.lenet5_distortions import decide, draw

NOISE = [0.02, -0.02, 0.01, -0.01, 0.0]


def measured(few, many):
    """Test errors in percent (plain, distorted)."""
    return {
        "images": [10_000, 50_000],
        "steps": 3120,
        "test_errors": {
            str(count): {
                arm: [mean + 0.05 * i + (arm == "plain") * e for i, e in enumerate(NOISE)]
                for arm, mean in zip(("plain", "distorted"), pair, strict=True)
            }
            for count, pair in ((10_000, few), (50_000, many))
        },
    }


@pytest.mark.parametrize(
    ("few", "many", "verdict"),
    [
        ((2.0, 1.4), (1.0, 0.8), "holds"),
        ((2.0, 1.4), (1.0, 1.0), "holds if there are few training images, 10,000 and not 50,000"),
        ((2.0, 2.1), (1.0, 0.8), "holds if there are many training images, 50,000 and not 10,000"),
        ((2.0, 2.1), (1.0, 1.2), "does not hold"),
    ],
)
def test_distortions_must_help_with_few_and_with_many_images(few, many, verdict, tmp_path):
    found = measured(few, many)
    decided = decide(found)
    assert decided.verdict == verdict and decided.effect == pytest.approx(many[0] - many[1])
    assert f"{few[0] - few[1]:.2f} (" in decided.conditions and "from 2.10 to" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()
