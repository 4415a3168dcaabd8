"""Probable mistakes in the user's data: errors, warnings, and no message for valid data."""

import warnings

import numpy as np
import pytest

from jaxcnn.config import Data
from jaxcnn.data import load
from jaxcnn.runtime.errors import InputError

LABELS = np.arange(20) % 4


def pixels(low, high, dtype=np.float32, shape=(20, 6, 5, 3)):
    """Return images, each of which reaches both ends of a range."""
    images = np.random.default_rng(0).uniform(low, high, shape)
    images[:, 0, 0, 0], images[:, -1, -1, -1] = low, high
    return images.astype(dtype)


def loaded(images=None, labels=LABELS, test_images=None, test_labels=None, **settings):
    """Load arrays and return the warnings; test data default to the training data."""
    images = pixels(0, 255, np.uint8) if images is None else images
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images if test_images is None else test_images,
        "test_labels": labels if test_labels is None else test_labels,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(Data(source="arrays", **settings), 0, {name: np.asarray(array) for name, array in arrays.items()})
    assert all(w.category is UserWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


FLOATS = pixels(0, 255)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": FLOATS}, ["train_images are float32 in 0..255", "do not scale them down. Pass uint8 in 0..255"]),
        ({"images": FLOATS, "mean": (0.13,), "std": (0.31,)}, ["data.mean (0.13,) and data.std (0.31,) do not scale"]),
        ({"images": pixels(0, 16)}, ["train_images are float32 in 0..16"]),
        ({"images": pixels(0, 1 / 255)}, ["in 0..0.00392157", "divided by 255 twice?"]),
        ({"images": pixels(0, 16, np.uint8)}, ["train_images are uint8 in 0..16", "be scaled to 0..255?"]),
        ({"images": pixels(-2, 2), "test_images": pixels(-20, 20)}, ["in -2..2", "in -20..20", "scaled differently?"]),
        ({"images": pixels(-2, 2), "test_images": pixels(0, 1)}, ["Was the mean subtracted from one of them"]),
        ({"labels": LABELS + 1}, ["Labels begin at 1;", "a network of 5 classes", "Should 1 be subtracted"]),
        (
            {"labels": np.array([0, 5, 9])[LABELS % 3]},
            ["3 different values with gaps (0, 5, 9)", "a network of 10 classes", "numbered 0..2"],
        ),
        (
            {"test_labels": np.where(LABELS == 3, 4, LABELS), "labels": LABELS},
            ["5 of 20 test images have a class that no training image has (label 4)"],
        ),
    ],
)
def test_a_probable_mistake_gives_one_warning_with_the_cause(changes, words):
    (message,) = loaded(**changes)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": pixels(0, 1, np.uint8)}, r"train_images are uint8 in 0\.\.1.* Multiply images in 0\.\.1 by 255"),
        ({"images": pixels(0, 1), "test_images": FLOATS}, r"in 0\.\.1 and test_images in 0\.\.255 .*divided by 255"),
        ({"images": FLOATS, "test_images": pixels(0, 1)}, r"was one of them divided by 255 and the other not\?"),
        ({"test_images": pixels(0, 1, np.uint8)}, r"was one of them divided by 255 and the other not\?"),
        (
            {"images": np.zeros((20, 3, 32, 32), np.uint8)},
            r"3x32 pixels of 32 channels.*transpose\(0, 2, 3, 1\)",
        ),
        ({"images": np.zeros((20, 3, 20, 40), np.uint8)}, "3x20 pixels of 40 channels"),
        ({"images": np.zeros((20, 1, 28, 28), np.uint8)}, "1x28 pixels of 28 channels"),
    ],
)
def test_a_certain_mistake_raises_an_error_with_the_cause(changes, words):
    with pytest.raises(InputError, match=words):
        loaded(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"images": pixels(0, 1)},
        {"images": pixels(-0.1, 1.175)},
        {"images": pixels(-2.1, 2.6)},
        {"images": FLOATS, "std": (255.0,)},
        {"images": FLOATS, "mean": (104.0, 117.0, 123.0)},
        {"images": pixels(0, 1, np.uint8), "std": (1 / 255,)},
        {"images": pixels(0, 255, np.uint8), "test_images": pixels(0, 80, np.uint8)},
        {"images": np.zeros((20, 6, 5, 3), np.uint8)},
        {"images": pixels(0, 255, np.uint8, (20, 1, 100, 8))},
        {"images": pixels(0, 255, np.uint8, (20, 3, 3, 3))},
        {"images": FLOATS, "mean": (), "std": (255.0,)},
        {"test_labels": np.zeros(20, int)},
        {"images": pixels(0, 255, np.uint8, (20, 8, 5, 1)), "test_images": pixels(0, 255, np.uint8, (20, 9, 7, 1)),
         "image_size": 4},
    ],
)  # fmt: skip
def test_valid_data_give_no_warning(changes):
    assert loaded(**changes) == []


def test_the_range_is_estimated_from_a_few_images():
    images = np.zeros((5000, 6, 6, 1), np.float32)
    images[:, 3, 3] = 200
    labels = np.arange(5000) % 4
    assert "in 0..200" in loaded(images, labels)[0]


def test_test_images_alone_are_checked():
    with pytest.warns(UserWarning, match=r"test_images are float32 in 0\.\.255"):
        load(Data(source="arrays"), 0, {"test_images": FLOATS, "test_labels": LABELS}, need_train=False)
