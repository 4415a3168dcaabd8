import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import jaxcnn
from jaxcnn.__main__ import main
from jaxcnn.config import Data
from jaxcnn.data import load, prepare
from jaxcnn.runtime.errors import InputError


def run(capsys, *args):
    """Return the exit status, stdout and stderr of the command."""
    status = main(["prepare", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def lay_out(root, file_format):
    folder = root / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": file_format, "splits": []}))
    return folder


@pytest.fixture
def no_tensorflow(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "tensorflow" else real(name, *a))


@pytest.fixture
def builder(monkeypatch):
    """A fake TFDS builder that needs no TensorFlow; preparing calls its `work`."""
    fake = types.SimpleNamespace(name="mnist", url_infos={}, data_dir="somewhere", work=lambda: None)
    fake.download_and_prepare = lambda **_: fake.work()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: object())
    monkeypatch.setattr(prepare, "_hide_accelerators", lambda: None)
    monkeypatch.setattr(prepare, "_builder", lambda *_: fake)
    return fake


def test_a_data_set_that_is_already_prepared_is_reported(tmp_path, capsys, no_tensorflow):
    folder = lay_out(tmp_path, "array_record")
    assert run(capsys, "mnist", f"--data_dir={tmp_path}") == (0, f"mnist is already prepared in {folder}\n", "")


def test_a_data_set_in_another_format_is_an_error(tmp_path, capsys):
    folder = lay_out(tmp_path, "tfrecord")
    status, _, said = run(capsys, "mnist", f"--data_dir={tmp_path}")
    assert status == 2 and f"prepared as tfrecord in {folder}; only array_record can be read. Delete" in said


def test_without_tensorflow_one_message_names_the_package(tmp_path, capsys, no_tensorflow):
    status, out, said = run(capsys, "mnist", "--data_dir", tmp_path / "new")
    assert (status, out) == (2, "")
    assert said == "error: Preparing data sets needs TensorFlow; run: pip install tensorflow\n"
    assert not (tmp_path / "new").exists()


def test_an_unknown_name_suggests_a_similar_one(tmp_path, capsys):
    assert run(capsys, "cifar_10", f"--data_dir={tmp_path}") == (
        2,
        "",
        "error: TFDS has no data set 'cifar_10'. Did you mean 'cifar10'?\n",
    )
    assert run(capsys, "qqqqqqqq", f"--data_dir={tmp_path}")[2] == "error: TFDS has no data set 'qqqqqqqq'.\n"


def test_files_of_imagenet_are_checked_before_anything_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "_builder", lambda *_: pytest.fail("it started"))
    sizes = {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}
    manual = tmp_path / "downloads" / "manual"
    status, _, said = run(capsys, "imagenet2012", f"--data_dir={tmp_path}")
    assert status == 2 and len(said.splitlines()) == 1 and str(manual) in said
    assert all(f"{name} ({size / 1e9:.1f} GB, {size} bytes)" in said for name, size in sizes.items())
    assert said.endswith("Missing or of the wrong size: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar.\n")
    assert list(tmp_path.iterdir()) == []
    elsewhere = tmp_path / "tars"
    elsewhere.mkdir()
    for name, size in sizes.items():
        with open(elsewhere / name, "wb") as file:
            file.truncate(size - (name == "ILSVRC2012_img_val.tar"))
    said = run(capsys, "imagenet2012:5.1.0", f"--data_dir={tmp_path}", f"--manual_dir={elsewhere}")[2]
    assert said.endswith("Missing or of the wrong size: ILSVRC2012_img_val.tar.\n") and str(elsewhere) in said


@pytest.mark.parametrize("error", [ConnectionError("it is\ndown"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_incomplete(tmp_path, capsys, builder, error):
    root = tmp_path / "a" / "b"

    def work():
        (root / "mnist").mkdir(parents=True)
        (root / "downloads" / "mnist").mkdir(parents=True)
        (root / "downloads" / "mnist" / "train.gz.tmp.0123").touch()
        raise error

    builder.work = work
    status, _, said = run(capsys, "mnist", f"--data_dir={root}")
    expected = (130, "") if isinstance(error, KeyboardInterrupt) else (2, "error: Preparing mnist failed: it is\n")
    assert (status, said) == expected
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_existing_files_and_complete_downloads(tmp_path, capsys, builder):
    (tmp_path / "cifar10").mkdir()
    downloads = tmp_path / "downloads" / "mnist"

    def work():
        downloads.mkdir(parents=True)
        (downloads / "train.gz").touch()
        (downloads / "test.gz.tmp.4567").touch()
        raise OSError("no")

    builder.work = work
    assert run(capsys, "mnist", f"--data_dir={tmp_path}")[0] == 2
    assert [p.name for p in downloads.iterdir()] == ["train.gz"] and (tmp_path / "cifar10").exists()


def test_a_missing_network_is_reported_at_once(tmp_path, capsys, builder, monkeypatch):
    import requests

    def refuse(url, **_):
        raise requests.ConnectionError(url)

    builder.url_infos = {"gs://x/y": None, "https://data.example.org/train.gz": None}
    builder.work = lambda: pytest.fail("it started")
    monkeypatch.setattr(requests, "head", refuse)
    status, _, said = run(capsys, "mnist", f"--data_dir={tmp_path / 'new'}")
    assert status == 2
    assert said == "error: Cannot reach data.example.org to download mnist; is there a network?\n"
    assert not (tmp_path / "new").exists()


def test_a_data_set_with_manual_downloads_gives_instructions(tmp_path, monkeypatch):
    import tensorflow_datasets

    fake = types.SimpleNamespace(MANUAL_DOWNLOAD_INSTRUCTIONS="\n  Put x.zip\n  there.\n")
    monkeypatch.setattr(tensorflow_datasets, "builder", lambda *_, **__: fake)
    manual = tmp_path / "manual"
    for _ in range(2):
        with pytest.raises(InputError, match=rf"by hand in {manual} .*: Put x\.zip there\.$"):
            prepare._builder("thing", tmp_path, manual)
        manual.mkdir(exist_ok=True)
    (manual / "x.zip").touch()
    assert prepare._builder("thing", tmp_path, manual) is fake


def test_help_and_error_messages_are_short():
    def command(*args):
        cwd = Path(jaxcnn.__file__).parents[1]
        return subprocess.run([sys.executable, "-m", "jaxcnn", *args], capture_output=True, text=True, cwd=cwd)

    shown = command("prepare", "--help")
    assert shown.returncode == 0 and "--data_dir DIR" in shown.stdout and "prepare [-h] NAME" in shown.stdout
    wrong = command("prepare", "qqqqqqqq", "--data_dir=/nowhere")
    assert wrong.returncode == 2 and wrong.stderr == "error: TFDS has no data set 'qqqqqqqq'.\n"


def test_with_tensorflow_a_data_set_is_written_and_read_back(tmp_path, capsys):
    pytest.importorskip("tensorflow", reason="tensorflow is the `prepare` extra")
    import tensorflow_datasets as tfds

    class TinySquares(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(8, 9, 3)), tfds.features.ClassLabel(names=["a", "b"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(5), "test": self._generate_examples(3)}

        def _generate_examples(self, n):
            for i in range(n):
                yield i, {"image": np.full((8, 9, 3), i, np.uint8), "label": i % 2}

    status, out, _ = run(capsys, "tiny_squares", f"--data_dir={tmp_path}")
    assert status == 0 and out.endswith(f"tiny_squares is prepared in {tmp_path / 'tiny_squares' / '1.2.0'}\n")
    data = load(Data(source="tfds", name="tiny_squares", data_dir=str(tmp_path)), 0)
    assert sorted(data.train.images[:, 0, 0, 0]) == [0, 1, 2, 3, 4] and data.test.images.shape == (3, 8, 9, 3)
    np.testing.assert_array_equal(data.train.labels, data.train.images[:, 4, 4, 2] % 2)
    assert data.class_names == ("a", "b")
    assert run(capsys, "tiny_squares", f"--data_dir={tmp_path}")[:2] == (
        0,
        f"tiny_squares is already prepared in {tmp_path / 'tiny_squares' / '1.2.0'}\n",
    )
