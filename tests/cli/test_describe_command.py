"""`python -m jaxcnn describe`: formats, targets and invalid arguments."""

import csv
import errno
import io
import json

import pytest

from jaxcnn import Data, Experiment, Fake
from jaxcnn.__main__ import main
from jaxcnn.config import from_json, to_json
from jaxcnn.describe import diagram
from jaxcnn.models import VGG, AlexNet, LeNet5
from tests.describe.test_tables import Foreign


def run(capsys, *arguments):
    """Return the status, stdout and stderr."""
    status = main(["describe", *arguments])
    out, errors = capsys.readouterr()
    return status, out, errors


def test_json_can_be_read(capsys):
    status, out, _ = run(capsys, "alexnet", "--format=json")
    found = json.loads(out)
    assert status == 0 and list(found) == ["model", "input", "dtype", "layers", "totals"]
    assert from_json(found["model"]) == AlexNet() and found["input"] == [224, 224, 3]
    (conv2,) = (layer for layer in found["layers"] if layer["name"] == "conv2")
    assert conv2 == {
        "name": "conv2",
        "kind": "Conv",
        "output": [27, 27, 256],
        "kernel": 5,
        "stride": 1,
        "padding": 2,
        "groups": 2,
        "parameters": 307_456,
        "multiply_adds": 223_948_800,
        "connections": 27 * 27 * 307_456,
        "receptive_field": 51,
        "activation_bytes": 27 * 27 * 256 * 4,
    }
    (flatten,) = (layer for layer in found["layers"] if layer["kind"] == "Flatten")
    assert [flatten[key] for key in ("kernel", "stride", "padding", "groups")] == [None] * 4
    totals = found["totals"]
    assert (totals["weight_layers"], totals["parameters"], totals["multiply_adds"]) == (8, 60_965_224, 724_406_816)


def test_csv_can_be_read(capsys):
    status, out, _ = run(capsys, "vgg_d", "--format=csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and [row["name"] for row in rows] == [layer.name for layer in VGG("D").layers()]
    assert sum(int(row["parameters"]) for row in rows) == 138_357_544
    assert (rows[0]["output"], rows[0]["kernel"], rows[1]["kernel"]) == ("224x224x64", "3", "")


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_is_a_table(capsys):
    status, out, _ = run(capsys, "lenet5", "--format=markdown")
    title, empty, *table = out.splitlines()
    assert status == 0 and title == "**lenet5: LeNet5 on 32x32x1**" and empty == ""
    assert {len(cells(line)) for line in table} == {9} and all(line[:2] + line[-2:] == "|  |" for line in table)
    assert cells(table[1]) == [":--", ":--", *["--:"] * 7]
    assert cells(table[2])[:4] == ["c1", "Conv", "28x28x6", "5x5"]
    assert cells(table[-1])[0] == "**total**" and "**61,706**" in table[-1]


def test_no_figure_is_truncated_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    status, out, _ = run(capsys, "vgg_d")
    assert status == 0 and len(out.splitlines()) == len(VGG("D").layers()) + 7
    assert "102,764,544" in out and "15,470,264,320" in out


def test_a_comparison_on_the_command_line(capsys):
    status, out, _ = run(capsys, "--compare", "alexnet", "alexnet_owt", "--format=csv")
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(out))}
    assert status == 0 and rows["conv2"] == {
        "layer": "conv2",
        "alexnet": "conv5-256, groups 2",
        "alexnet_owt": "conv5-192",
    }
    assert rows["pool1"]["alexnet"] == "maxpool3/2" and rows["conv1"]["alexnet"] == "conv11-96/4"
    assert rows["parameters"] == {"layer": "parameters", "alexnet": "60,965,224", "alexnet_owt": "61,100,840"}
    status, out, _ = run(capsys, "--compare", "vgg_a", "vgg_e", "--shape=32,32,3", "--format=json")
    found = json.loads(out)
    assert status == 0 and found["vgg_e"]["input"] == [32, 32, 3]
    assert found["vgg_e"]["totals"]["weight_layers"] == 19
    assert "weight layers" in run(capsys, "--compare", "vgg_a", "vgg_e")[1]


# --- targets


CONFIG = """
from jaxcnn import Data, Experiment, Fake
from jaxcnn.models import LeNet5
def get_config():
    data = Data(source="fake", fake=Fake(shape=(30, 34, 1)), pad=1)
    return Experiment(model=LeNet5(num_classes=7), data=data)
"""


def test_a_config_file_and_the_shape_of_its_data(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(CONFIG)
    status, out, _ = run(capsys, str(path), "--format=json")
    found = json.loads(out)
    assert status == 0 and found["input"] == [32, 36, 1] and found["layers"][-1]["output"] == [7]
    assert json.loads(run(capsys, str(path), "--format=json", "--shape=40x40x2")[1])["input"] == [40, 40, 2]


def test_a_run_folder(tmp_path, capsys):
    data = Data(source="fake", fake=Fake(shape=(8, 8, 3)))
    (tmp_path / "config.json").write_text(json.dumps(to_json(Experiment(model=Foreign(), data=data))))
    status, out, _ = run(capsys, str(tmp_path))
    assert status == 0 and "second" in out and "BatchNorm" in out


def test_a_picture_is_drawn_on_request(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(diagram, "draw", lambda *args, **options: drawn.append((*args, options)))
    path = str(tmp_path / "a.svg")
    status, out, errors = run(capsys, "lenet5", f"--diagram={path}", "--format=json")
    assert drawn == [(LeNet5(), (32, 32, 1), path, {"title": "lenet5"})]
    assert status == 0 and json.loads(out) and errors == f"drew {path}\n"


def test_a_network_is_explained_in_words(capsys):
    status, out, _ = run(capsys, "vgg_a", "--explain", "--format=markdown")
    assert status == 0 and "section 2.1" in out and "132,863,336 parameters" in out
    assert "| conv1_1 to pool1 | 112x112x64 | 1,792 |" in out


@pytest.fixture
def foreign_run(tmp_path):
    data = Data(source="fake", fake=Fake(shape=(8, 8, 3)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(to_json(Experiment(model=Foreign(), data=data))))
    return str(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "describe needs a target. Networks are lenet5, "),
        (["vgg_dd"], "'vgg_dd' is unknown. Networks are lenet5, "),
        (["vgg_dd"], "Did you mean 'vgg_d'?"),
        (["batchnorm"], "Did you mean 'batch_norm'?"),
        (["nowhere.py"], "config file nowhere.py does not exist."),
        (["tests"], "tests is not a run folder"),
        (["vgg_a", "--shape=31,64,3"], "images are 31x64; this network needs at least 32x32."),
        (["vgg_a", "--shape=224"], "--shape is '224'; it must be height,width,channels, for example 224,224,3."),
        (["vgg_a", "--shape=0,224,3"], "--shape is '0,224,3'"),
        (
            ["alexnet", "--shape=224,224,3", "--diagram=a.pdf"],
            "--diagram is 'a.pdf'; the file must end in .svg or .png.",
        ),
        (["alexnet", "--diagram=nowhere/a.svg"], "its folder does not exist"),
        (["alexnet", "lenet5"], "2 targets without --compare; describe takes one target, or several with --compare."),
        (["alexnet", "--compare"], "1 target with --compare;"),
        (["alexnet", "alexnet", "--compare"], "--compare has a duplicate target; give each target once."),
        (
            ["alexnet", "lenet5", "--compare", "--explain"],
            "--compare cannot be combined with a topic, --explain or --diagram",
        ),
        (["alexnet", "batch_norm", "--compare"], "--compare cannot be combined with a topic, --explain or --diagram"),
        (["alexnet", "--explain", "--format=json"], "--explain cannot be combined with --format=json; leave out one."),
        (["batch_norm", "--format=csv"], "--format=csv cannot be combined with batch_norm; leave out one."),
        (["batch_norm", "--shape=1,1,1"], "--shape=1,1,1 cannot be combined with batch_norm; leave out one."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line(arguments, words, capsys):
    status, out, errors = run(capsys, *arguments)
    assert (status, out) == (2, "") and errors.count("\n") == 1 and errors.startswith("error: ") and words in errors


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_that_cannot_be_written_is_reported_in_one_line_and_leaves_no_file(suffix, tmp_path, capsys):
    (tmp_path / f"folder.{suffix}").mkdir()
    (tmp_path / "file").write_text("old")
    causes = {f"folder.{suffix}": "cannot be written: Is a directory", f"file/a.{suffix}": "its folder does not exist"}
    causes[f"{'a' * 300}.{suffix}"] = "cannot be written: File name too long"
    for name, cause in causes.items():
        status, out, errors = run(capsys, "lenet5", f"--diagram={tmp_path / name}")
        assert (status, out) == (2, "") and errors.count("\n") == 1
        assert errors.startswith(f"error: --diagram is '{tmp_path / name}'") and cause in errors
    assert {path.name for path in tmp_path.rglob("*")} == {f"folder.{suffix}", "file"}


def test_a_picture_in_a_folder_without_permission(tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(diagram, "draw", refuse)
    status, out, errors = run(capsys, "lenet5", f"--diagram={tmp_path}/a.svg")
    assert (status, out) == (2, "") and errors.count("\n") == 1
    assert errors.startswith(f"error: --diagram is '{tmp_path}/a.svg', which cannot be written: Permission denied.")


@pytest.mark.parametrize("option", ["--format=json", "--format=markdown", "--explain", "--diagram=a.svg"])
def test_a_network_of_the_user_has_only_a_table(option, foreign_run, capsys):
    status, out, errors = run(capsys, foreign_run, option)
    assert (status, out) == (2, "") and errors.count("\n") == 1
    assert "has a Foreign, which is not a jaxcnn.models.ConvNet" in errors


def test_missing_data_can_be_replaced_by_a_shape(tmp_path, capsys):
    data = Data(source="tfds", name="mine", data_dir=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(to_json(Experiment(model=LeNet5(), data=data))))
    status, out, errors = run(capsys, str(tmp_path))
    assert (status, out) == (2, "") and "'mine' is not prepared" in errors and "--shape=HEIGHT,WIDTH,CHANNELS" in errors
    assert run(capsys, str(tmp_path), "--shape=32,32,1")[0] == 0
