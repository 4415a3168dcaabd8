"""No network is scored on a corruption that it was trained on, and the verdict follows from hand-made errors."""

import pytest

from jaxcnn.claims.robust_training import (
    ARMS,
    FAR,
    HELD_OUT,
    NEAR,
    TRAINED,
    decide,
    draw,
    mean_errors,
    normalized,
)
from jaxcnn.corruptions import CORRUPTIONS, FAMILIES
from jaxcnn.shift.objectives.operations import OPERATIONS

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(near, far):
    """Mean errors of the arms on corruptions of the families of training, and on others, at two severities."""
    errors = {
        arm: [
            {name: [value + NOISE[(seed + place) % 5] + s for s in (-1, 1)] for name, value in named.items()}
            for seed in range(5)
        ]
        for place, (arm, named) in enumerate(
            (arm, {name: near[i] if name in NEAR else far[i] for name in HELD_OUT}) for i, arm in enumerate(ARMS)
        )
    }
    return {"severities": [3, 5], "clean_errors": {arm: [2.0] * 5 for arm in ARMS}, "errors": errors}


@pytest.mark.parametrize(
    ("near", "far", "verdict"),
    [
        # Clean images, AugMix, noise and blur.
        ((40, 30, 20), (40, 30, 39), "holds"),
        ((40, 30, 40), (40, 30, 40), "holds if the augmentation is AugMix"),
        ((40, 45, 20), (40, 45, 39), "holds if the augmentation is noise and blur"),
        ((40, 45, 40), (40, 40, 41), "does not hold"),
    ],
)
def test_both_augmentations_must_lower_the_mean_error(near, far, verdict, tmp_path):
    found = measured(near, far)
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx((6 * (near[0] - near[1]) + 11 * (far[0] - far[1])) / 17)
    assert draw(found, tmp_path / "a.png").is_file()


def test_corruptions_are_apart_from_those_of_training():
    assert len(set(HELD_OUT)) == len(HELD_OUT) == 17 and not set(HELD_OUT) & set(TRAINED)
    assert set(HELD_OUT) <= set(CORRUPTIONS)
    families = {name: family for family, members in FAMILIES.items() for name in members}
    trained = {families[name] for name in TRAINED}
    assert all(families[name] in trained for name in NEAR) and not any(families[name] in trained for name in FAR)
    # Names in AugMix and here of the same change: posterize is quantize, solarize inverts bright tones.
    same = {"quantize", "inverse", *OPERATIONS, *(name.partition("_")[0] for name in OPERATIONS)}
    assert not set(HELD_OUT) & same


def test_means_and_conditions():
    found = measured((40, 30, 20), (50, 40, 60))
    for seed, value in enumerate(mean_errors(found, "augmix", NEAR)):
        assert value == pytest.approx(30 + NOISE[(seed + 1) % 5])
    own, clean = 30 + NOISE[1], 40 + NOISE[0]
    far, clean_far = 40 + NOISE[1], 50 + NOISE[0]
    assert normalized(found, "augmix")[0] == pytest.approx(100 * (6 * own / clean + 11 * far / clean_far) / 17)
    assert normalized(found, "clean") == pytest.approx([100] * 5)
    text = decide(found).conditions
    assert "better on 17 of 17 corruptions" in text and "better on 6 of 17 corruptions: +20.0 points on shot" in text
