import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from jaxcnn.config import Data, Fake
from jaxcnn.data.dataset import Dataset, Rows, Split, check_labels, fit
from jaxcnn.data.sources import load
from jaxcnn.runtime.errors import InputError

rng = np.random.default_rng(0)


def four(n=20, m=10, shape=(6, 5, 3), dtype=np.uint8):
    def images(count):
        return (rng.random((count, *shape)) * (255 if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)

    return {
        "train_images": images(n),
        "train_labels": np.arange(n) % 4,
        "test_images": images(m),
        "test_labels": np.arange(m) % 4,
    }


def arrays(inputs, **changes):
    return arrays_of(inputs, 0, **changes)


def arrays_of(inputs, seed, **changes):
    return load(Data(source="arrays", **changes), seed, inputs)


class TestFake:
    def test_sizes_follow_the_configuration_for_any_seed(self):
        config = Data(source="fake", fake=Fake(shape=(7, 5, 2), num_classes=3, train=10, test=4))
        data = load(config, 0)
        assert data.train.images.shape == (10, 7, 5, 2) and data.test.images.shape == (4, 7, 5, 2)
        assert data.train.images.dtype == np.uint8 and set(data.train.labels) == {0, 1, 2}
        np.testing.assert_array_equal(load(config, 1).train.images, data.train.images)

    def test_can_be_learned(self):
        data = load(Data(source="fake", fake=Fake(shape=(16, 16, 1))), 0)
        model = NearestCentroid().fit(data.train.images.reshape(512, -1) / 255, data.train.labels)
        assert model.score(data.test.images.reshape(256, -1) / 255, data.test.labels) > 0.95
        same_class = data.train.images[data.train.labels == 0]
        assert same_class.std(0).mean() > 20


class TestArrays:
    def test_arrays_are_returned_unchanged(self):
        inputs = four()
        data = arrays(inputs)
        np.testing.assert_array_equal(data.train.images, inputs["train_images"])
        np.testing.assert_array_equal(data.test.labels, inputs["test_labels"])
        assert data.train.labels.dtype == np.int32 and data.class_names == ("0", "1", "2", "3")

    def test_arrays_are_read_from_a_file(self, tmp_path):
        inputs = four()
        np.savez(tmp_path / "four.npz", **inputs)
        data = load(Data(source="arrays", name=str(tmp_path / "four.npz")), 0)
        np.testing.assert_array_equal(data.test.images, inputs["test_images"])

    @pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float32])
    def test_arrays_without_channels_and_of_other_types(self, dtype):
        inputs = four(shape=(6, 5), dtype=dtype)
        data = arrays(inputs)
        assert data.train.images.shape == (20, 6, 5, 1)
        assert data.train.images.dtype == (np.uint8 if dtype == np.int64 else np.float32)
        np.testing.assert_allclose(data.train.images[..., 0], inputs["train_images"], rtol=1e-6)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"train_images": None}, "lacks train_images; it must have train_images, train_labels"),
            ({"train_images": np.zeros((20, 6))}, r"train_images has shape \(20, 6\); it must be \[n, height, width\]"),
            ({"train_images": np.zeros((20, 6, 5, 0))}, r"train_images has shape"),
            ({"train_images": np.zeros((6, 5, 3, 20), np.uint8)}, "first axis must be the image index"),
            ({"test_labels": np.zeros(9, int)}, "has 10 test_images and 9 test_labels"),
            ({"test_labels": np.zeros(10)}, "test_labels is float64 .*integers"),
            ({"test_labels": np.zeros((10, 4), int)}, r"test_labels is int64 of shape \(10, 4\)"),
            ({"train_labels": np.arange(20) - 5}, r"train_labels\[0\] is -5"),
            ({"train_labels": np.arange(20) + 2**32}, r"train_labels\[0\] is 4294967296"),
            ({"train_images": np.full((20, 6, 5, 3), 256)}, "train_images is int64; it must be uint8"),
            ({"train_images": np.zeros((20, 6, 5, 3), bool)}, "train_images is bool; it must be uint8"),
            ({"train_images": np.zeros((20, 6, 5, 3), np.float32)}, "differ in type or shape"),
            ({"test_images": np.zeros((10, 6, 6, 3), np.uint8)}, "differ in type or shape"),
            (
                {"test_images": np.zeros((0, 6, 5, 3), np.uint8), "test_labels": np.zeros(0, int)},
                "test split .* is empty",
            ),
        ],
    )
    def test_invalid_arrays_are_named(self, change, message):
        inputs = {k: v for k, v in {**four(), **change}.items() if v is not None}
        with pytest.raises(InputError, match=message):
            arrays(inputs)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_values_that_are_not_finite_are_counted(self, value):
        inputs = four(dtype=np.float64)
        inputs["train_images"][3, 2, 1, 0] = inputs["train_images"][7] = value
        with pytest.raises(InputError, match=r"train_images has 91 NaN or infinite .* first at \(3, 2, 1, 0\)"):
            arrays(inputs)

    def test_invalid_files_are_named(self, tmp_path):
        (tmp_path / "text.npz").write_text("hello")
        (tmp_path / "empty.npz").touch()
        np.save(tmp_path / "one.npy", np.zeros(3))
        np.savez(tmp_path / "objects.npz", **{**four(), "train_images": np.array([None, 1], object)})
        for name, message in {
            "": "Data.name is empty",
            "absent.npz": "there is no such file",
            "text.npz": "cannot be read as an .npz",
            "empty.npz": "cannot be read as an .npz",
            "one.npy": "cannot be read as an .npz",
            "objects.npz": "cannot be read as an .npz",
        }.items():
            with pytest.raises(InputError, match=message):
                load(Data(source="arrays", name=name and str(tmp_path / name)), 0)

    def test_test_arrays_suffice_if_training_images_are_not_needed(self, tmp_path):
        inputs = {key: value for key, value in four().items() if key.startswith("test")}
        np.savez(tmp_path / "test.npz", **inputs)
        config = Data(source="arrays", name=str(tmp_path / "test.npz"), validation=0.5)
        for data in (load(config, 0, inputs, need_train=False), load(config, 0, need_train=False)):
            assert data.train is None and data.validation is None and len(data.test) == 10
            assert data.class_names == ("0", "1", "2", "3")
            check_labels(data, 4)
        with pytest.raises(InputError, match="lacks train_images, train_labels; it must have train_images"):
            load(config, 0, inputs)
        with pytest.raises(InputError, match="lacks train_labels; it must have train_images, train_labels"):
            load(config, 0, inputs | {"train_images": four()["train_images"]}, need_train=False)
        with pytest.raises(InputError, match=r"test_images are uint8 in 0\.\.1"):
            load(config, 0, inputs | {"test_images": inputs["test_images"] % 2}, need_train=False)
        assert len(load(config, 0, four(), need_train=False).train) == 10

    def test_arrays_need_the_source_arrays(self):
        with pytest.raises(InputError, match="must be 'arrays'"):
            load(Data(), 0, four())


class TestFrame:
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    @pytest.mark.parametrize("shape", [(48, 64), (64, 48), (20, 20), (16, 33)])
    def test_image_size_is_torchs_antialiased_resize_and_a_centre_crop(self, shape, dtype):
        torch = pytest.importorskip("torch", reason="torch is the `parity` extra")
        inputs = four(3, 2, (*shape, 2), dtype)
        got = arrays(inputs, image_size=16).train.images
        assert got.shape == (3, 16, 16, 2) and got.dtype == dtype
        height, width = (16 * side // min(shape) for side in shape)
        resized = torch.nn.functional.interpolate(
            torch.tensor(inputs["train_images"].transpose(0, 3, 1, 2)).float(),
            size=(height, width),
            mode="bilinear",
            antialias=True,
        )
        top, left = round((height - 16) / 2), round((width - 16) / 2)
        expected = resized.numpy().transpose(0, 2, 3, 1)[:, top : top + 16, left : left + 16]
        np.testing.assert_allclose(got, expected, atol=1.01 if dtype == np.uint8 else 1e-3)

    def test_an_image_of_that_size_is_not_resized(self):
        inputs = four(3, 2, (9, 13, 1))
        got = arrays(inputs, image_size=9).train.images
        np.testing.assert_array_equal(got, inputs["train_images"][:, :, 2:11])

    def test_crop_of_a_long_image_stays_inside(self):
        from PIL import Image

        for size in ((1, 100), (100, 1), (7, 3), (3, 7)):
            assert fit(Image.new("L", size, 200), 5).size == (5, 5)
            assert np.asarray(fit(Image.new("L", size, 200), 5)).min() == 200

    def test_pad_adds_zeros_on_every_side(self):
        inputs = four(dtype=np.float32)
        got = arrays(inputs, pad=2).train.images
        assert got.shape == (20, 10, 9, 3) and got.dtype == np.float32
        np.testing.assert_array_equal(got[:, 2:-2, 2:-2], inputs["train_images"])
        assert got.sum() == pytest.approx(inputs["train_images"].sum(), rel=1e-5)


class TestValidation:
    @settings(deadline=None, max_examples=20)
    @given(share=st.floats(0.05, 0.9), seed=st.integers(0, 2**40))
    def test_splits_are_disjoint_and_cover_all_images(self, share, seed):
        inputs = four(n=50)
        data = load(Data(source="arrays", validation=share), seed, inputs)
        assert len(data.validation) == round(share * 50)
        both = [
            (image.tobytes(), label)
            for part in (data.train, data.validation)
            for image, label in zip(part.images, part.labels, strict=True)
        ]
        assert len(both) == 50
        whole = zip(inputs["train_images"], inputs["train_labels"], strict=True)
        assert sorted(both) == sorted((image.tobytes(), label) for image, label in whole)
        assert len(data.test) == 10

    def test_validation_depends_on_the_seed(self):
        inputs = four(n=200)
        first, again, other = (load(Data(source="arrays", validation=0.3), s, inputs).validation for s in (0, 0, 1))
        np.testing.assert_array_equal(first.images, again.images)
        assert not np.array_equal(first.images, other.images)

    def test_validation_is_the_same_as_in_older_saved_runs(self):
        """Drawn by revision 648889a with seed 3."""
        inputs = four(n=20)
        inputs["train_images"][:, 0, 0, 0] = np.arange(20)
        validation = arrays_of(inputs, 3, validation=0.3).validation
        assert validation.images[:, 0, 0, 0].tolist() == [0, 6, 7, 9, 10, 12]

    def test_split_seed_replaces_the_seed(self):
        inputs = four(n=200)
        by_seed = [arrays_of(inputs, seed, validation=0.3).validation.images for seed in (5, 6)]
        one, other = (arrays_of(inputs, seed, validation=0.3, split_seed=5).validation.images for seed in (0, 1))
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, by_seed[0])
        assert not np.array_equal(one, by_seed[1])

    @pytest.mark.parametrize("share", [0.001, 0.999])
    def test_a_split_cannot_be_empty(self, share):
        with pytest.raises(InputError, match=r"Data\.validation is .*; with 20 training images"):
            arrays(four(), validation=share)


def test_rows_are_read_when_they_are_indexed():
    source = rng.integers(0, 256, (10, 3, 2, 1), dtype=np.uint8)
    index = np.array([7, 1, 4, 9])
    rows, expected = Rows(source, index), source[index]
    assert (rows.shape, rows.dtype, rows.ndim, rows.nbytes, len(rows)) == ((4, 3, 2, 1), np.uint8, 4, 24, 4)
    np.testing.assert_array_equal(rows, expected)
    for key in (2, slice(1, 3), np.array([3, 0]), slice(None)):
        np.testing.assert_array_equal(rows[key], expected[key])
    source[:] = 0
    assert not rows[:].any()


def test_labels_outside_the_classes_are_named():
    def part(*labels):
        return Split(np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels, np.int32))

    check_labels(Dataset(part(0, 3), part(1), None, ()), 4)
    with pytest.raises(InputError, match=r"Label 3 is outside 0\.\.2.*num_classes 3.* 2 of 3 train labels"):
        check_labels(Dataset(part(0, 3, 3), part(1), None, ()), 3)
    with pytest.raises(InputError, match="1 of 2 validation labels"):
        check_labels(Dataset(part(0), part(1), part(4, 0), ()), 4)
    for labels, classes, words in [
        ((1, 2, 3), 3, r"Labels begin at 1 instead of 0; subtract 1 from each\.$"),
        (
            (0, 5, 9),
            3,
            r"Only 3 different labels occur; renumber them 0\.\.2, or set config\.model\.num_classes to 10",
        ),
        ((0, 1, 2, 3), 3, r"labels\. Set config\.model\.num_classes to 4\.$"),
    ]:
        with pytest.raises(InputError, match=words):
            check_labels(Dataset(part(*labels), part(labels[0]), None, ()), classes)
