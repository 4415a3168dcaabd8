"""Targets are read from files in the formats of TFDS and of CIFAR-10-C."""

import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn import Data, Fake
from jaxcnn.corruptions import corrupt
from jaxcnn.data import MissingData, Split, load
from jaxcnn.data.targets import fitted
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


# --- fitting, corruptions and what a run reads


def split(n, shape=(8, 8, 1), dtype=np.uint8, classes=4):
    images = rng.integers(0, 256, (n, *shape)).astype(dtype)
    return Split(images, np.arange(n, dtype=np.int32) % classes)


def test_a_size_resizes_then_pads_or_crops_to_fit():
    small, whole = read_target("digits@20"), read_target("digits@20", shape=(28, 28, 1))
    assert small.images.shape == (360, 20, 20, 1) and whole.images.shape == (360, 28, 28, 1)
    np.testing.assert_array_equal(np.asarray(whole.images)[:, 4:24, 4:24], small.images)
    assert np.asarray(whole.images).sum() == small.images.sum(dtype=int)
    assert whole.about.endswith("resized to 20 pixels and made to fit 28x28x1")
    large = read_target("digits@45", shape=(32, 32, 1))
    np.testing.assert_array_equal(large.images[:3], read_target("digits@45").images[:3, 6:38, 6:38])
    # From the 8x8 scans, not from an enlargement of them.
    scans = load_digits().images[:, None]
    assert {len(read_target(f"digits:{part}@8").images) for part in ("train", "test")} == {1437, 360}
    exact = np.sort(np.floor(scans * (255 / 16)).reshape(len(scans), -1).sum(1))
    both = np.concatenate([read_target(f"digits:{part}@8").images for part in ("train", "test")])
    np.testing.assert_allclose(np.sort(both.reshape(len(both), -1).sum(1)), exact, atol=64)


def test_grey_and_colour_images_fit_each_other():
    grey, colour = (
        rng.integers(0, 256, (3, 4, 5, 1), dtype=np.uint8),
        rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8),
    )
    np.testing.assert_array_equal(fitted(grey, (4, 5, 3)), np.concatenate([grey] * 3, -1))
    np.testing.assert_array_equal(
        fitted(colour, (4, 5, 1))[0, ..., 0], np.asarray(Image.fromarray(colour[0]).convert("L"))
    )
    odd = fitted(grey, (7, 2, 1))
    np.testing.assert_array_equal(odd[:, 1:5], grey[:, :, 1:3])
    assert odd.sum() == grey[:, :, 1:3].sum()


def test_a_corruption_is_that_of_the_images_of_the_run_whatever_is_read():
    own = split(7)
    target = read_target("corruption:gaussian_noise:4", own=own)
    floats = own.images.astype(np.float32) / 255
    key = jax.random.key(0, impl="threefry2x32")
    expected = np.rint(255 * np.asarray(corrupt("gaussian_noise", floats, 4, key=key, truncate=True))).astype(np.uint8)
    np.testing.assert_array_equal(target.images, expected)
    np.testing.assert_array_equal(target.images[np.array([5, 2])], expected[[5, 2]])
    np.testing.assert_array_equal(target.images[3], expected[3])
    np.testing.assert_array_equal(target.labels, own.labels)
    assert target.images.dtype == np.uint8 and len(target.images[:0]) == 0
    with pytest.raises(InputError, match=r"'corruption:fog:1'; it needs own=, the images to corrupt"):
        read_target("corruption:fog:1")


def test_a_run_trains_on_the_training_split_of_a_target_and_is_scored_on_its_test_split():
    digits = Data(source="digits", target="corruption:contrast:5")
    dataset = load(digits, 0)
    assert len(dataset.unlabelled) == 1437 and len(dataset.target) == 360
    np.testing.assert_array_equal(dataset.target.labels, dataset.test.labels)
    scans = load(Data(source="fake", fake=Fake(shape=(28, 28, 1)), target="digits@20"), 0)
    assert scans.unlabelled.shape == (1437, 28, 28, 1) and scans.target.images.shape == (360, 28, 28, 1)
    assert "to train on without labels, 1,437 images of its training split" in scans.about_target


def test_a_target_with_one_split_is_trained_and_scored_on_the_same_images(archive, tmp_path):
    settings = Data(source="fake", fake=Fake(shape=(6, 5, 3)), pad=2, target=f"{archive}/fog.npy:2")
    dataset = load(settings, 0)
    assert dataset.unlabelled.shape == (4, 10, 9, 3) and dataset.about_target.endswith("the same images")
    np.testing.assert_array_equal(dataset.unlabelled[:, 2:-2, 2:-2], np.load(archive / "fog.npy")[4:8])
    parts = {name: (rng.integers(0, 256, (n, 4, 5, 1), dtype=np.uint8), np.arange(n)) for name, n in
             (("train", 6), ("test", 3))}  # fmt: skip
    write(tmp_path, parts)
    for name, count in (("tfds:shapes", 6), ("tfds:shapes:test", 3)):
        fake = Data(source="fake", fake=Fake(shape=(4, 5, 1)), target=name, data_dir=str(tmp_path))
        dataset = load(fake, 0)
        assert len(dataset.unlabelled) == count and len(dataset.target) == 3


def test_validation_and_few_labels_leave_the_target_as_it_is():
    settings = Data(source="digits", target="corruption:contrast:5", validation=0.2, train_count=20)
    dataset = load(settings, 0)
    assert (len(dataset.train), len(dataset.validation), len(dataset.unlabelled)) == (20, 287, 1437)
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [2] * 10)
    nested = load(replace(settings, train_count=100), 0).train.images
    seen = {image.tobytes() for image in np.asarray(nested)}
    assert all(image.tobytes() in seen for image in np.asarray(dataset.train.images))
    other = load(replace(settings, split_seed=1), 0).train.images
    assert not np.array_equal(other, dataset.train.images)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "digits",
            r"target 'digits' has images of 32x32x1, and the run has 28x28x1\. Add @ and a size, as in digits@28",
        ),
        ("digits@0", r"after @ it must have thick, thin, .* or a size in pixels above 0"),
        ("digits@20@30", r"after @ it must have"),
        ("digits@thik", r"target is 'digits@thik'; after @ it must have thick, thin"),
        ("digits:all", r"target is 'digits:all'; it must be tfds:NAME"),
        ("corruption:fog", r"must be corruption:NAME:SEVERITY, with a severity from 1 to 5"),
    ],
)
def test_a_target_that_does_not_fit_is_one_message(target, message):
    with pytest.raises(InputError, match=message):
        load(Data(source="fake", fake=Fake(shape=(28, 28, 1)), target=target), 0)


def test_float_images_of_a_run_refuse_a_target_of_bytes():
    arrays = {f"{part}_{kind}": value for part in ("train", "test") for kind, value in
              (("images", np.zeros((4, 32, 32, 1), np.float32)), ("labels", np.arange(4)))}  # fmt: skip
    with pytest.raises(InputError, match=r"target 'digits' has uint8 images, and the run has float32"):
        load(Data(source="arrays", target="digits"), 0, arrays)
