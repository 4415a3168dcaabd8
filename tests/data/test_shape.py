import json

import numpy as np
import pytest

from jaxcnn.config import Augment, Data, Fake
from jaxcnn.data import load
from jaxcnn.data.shape import image_shape
from jaxcnn.runtime.errors import InputError


def describe(root, *dimensions):
    """Write only the description of a data set."""
    folder = root / "things" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": "array_record", "splits": []}))
    image = {"image": {"dtype": "uint8", "shape": {"dimensions": list(map(str, dimensions))}}}
    features = {"id": {"text": {}}, "image": image, "label": {"classLabel": {"numClasses": "3"}}}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": features}}))
    return Data(source="tfds", name="things", data_dir=str(root))


@pytest.mark.parametrize(
    "data",
    [
        Data(source="fake", fake=Fake(shape=(6, 9, 3))),
        Data(source="fake", fake=Fake(shape=(6, 9, 3)), pad=2, validation=0.5),
        Data(source="fake", fake=Fake(shape=(12, 9, 1)), image_size=5, pad=1),
        Data(source="fake", fake=Fake(shape=(12, 9, 3)), image_size=5, pad=1, mean=(0.1, 0.2, 0.3)),
        Data(source="digits"),
    ],
    ids=["fake", "padded", "resized", "from the settings", "digits"],
)
def test_the_shape_equals_that_of_the_loaded_images(data):
    loaded = load(data, seed=0).train.images.shape[1:]
    assert image_shape(data, Augment()) == loaded
    assert image_shape(data, Augment(crop=4)) == (4, 4, loaded[2])


def test_the_shape_of_an_npz_file(tmp_path):
    images, labels = np.zeros((3, 5, 7), np.uint8), np.zeros(3, int)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert image_shape(Data(source="arrays", name=str(tmp_path / "a.npz")), Augment()) == (5, 7, 1)


def test_a_prepared_data_set_is_not_read(tmp_path):
    data = describe(tmp_path, 28, 30, 1)
    assert image_shape(data, Augment()) == (28, 30, 1)
    assert image_shape(Data(**{**vars(data), "pad": 2}), Augment()) == (32, 34, 1)
    assert image_shape(Data(**{**vars(data), "image_size": 20, "pad": 1}), Augment()) == (22, 22, 1)


def test_images_of_different_sizes(tmp_path):
    data = describe(tmp_path, -1, -1, 3)
    assert image_shape(data, Augment(crop=224)) == (224, 224, 3)
    with pytest.raises(InputError, match=r"'things' has images of different sizes; set config\.data\.image_size\."):
        image_shape(data, Augment())


def test_missing_data(tmp_path):
    missing = Data(source="tfds", name="imagenet2012", data_dir=str(tmp_path), image_size=256, std=(0.2, 0.2, 0.2))
    assert image_shape(missing, Augment()) == (256, 256, 3)
    with pytest.raises(InputError, match=r"'imagenet2012' is not prepared in .*; run: python -m jaxcnn prepare"):
        image_shape(Data(**{**vars(missing), "std": (1.0,)}), Augment(crop=224))


def test_a_well_known_data_set_that_is_not_prepared(tmp_path):
    data = Data(source="tfds", name="mnist:3.0.1", data_dir=str(tmp_path), pad=2)
    assert image_shape(data, Augment()) == (32, 32, 1)
    assert image_shape(Data(**{**vars(data), "name": "cifar10"}), Augment(crop=28)) == (28, 28, 3)


def test_a_description_without_an_image(tmp_path):
    data = describe(tmp_path, 28, 28, 1)
    (tmp_path / "things" / "1.0.0" / "features.json").write_text('{"featuresDict": {"features": {}}}')
    with pytest.raises(InputError, match=r"features\.json does not describe the shape of exactly one image\."):
        image_shape(data, Augment())


def test_targets_subgroups_and_few_labels_do_not_change_the_shape():
    data = Data(source="digits", target="corruption:fog:5", subgroup="classes=0-1", train_count=10, pad=1)
    assert image_shape(data, Augment()) == (34, 34, 1)
