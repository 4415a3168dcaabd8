"""All classifiers see the same images, and the verdict follows from hand-made accuracies by the rule."""

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.claims.classifiers_shift import (
    CLASSIFIERS,
    CLEAN,
    SIMPLE,
    by_shift,
    decide,
    draw,
    fitted,
    images,
    overall,
    scores,
    targets,
)
from jaxcnn.claims.study import Study
from jaxcnn.data import Split

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(simple, networks):
    """Losses in points of the four simpler classifiers and of the networks without and with batch normalization: on
    digits; 10 points more at severity 3 of fog, and 30 more at severity 5."""
    accuracy, tilt = {}, {}
    for place, (name, loss) in enumerate(zip(CLASSIFIERS, (*simple, *networks), strict=True)):
        clean = [95 + i + NOISE[(i + place) % 5] for i in range(5)]
        losses = {CLEAN: 0, "fog 3": loss + 10, "fog 5": loss + 30, "digits": loss}
        accuracy[name] = {
            part: [x - own + NOISE[(i + 2 * place) % 5] * (part != CLEAN) for i, x in enumerate(clean)]
            for part, own in losses.items()
        }
        tilt[name] = {part: [own / 100 + x / 1000 for x in NOISE] for part, own in losses.items()}
    return {"accuracy": accuracy, "tilt": tilt}


@pytest.mark.parametrize(
    ("found", "verdict", "effect"),
    [
        (measured((20,) * 4, (10, 12)), "holds", 9),
        (measured((20,) * 4, (10, 30)), "holds if the network is LeNet-5 without batch norm", 0),
        (measured((20,) * 4, (30, 10)), "holds if the network is LeNet-5 with batch norm", 0),
        (
            measured((20, 5, 5, 20), (10, 12)),
            "holds if the simpler classifier is k-nearest neighbours or logistic regression",
            1.5,
        ),
        (measured((20,) * 4, (20, 20)), "does not hold", 0),
    ],
)
def test_both_networks_must_lose_less_than_all_simpler_classifiers(found, verdict, effect, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(effect, abs=0.2)
    assert draw(found, tmp_path / "a.png").is_file()


def test_severities_of_a_corruption_count_as_one_shift():
    found = measured((20, 5, 5, 20), (10, 12))
    losses = by_shift(found, "accuracy", "nearest")
    assert list(losses) == ["fog", "digits"]
    assert losses["fog"] == pytest.approx([40 - NOISE[i] for i in range(5)])
    assert overall(found, "accuracy", "nearest") == pytest.approx([30 - NOISE[i] for i in range(5)])
    assert by_shift(found, "tilt", "nearest")["fog"] == pytest.approx([0.4 + x / 1000 for x in NOISE])
    text = decide(found).conditions
    assert "k-nearest neighbours 30.0, 67.0 and 97.0, 0.30, fog (40.0)" in text


def test_accuracy_and_tilt_are_those_of_the_predictions():
    labels = np.arange(20, dtype=np.int32) % 10
    shifted = {part: Split(np.full((20, 1), n), labels) for n, part in enumerate((CLEAN, "fog 3"))}

    def predict(images):
        """Return the labels, or without a shift the labels and under it a fifth of them replaced by class 0."""
        return np.where((images[:, 0] == 1) & (labels >= 8), 0, labels)

    found = scores(predict, shifted)
    assert found[CLEAN] == {"accuracy": 100, "tilt": 0}
    assert found["fog 3"] == pytest.approx({"accuracy": 80, "tilt": 0.2})


def test_every_seed_trains_on_its_own_images_and_all_shifts_fit_them(tmp_path):
    study = Study(tmp_path / "claim", seeds=2, scale="tiny")
    config = images(study)
    a, b = data.load(config, 0), data.load(config, 1)
    assert (len(a.train), len(a.validation), a.train.images.shape[1:]) == (20, 100, (32, 32, 1))
    assert not np.array_equal(a.train.images, b.train.images)
    found = targets(study, a.test, config)
    assert list(found) == [CLEAN, "contrast 5", "digits", "thick", "thin"]
    assert [len(split) for split in found.values()] == [24, 24, 1797, 12, 12]
    for split in found.values():
        assert split.images.shape[1:] == (32, 32, 1) and split.images.dtype == np.uint8
        assert not split.images[:, :2].any() and not split.images[:, :, -2:].any()
    written = (tmp_path / "claim" / "mnist.npz").stat().st_mtime_ns
    assert images(study) == config and (tmp_path / "claim" / "mnist.npz").stat().st_mtime_ns == written
    # A nearest neighbour knows what it has seen.
    nearest = fitted("nearest", 1, config, 0)
    np.testing.assert_array_equal(nearest(np.asarray(a.train.images)), a.train.labels)


def test_simple_classifiers_have_a_setting(tmp_path):
    config = images(Study(tmp_path / "claim", seeds=2, scale="tiny"))
    train = data.load(config, 0).train
    for name in SIMPLE:
        assert fitted(name, 1, config, 0)(np.asarray(train.images)).shape == (20,)
