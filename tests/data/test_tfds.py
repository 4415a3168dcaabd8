import io
import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image

from jaxcnn.config import Augment, Data
from jaxcnn.data import eval_batches, load, pipeline, tfds, train_batches
from jaxcnn.data.shape import image_shape
from jaxcnn.runtime.errors import InputError

pytest.importorskip("array_record", reason="array_record has no wheel for this platform")

rng = np.random.default_rng(0)
CONNECTOR = "tensorflow_datasets.core.features."
REAL = os.environ.get("JAXCNN_TFDS_DIR") or os.environ.get("TFDS_DATA_DIR")


def encode(image, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, form)
    return file.getvalue()


def feature(kind, shape=None):
    if kind == "image":
        sizes = ["-1" if side is None else str(side) for side in shape]
        return {
            "pythonClassName": CONNECTOR + "image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": sizes}},
        }
    if kind == "text":
        return {"pythonClassName": CONNECTOR + "text_feature.Text", "text": {}}
    return {"pythonClassName": CONNECTOR + "class_label_feature.ClassLabel", "classLabel": {"numClasses": "3"}}


def write(
    root,
    splits,
    *,
    name="shapes",
    version="1.0.0",
    shape=(4, 5, 1),
    features=None,
    supervised=("image", "label"),
    **info,
):
    """Write a data set in the format of TFDS: `splits` maps a name to (images, labels); every key is a feature."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = Path(root) / name / version
    folder.mkdir(parents=True)
    features = features or {"image": feature("image", shape), "label": feature("label"), "id": feature("text")}
    for split, (images, labels) in splits.items():
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1")
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = tf_example_pb2.Example()
            for key, kind in features.items():
                slot = example.features.feature[key]
                if "image" in kind:
                    slot.bytes_list.value.append(image if isinstance(image, bytes) else encode(image))
                elif "text" in kind:
                    slot.bytes_list.value.append(f"row {row}".encode())
                else:
                    slot.int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
    pattern = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    described = {
        "name": name,
        "version": version,
        "fileFormat": "array_record",
        "moduleName": "somewhere.else",
        "splits": [
            {"name": s, "filepathTemplate": pattern, "numBytes": "1", "shardLengths": [str(len(labels))]}
            for s, (_, labels) in splits.items()
        ],
    }
    if supervised:
        described["supervisedKeys"] = {"tuple": {"items": [{"featureKey": key} for key in supervised]}}
    (folder / "dataset_info.json").write_text(json.dumps(described | info))
    named = {"pythonClassName": CONNECTOR + "features_dict.FeaturesDict", "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(named))
    return folder


def parts(n=7, m=3, shape=(4, 5, 1)):
    return {
        split: (rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % 3)
        for split, count in (("train", n), ("test", m))
    }


def config(root, **changes):
    return Data(**{"source": "tfds", "name": "shapes", "data_dir": str(root), **changes})


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Raise an error if the network is used."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def entries(tmp_path):
    return sorted((tmp_path / "cache" / "tfds").iterdir())


@pytest.mark.parametrize("shape", [(4, 5, 1), (6, 4, 3), (5, 5, 4)])
def test_examples_are_read_as_written(root, shape):
    truth = parts(shape=shape)
    write(root, truth, shape=shape)
    data = load(config(root), 0)
    for split in ("train", "test"):
        got = getattr(data, split)
        np.testing.assert_array_equal(got.images, truth[split][0])
        np.testing.assert_array_equal(got.labels, truth[split][1])
        assert isinstance(got.images, np.memmap) and got.labels.dtype == np.int32
    assert data.class_names == ("0", "1", "2")


def test_class_names_are_read_from_the_data_set(root):
    folder = write(root, parts())
    (folder / "label.labels.txt").write_text("round\nsquare\npointed\n")
    assert load(config(root), 0).class_names == ("round", "square", "pointed")


def test_a_second_launch_reads_no_tfds_and_writes_nothing(root, tmp_path, monkeypatch):
    truth = parts()
    write(root, truth)
    load(config(root), 0)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    np.testing.assert_array_equal(load(config(root), 0).train.images, truth["train"][0])
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")} == before


def test_pad_and_image_size_have_separate_cache_entries(root, tmp_path):
    truth = parts(shape=(8, 12, 1))
    write(root, truth, shape=(8, 12, 1))
    images = truth["train"][0]
    np.testing.assert_array_equal(load(config(root, image_size=8), 0).train.images, images[:, :, 2:10])
    padded = load(config(root, pad=2), 0).train.images
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))))
    np.testing.assert_array_equal(load(config(root), 0).train.images, images)
    assert len(entries(tmp_path)) == 6


def test_a_data_set_that_is_prepared_again_is_read_again(root):
    folder = write(root, parts())
    load(config(root), 0)
    shutil.rmtree(folder)
    truth = parts(n=8)
    write(root, truth)
    np.testing.assert_array_equal(load(config(root), 0).train.images, truth["train"][0])


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["absent", "empty", "half", "garbage", "foreign"])
def test_a_damaged_cache_is_rebuilt(root, tmp_path, name, damage):
    truth = parts(shape=(16, 16, 1))
    write(root, truth, shape=(16, 16, 1))
    load(config(root), 0)
    for entry in entries(tmp_path):
        whole = (entry / name).read_bytes()
        (entry / name).unlink()
        if damage == "foreign" and name == "meta.json":
            (entry / name).write_text('{"shape": [2, 16, 16, 1], "class_names": []}')
        elif damage == "foreign":
            np.save(entry / name, np.zeros((2, 16, 16, 1), np.uint8))
        elif damage != "absent":
            ends = {"empty": b"", "half": whole[: len(whole) // 2], "garbage": b"\x93NUMPY" + whole[::-1]}
            (entry / name).write_bytes(ends[damage])
    data = load(config(root), 0)
    np.testing.assert_array_equal(data.train.images, truth["train"][0])
    np.testing.assert_array_equal(data.train.labels, truth["train"][1])


def test_an_interrupted_build_leaves_nothing_that_is_read(root, tmp_path, monkeypatch):
    truth = parts()
    write(root, truth)
    real, calls = os.replace, []

    def interrupted(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(config(root), 0)
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == ["images.npy"]
    np.testing.assert_array_equal(load(config(root), 0).train.images, truth["train"][0])


def test_leftovers_of_killed_processes_are_removed_after_a_day(root, tmp_path):
    write(root, parts())
    old, new = (tmp_path / "cache" / "tfds" / f".building-{age}" for age in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "images.npy").touch()
    for path in (old, old / "images.npy"):
        os.utime(path, (0, 0))
    load(config(root), 0)
    assert not old.exists() and new.exists()


def test_concurrent_loads_agree(root, tmp_path):
    truth = parts(n=200)
    write(root, truth)
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: load(config(root), 0), range(8)):
            np.testing.assert_array_equal(data.train.images, truth["train"][0])
    assert len(entries(tmp_path)) == 2


def test_a_read_only_data_dir_is_supported(root):
    folder = write(root, parts())
    before = sorted(p.name for p in folder.iterdir())
    folder.chmod(0o555)
    try:
        load(config(root), 0)
    finally:
        folder.chmod(0o755)
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_disk_that_is_too_small_is_an_error_before_anything_is_written(root, tmp_path, monkeypatch):
    write(root, parts())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100))
    with pytest.raises(InputError, match=r"need 0\.0 GB .* 0\.0 GB free; .*JAXCNN_CACHE_DIR"):
        load(config(root), 0)
    assert not entries(tmp_path)


def test_a_cache_that_cannot_be_written_is_an_error(root, tmp_path, monkeypatch):
    write(root, parts())
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"Cannot write the cache in .*file.*JAXCNN_CACHE_DIR"):
        load(config(root), 0)


def test_the_error_for_missing_data_has_the_command(root, monkeypatch):
    message = rf"data set 'shapes' is not prepared in {root}; run: python -m jaxcnn prepare shapes --data_dir={root}$"
    with pytest.raises(InputError, match=message):
        load(config(root), 0)
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    with pytest.raises(InputError, match=message):
        load(config(root, data_dir=None), 0)
    write(root, parts())
    assert len(load(config(root, data_dir=None), 0).train) == 7
    with pytest.raises(InputError, match=r"'shapes:2\.0\.0' is not prepared"):
        load(config(root, name="shapes:2.0.0"), 0)


def test_the_newest_version_is_read_unless_one_is_named(root):
    versions = {version: parts(n=n) for n, version in ((5, "1.9.0"), (6, "1.10.0"))}
    for version, truth in versions.items():
        write(root, truth, version=version)
    write(root, parts(n=9), version="9.9.9.incomplete")
    assert len(load(config(root), 0).train) == 6
    assert len(load(config(root, name="shapes:1.9.0"), 0).train) == 5


def test_prepared_configurations_are_listed(root):
    write(root / "shapes", parts(), name="big")
    with pytest.raises(
        InputError, match=r"has configurations; set config\.data\.name to one that is prepared in .*: shapes/big\."
    ):
        load(config(root), 0)
    assert tfds.find("shapes/big", str(root)).splits == ("train", "test")


def test_the_error_lists_prepared_versions_and_similar_names(root):
    write(root / "shapes", parts(), name="big")
    for version in ("1.0.0", "9.9.9.incomplete"):
        write(root, parts(), name="letters", version=version)
    write(root, parts(), name="letters", version="2.0.0")
    run = "or run: python -m jaxcnn prepare"
    for name, words in {
        "letters:3.0.0": rf"in {root}, which contains letters:1\.0\.0, letters:2\.0\.0\. Set config.* {run}",
        "letters/round": rf"which contains letters:1\.0\.0, letters:2\.0\.0\. Set .*, {run} letters/round ",
        "shapes/small": rf"which contains shapes/big:1\.0\.0\. Set .*, {run} shapes/small ",
        "leters": r"not prepared in .*data\. Did you mean 'letters'\? Otherwise run: python -m jaxcnn prepare leters",
    }.items():
        with pytest.raises(InputError, match=words):
            load(config(root, name=name), 0)
        with pytest.raises(InputError, match=words):
            image_shape(config(root, name=name), Augment())


def test_another_format_is_an_error(root):
    folder = write(root, parts(), fileFormat="tfrecord")
    with pytest.raises(InputError, match=rf"prepared as tfrecord; .*Delete {folder} .* run: python -m jaxcnn prepare"):
        load(config(root), 0)


@pytest.mark.parametrize("decode", ["once", "always"])
def test_a_class_without_training_images_gives_a_warning(root, decode):
    write(root, parts(n=6, m=6))
    with pytest.warns(UserWarning, match=r"^2 of 6 test images have a class that no training image has \(label 2\)"):
        load(config(root, train_split="train[:2]", decode=decode), 0)


def test_unknown_splits_are_errors_and_known_ones_are_read(root):
    truth = parts()
    write(root, truth)
    with pytest.raises(InputError, match=r"Data\.test_split is 'validation'; the splits of 'shapes' are train, test"):
        load(config(root, test_split="validation"), 0)
    with pytest.raises(InputError, match=r"Cannot read split 'train\[:'"):
        load(config(root, train_split="train[:"), 0)
    data = load(config(root, train_split="train[:2]+test[1:]", test_split="train[2:]"), 0)
    expected = np.concatenate([truth["train"][0][:2], truth["test"][0][1:]])
    np.testing.assert_array_equal(data.train.images, expected)
    np.testing.assert_array_equal(data.test.images, truth["train"][0][2:])


def test_a_split_without_labels_or_examples_is_an_error(root):
    truth = parts()
    truth["unlabelled"] = (truth["test"][0], [-1, -1, -1])
    truth["empty"] = ([], [])
    write(root, truth)
    for decode in ("once", "always"):
        with pytest.raises(InputError, match=r"split 'unlabelled' .* has no labels"):
            load(config(root, test_split="unlabelled", decode=decode), 0)
    with pytest.raises(InputError, match="split 'empty'"):
        load(config(root, test_split="empty"), 0)


def test_images_of_different_sizes_need_image_size(root):
    images = [np.full((6, 6 + row, 3), 40 * row, np.uint8) for row in range(4)]
    truth = {split: (images, [0, 1, 2, 0]) for split in ("train", "test")}
    write(root, truth, shape=(None, None, 3))
    with pytest.raises(
        InputError, match=r"differ in size, for example \(6, 6\) and \(6, 7\).*config\.data\.image_size"
    ):
        load(config(root), 0)
    got = load(config(root, image_size=6), 0).train.images
    np.testing.assert_array_equal(got, [image[:, :6] for image in images])


def test_large_encodings_are_decoded_in_order_by_threads(root, monkeypatch):
    monkeypatch.setattr(tfds, "_THREADED", 0)
    truth = parts(n=50)
    write(root, truth)
    np.testing.assert_array_equal(load(config(root), 0).train.images, truth["train"][0])


@pytest.mark.parametrize("first_is_large", [True, False])
def test_the_number_of_threads_does_not_depend_on_the_first_image_alone(root, monkeypatch, first_is_large):
    monkeypatch.setattr(tfds.os, "cpu_count", lambda: 4)
    flat, noisy = np.zeros((90, 90, 3), np.uint8), rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)
    assert len(encode(flat)) < tfds._THREADED < len(encode(noisy))
    first, others = (noisy, flat) if first_is_large else (flat, noisy)
    images = np.stack([first, *[others] * 19])
    write(root, {"train": (images, [0] * 20), "test": (images[1:2], [0])}, shape=(90, 90, 3))
    data = load(config(root, decode="always"), 0)
    assert data.train.images.source.threads == (1 if first_is_large else 4)
    np.testing.assert_array_equal(data.train.images, images)


def test_jpegs_and_other_colour_modes_are_converted_to_the_described_channels(root):
    image = np.asarray(Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)).resize((16, 16)))
    grey = np.full((16, 16, 1), 7, np.uint8)
    files = [encode(image, "JPEG"), encode(grey)]
    write(root, {split: (files, [0, 1]) for split in ("train", "test")}, shape=(16, 16, 3))
    got = load(config(root), 0).train.images
    np.testing.assert_array_equal(got[0], np.asarray(Image.open(io.BytesIO(files[0]))))
    np.testing.assert_array_equal(got[1], np.full((16, 16, 3), 7))


def test_features_are_found_by_kind(root):
    picture, kind = feature("image", (4, 5, 1)), feature("label")
    truth = parts()
    write(root, truth, name="only", features={"pic": picture, "kind": kind}, supervised=None)
    np.testing.assert_array_equal(load(config(root, name="only"), 0).train.images, truth["train"][0])
    two = {"coarse": kind, "fine": kind, "picture": picture}
    write(root, truth, name="named", features=two, supervised=("picture", "fine"))
    assert len(load(config(root, name="named"), 0).train) == 7
    write(root, truth, name="doubtful", features=two, supervised=None)
    with pytest.raises(
        InputError, match=r"not for image classification: .*1 image.*2 class label.*coarse, fine, picture"
    ):
        load(config(root, name="doubtful"), 0)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "shapes-train.array_record-00000-of-00001"])
def test_damaged_data_sets_are_named(root, file):
    folder = write(root, parts())
    (folder / file).write_bytes((folder / file).read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"{folder}.*(prepare shapes|delete)"):
        load(config(root), 0)


def test_an_image_that_cannot_be_decoded_is_named(root):
    truth = parts()
    images = [*map(encode, truth["train"][0][:-1]), b"no image"]
    write(root, {"train": (images, truth["train"][1]), "test": truth["test"]})
    with pytest.raises(InputError, match="Cannot read split 'train'"):
        load(config(root), 0)


def test_validation_of_a_memory_map_stays_on_disk(root):
    truth = parts(n=20)
    write(root, truth)
    data = load(config(root, validation=0.25), 3)
    assert isinstance(data.train.images.source, np.memmap) and len(data.validation) == 5
    both = np.concatenate([data.train.images, data.validation.images])
    assert sorted(i.tobytes() for i in both) == sorted(i.tobytes() for i in truth["train"][0])


# --- images that are decoded when they are read


@pytest.fixture(params=["asked", "too large"])
def each_time(request, monkeypatch):
    """Settings under which images are decoded when they are read."""
    monkeypatch.setattr(tfds, "_THREADED", 0)
    if request.param == "asked":
        return {"decode": "always"}
    monkeypatch.setattr(tfds, "DECODE_ONCE_BYTES", 100)
    return {}


def jpegs(n=20, m=9, side=24):
    """Return two splits of JPEG files of different sizes."""

    def one(row):
        image = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((side + row % 5, side))
        return encode(np.asarray(image), "JPEG")

    return {split: ([one(row) for row in range(k)], np.arange(k) % 3) for split, k in (("train", n), ("test", m))}


def test_images_decoded_when_read_equal_those_decoded_once(root, tmp_path, each_time):
    write(root, jpegs(), shape=(None, None, 3))
    lazy = load(config(root, image_size=16, pad=1, **each_time), 0)
    assert sorted(p.name for p in (tmp_path / "cache").rglob("*.npy")) == ["labels.npy"] * 2
    once = load(config(root, image_size=16, pad=1, decode="once"), 0)
    for split in ("train", "test"):
        got, expected = getattr(lazy, split), getattr(once, split)
        assert isinstance(expected.images, np.memmap) and not isinstance(got.images, np.ndarray)
        assert (len(got), got.images.shape, got.images.nbytes) == (
            len(expected),
            expected.images.shape,
            expected.images.nbytes,
        )
        assert (got.images.dtype, got.images.ndim) == (np.uint8, 4)
        np.testing.assert_array_equal(got.labels, expected.labels)
        np.testing.assert_array_equal(got.images, expected.images)
        for rows in (3, -1, slice(2, 7), slice(4, 4), np.array([5, 0, 5]), np.arange(len(got)) > 6):
            np.testing.assert_array_equal(got.images[rows], expected.images[rows])
    assert lazy.class_names == once.class_names


def test_images_decoded_before_are_used_unless_decode_is_always(root, monkeypatch):
    write(root, parts())
    load(config(root), 0)
    monkeypatch.setattr(tfds, "DECODE_ONCE_BYTES", 100)
    assert isinstance(load(config(root), 0).train.images, np.memmap)
    assert not isinstance(load(config(root, decode="always"), 0).train.images, np.memmap)


def test_labels_are_read_once_and_without_their_images(root, monkeypatch, each_time):
    truth = jpegs()
    write(root, truth, shape=(None, None, 3))
    decoded, real = [], tfds._Reader._decode
    monkeypatch.setattr(tfds._Reader, "_decode", lambda self, encoded: decoded.append(encoded) or real(self, encoded))
    data = load(config(root, image_size=16, **each_time), 0)
    np.testing.assert_array_equal(data.train.labels, truth["train"][1])
    # The first image of each split is decoded to determine the shape.
    assert len(decoded) == 2
    monkeypatch.setattr(tfds._Reader, "label_parts", None)
    for size in (16, 12):
        again = load(config(root, image_size=size, **each_time), 0).test
        np.testing.assert_array_equal(again.labels, truth["test"][1])


def test_damaged_labels_are_read_again(root, tmp_path):
    truth = parts()
    write(root, truth)
    load(config(root, decode="always"), 0)
    for damage in (b"", b"garbage"):
        for entry in entries(tmp_path):
            (entry / "labels.npy").write_bytes(damage)
        np.testing.assert_array_equal(load(config(root, decode="always"), 0).train.labels, truth["train"][1])


@pytest.mark.parametrize("devices", [None, 8])
def test_batches_of_images_decoded_when_read_equal_those_decoded_once(root, monkeypatch, devices):
    monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)
    write(root, jpegs(40, 13), shape=(None, None, 3))
    lazy, once = (load(config(root, image_size=16, validation=0.2, decode=d), 3) for d in ("always", "once"))
    sharding = devices and NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    read, real = [], tfds._Reader.read
    monkeypatch.setattr(tfds._Reader, "read", lambda self, rows: read.append(len(rows)) or real(self, rows))
    for part, make in (("train", train_batches), ("validation", eval_batches), ("test", eval_batches)):
        options = {"seed": 1} if part == "train" else {}
        batches = [make(getattr(data, part), 8, sharding=sharding, **options) for data in (lazy, once)]
        for _, got, expected in zip(range(6), *batches, strict=False):
            jax.tree.map(np.testing.assert_array_equal, got, expected)
        for each in batches:
            each.close()
    # A batch is read at once for any number of devices; the last batch of the test split is not full.
    assert set(read) == {8, 5}


def test_sizes_that_may_differ_are_an_error_before_training(root):
    write(root, jpegs(), shape=(None, None, 3))
    with pytest.raises(InputError, match=r"split 'train' .* may differ in size; set config\.data\.image_size"):
        load(config(root, decode="always"), 0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(b"no image", "Cannot read split 'train'"), (encode(np.zeros((5, 5, 1), np.uint8)), "differ in size")],
)
def test_an_invalid_image_is_an_error_when_it_is_read(root, monkeypatch, wrong, words):
    monkeypatch.setattr(tfds, "_THREADED", 0)
    truth = parts(n=20)
    write(root, {"train": ([*map(encode, truth["train"][0][:-1]), wrong], truth["train"][1]), "test": truth["test"]})
    images = load(config(root, decode="always"), 0).train.images
    assert len(images[:19]) == 19
    with pytest.raises(InputError, match=words):
        images[10:]


def test_no_tensorflow_is_imported(root, tmp_path):
    write(root, parts())
    script = (
        "import sys; from jaxcnn.config import Data; from jaxcnn.data import load;"
        f"assert len(load(Data(source='tfds', name='shapes', data_dir={str(root)!r}), 0).train) == 7;"
        "assert 'tensorflow_datasets' in sys.modules; print('tensorflow' in sys.modules)"
    )
    checkout = Path(tfds.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=checkout)
    assert done.stdout == "False\n", done.stderr
    assert f"decoding shapes train once, 7 images, into {tmp_path / 'cache'}" in done.stderr


@pytest.mark.skipif(not REAL, reason="needs $JAXCNN_TFDS_DIR or $TFDS_DATA_DIR with mnist prepared")
def test_mnist_has_its_known_statistics():
    data = load(Data(source="tfds", name="mnist", data_dir=REAL, pad=2), 0)
    assert data.train.images.shape == (60000, 32, 32, 1) and data.test.images.shape == (10000, 32, 32, 1)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.train.labels).tolist() == counts
    # The usual mean pixel of 28x28 MNIST.
    assert data.train.images.sum(dtype=np.int64) / (60000 * 28 * 28 * 255) == pytest.approx(0.1307, abs=1e-4)
