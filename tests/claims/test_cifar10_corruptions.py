"""The verdict on batch statistics follows from hand-made errors, family by family."""

import pytest

from jaxcnn.claims.cifar10_corruptions import CLEAN, FAMILIES, KINDS, decide, draw, mean_errors
from jaxcnn.corruptions import CORRUPTIONS

NOISE = [0.2, -0.2, 0.0]


def measured(gains, clean_loss=2.0):
    """Errors of 60 % with running averages; what the batch gains on each family, of which the blend has half."""
    by_name = {name: gain for f, gain in zip(FAMILIES, gains, strict=True) for name in FAMILIES[f]}
    shares = dict(zip(KINDS, (0, 1, 0.5), strict=True))
    errors = {
        name: {
            kind: [base - share * gain + NOISE[(i + place) % 3] for i in range(3)]
            for place, (kind, share) in enumerate(shares.items())
        }
        for name, base, gain in [(CLEAN, 40, -clean_loss), *((name, 60, gain) for name, gain in by_name.items())]
    }
    return {"images": 2000, "trained": 357, "errors": errors}


@pytest.mark.parametrize(
    ("gains", "verdict", "worse"),
    [
        # Noise, blur, weather, digital.
        ((20, 10, 5, 8), "holds", False),
        ((20, 10, 0, 0), "holds if the corruption is of noise or blur", False),
        ((20, 0, -5, 0), "holds if the corruption is of noise", True),
        ((0, 0, 0, 0), "does not hold", False),
    ],
)
def test_all_four_families_must_be_repaired(gains, verdict, worse, tmp_path):
    found = measured(gains)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx((3 * gains[0] + 4 * gains[1] + 3 * gains[2] + 4 * gains[3]) / 14)
    assert decided.conditions.endswith("They raise the error on weather.") == worse
    assert draw(found, tmp_path / "a.png").is_file()


def test_means_leave_out_images_without_corruption():
    found = measured((20, 10, 0, 0))
    for seed, noise in enumerate([-0.2, 0.0, 0.2]):
        assert mean_errors(found, "batch", "noise")[seed] == pytest.approx(40 + noise)
    assert sum(mean_errors(found, "averages")) / 3 == pytest.approx(60)
    text = decide(found).conditions
    assert "errs on 40.0 % of 2,000 images without corruption and on 60.0 % on average over 14 corruptions" in text
    assert "it is 42.0 % and" in text


def test_corruptions_are_those_of_the_benchmark_without_frost():
    names = [name for members in FAMILIES.values() for name in members]
    assert len(set(names)) == len(names) == 14 and set(names) <= set(CORRUPTIONS)
