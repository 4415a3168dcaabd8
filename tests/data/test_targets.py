"""Targets are read from files in the formats of TFDS and of CIFAR-10-C."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.data import MissingData
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import read_target
from tests.data.test_tfds import write

rng = np.random.default_rng(0)


@pytest.fixture
def archive(tmp_path):
    """Return a folder like that of CIFAR-10-C, with 4 images at each severity."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    np.save(folder / "fog.npy", rng.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", np.tile(np.array([3, 8, 0, 6], np.uint8), 5))
    return folder


def test_a_file_of_cifar_10_c_has_five_severities(archive):
    images = np.load(archive / "fog.npy")
    for severity in range(1, 6):
        target = read_target(f"{archive}/fog.npy:{severity}")
        np.testing.assert_array_equal(target.images, images[4 * severity - 4 : 4 * severity])
        np.testing.assert_array_equal(target.labels, [3, 8, 0, 6])
        assert target.about == f"published corruptions, fog of CIFAR-10-C, severity {severity}, 4 images"
        assert target.labels.dtype == np.int32 and isinstance(target.images, np.memmap)
    whole = read_target(f"{archive}/fog.npy")
    np.testing.assert_array_equal(whole.images, images)
    assert whole.about == "published corruptions, fog of CIFAR-10-C, severities 1 to 5, 20 images"


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist_corrupted/fog", (4, 5, 1)), ("cifar10_corrupted/fog_5", (6, 6, 3))]
)
def test_a_tfds_data_set_needs_only_a_test_split(tmp_path, name, shape):
    truth = rng.integers(0, 256, (5, *shape), dtype=np.uint8), np.array([2, 0, 1, 1, 0])
    folder, config = name.split("/")
    write(tmp_path / folder, {"test": truth}, name=config, shape=shape)
    target = read_target(f"tfds:{name}", data_dir=str(tmp_path))
    np.testing.assert_array_equal(target.images, truth[0])
    np.testing.assert_array_equal(target.labels, truth[1])
    assert target.about == f"published corruptions, TFDS {name}, split test, 5 images"
    assert "tensorflow" not in sys.modules


def test_a_version_and_a_split_can_be_named(tmp_path):
    parts = {split: (rng.integers(0, 256, (n, 4, 5, 1), dtype=np.uint8), np.arange(n)) for split, n in (("train", 3),)}
    write(tmp_path, parts)
    target = read_target("tfds:shapes:1.0.0:train", data_dir=str(tmp_path))
    np.testing.assert_array_equal(target.images, parts["train"][0])
    assert target.about == "TFDS shapes:1.0.0, split train, 3 images"
    assert len(read_target("tfds:shapes:train[:2]", data_dir=str(tmp_path)).labels) == 2


def test_digits_are_scikit_learns():
    target = read_target("digits")
    assert target.images.shape == (360, 32, 32, 1) and "test split, 360 images" in target.about
    share = np.bincount(target.labels) / 360
    np.testing.assert_allclose(share, np.bincount(load_digits().target) / 1797, atol=0.002)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("mnist", InputError, r"target is 'mnist'; it must be tfds:NAME\[:SPLIT\], digits\[:SPLIT\], FILE\.npy"),
        ("fog.npy3", InputError, r"target is 'fog\.npy3'"),
        ("tfds:", InputError, r"'tfds:'; it must be tfds:NAME\[:SPLIT\]"),
        ("tfds:absent", MissingData, r"'absent' is not prepared in .*prepare absent"),
        ("{}/fog.npy:6", InputError, r"severity is '6'; after the name of a file it must be from 1 to 5"),
        ("{}/snow.npy:1", MissingData, r"snow\.npy does not exist; unpack the archive"),
        ("{}/broken.npy:1", InputError, r"broken\.npy cannot be read as a NumPy array"),
        ("{}/labels.npy:1", InputError, r"labels\.npy is uint8 \(20,\); it must be uint8 \[n, height"),
        ("{}/short.npy:1", InputError, r"short\.npy has 19 images, and labels\.npy .* one for each image, for 5"),
    ],
)
def test_bad_input_is_one_message(archive, tmp_path, name, kind, message):
    (archive / "broken.npy").write_text("nothing")
    np.save(archive / "short.npy", np.zeros((19, 6, 5, 3), np.uint8))
    with pytest.raises(kind, match=message):
        read_target(name.format(archive), data_dir=str(tmp_path))
