import csv
import io
import json

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jaxcnn import Data, Experiment, Fake, diagram
from jaxcnn.__main__ import main
from jaxcnn.config import from_json, to_json
from jaxcnn.describe import (
    _bytes,
    _merged,
    comparison,
    decay_table,
    network,
    network_grid,
    network_table,
    settings_table,
    stages,
)
from jaxcnn.layers import AveragePool, Conv, Dense, Flatten, Layer, MaxPool
from jaxcnn.models import VGG, ZOO, AlexNet, ConvNet, LeNet5


def lines(table):
    """Words of every line with any, as it prints."""
    console = Console(width=200, force_terminal=False)
    with console.capture() as shown:
        console.print(table)
    return [line.split() for line in shown.get().splitlines() if line.split()]


def test_a_line_for_every_layer_of_lenet5_and_the_totals():
    title, heading, _, *rows, totals = lines(network_table(LeNet5(), (32, 32, 1)))
    assert title == ["LeNet5", "on", "32x32x1"]
    assert heading == ["layer", "kind", "output", "window", "parameters", "multiply-adds", "sees"]
    assert rows == [
        ["c1", "Conv", "28x28x6", "5x5", "156", "117,600", "5x5"],
        ["act1", "Activation", "28x28x6", "5x5"],
        ["s2", "AveragePool", "14x14x6", "2x2/2", "6x6"],
        ["c3", "Conv", "10x10x16", "5x5", "2,416", "240,000", "14x14"],
        ["act3", "Activation", "10x10x16", "14x14"],
        ["s4", "AveragePool", "5x5x16", "2x2/2", "16x16"],
        ["c5", "Conv", "1x1x120", "5x5", "48,120", "48,000", "32x32"],
        ["act5", "Activation", "1x1x120", "32x32"],
        ["flatten", "Flatten", "120", "32x32"],
        ["f6", "Dense", "84", "10,164", "10,080", "32x32"],
        ["act6", "Activation", "84", "32x32"],
        ["output", "Dense", "10", "850", "840", "32x32"],
    ]
    assert totals == ["total", "61,706", "416,520"]


def test_the_layers_of_1998_have_lines_too():
    *rows, totals = lines(network_table(LeNet5(variant="1998"), (32, 32, 1)))
    assert ["s2", "TrainableSubsampling", "14x14x6", "2x2/2", "12", "1,176", "6x6"] in rows
    assert ["c3", "Conv", "10x10x16", "5x5", "1,516", "150,000", "14x14"] in rows
    assert ["output", "RadialBasis", "10", "840", "32x32"] in rows
    assert totals[:2] == ["total", "60,000"]


class Odd(ConvNet):
    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        return (
            Conv(2, kernel=3, stride=2, padding=1, name="a"),
            AveragePool(3, stride=1, name="b"),
            Flatten(name="c"),
            Dense(5, name="d"),
        )


def test_windows_show_stride_and_padding():
    rows = lines(network_table(Odd(), (9, 9, 3)))[3:7]
    assert rows[0][:3] == ["a", "Conv", "5x5x2"]
    assert rows[0][3:6] == ["3x3/2", "pad", "1"]
    assert rows[1] == ["b", "AveragePool", "3x3x2", "3x3", "7x7"]


class Foreign(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(4, (3, 3), name="first")(x))
        x = nn.BatchNorm(use_running_average=not train, name="second")(x)
        return nn.Dense(10, name="third")(x.mean((1, 2)))


def test_other_modules_get_flax_own_table():
    text = network_table(Foreign(), (8, 8, 3))
    assert isinstance(text, str)
    variables = jax.eval_shape(lambda: Foreign().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    total = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert total == 4 * 28 + 2 * 4 + 50
    for word in ("first", "second", "third", f"{total:,}"):
        assert word in text


def test_what_decays_stands_beside_what_does_not():
    leaves = [("c1/kernel", (5, 5, 1, 6), True), ("c1/bias", (6,), False), ("output/bias", (10,), False)]
    title, heading, _, *rows = lines(decay_table(leaves, 5e-4, "l2"))
    assert title == ["weight", "decay", "0.0005,", "l2"]
    assert heading == ["decays", "does", "not"]
    assert rows == [["c1/kernel", "5x5x1x6", "c1/bias", "6"], ["output/bias", "10"]]


def test_settings_one_a_line():
    assert lines(settings_table({"seed": 3, "data.mean": [0.5, 1.0]}))[1:] == [
        ["config.seed", "3"],
        ["config.data.mean", "[0.5,", "1.0]"],
    ]


# --- the whole table


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LeNet5(variant="1998"), (32, 32, 1)),
        (AlexNet(), (224, 224, 3)),
        (AlexNet(variant="owt"), (224, 224, 3)),
        (VGG("E", norm="group"), (224, 224, 3)),
    ],
    ids=["lenet5_1998", "alexnet", "owt", "vgg_e"],
)
def test_what_training_prints_fits_a_hundred_columns(model, shape):
    console = Console(width=300, force_terminal=False)
    with console.capture() as shown:
        console.print(network_table(model, shape))
    assert max(len(line.rstrip()) for line in shown.get().splitlines()) <= 100


def test_memory_is_what_the_outputs_take():
    model, image = AlexNet(stem="cifar_32", head="cifar", num_classes=10, dtype="bfloat16"), jnp.zeros((1, 32, 32, 3))

    def outputs(key):
        variables = model.init(key, image, train=False)
        return model.apply(variables, image, train=False, capture_intermediates=True, mutable=["intermediates"])[1]

    kept = jax.eval_shape(outputs, jax.random.key(0))["intermediates"]
    expected = {k: v["__call__"][0].size * 2 for k, v in kept.items() if k != "__call__"}
    found = network(model, (32, 32, 3))
    assert {layer["name"]: layer["activation_bytes"] for layer in found["layers"]} == expected
    assert found["totals"]["activation_bytes"] == sum(expected.values())
    grid = network_grid("", model, (32, 32, 3))
    assert dict(zip(grid.headings, grid.rows[0], strict=True))["memory"] == "197 kB"  # 32x32x96 values of 2 bytes
    assert "memory" not in network_grid("", model, (32, 32, 3), narrow=True).headings


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9996, "10.0 kB"),
        (99_949, "99.9 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (12_845_056, "12.8 MB"),
        (5 * 10**11, "500 GB"),
    ],
)
def test_bytes_have_three_digits(count, words):
    assert _bytes(count) == words


def test_connections_are_told_of_lenet_alone():
    lenet, vgg = (network_grid("", ZOO[name].model, ZOO[name].shape) for name in ("lenet5", "vgg_a"))
    assert "connections" in lenet.headings and "connections" not in vgg.headings
    # Every layer as the paper counts: with its bias for each unit; pooling without parameters has its inputs alone.
    by_hand = 784 * 6 * 26 + 4704 + 100 * 16 * 151 + 1600 + 120 * 401 + 84 * 121 + 10 * 85
    assert lenet.footer[lenet.headings.index("connections")] == f"{by_hand:,}"


def test_groups_show_in_the_window():
    grid = network_grid("", AlexNet(), (224, 224, 3), narrow=True)
    windows = {row[0]: row[grid.headings.index("window")] for row in grid.rows}
    assert windows["conv1"] == "11x11/4 pad 2" and windows["conv2"] == "5x5 pad 2 groups 2"
    assert windows["pool1"] == "3x3/2" and windows["fc6"] == ""


# --- formats


def run(capsys, *arguments):
    """Status, lines of stdout, stderr."""
    status = main(["describe", *arguments])
    out, errors = capsys.readouterr()
    return status, out, errors


def test_json_is_read_back(capsys):
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


def test_csv_is_read_back(capsys):
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


def test_no_figure_is_cut_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    status, out, _ = run(capsys, "vgg_d")
    assert status == 0 and len(out.splitlines()) == len(VGG("D").layers()) + 7
    assert "102,764,544" in out and "15,470,264,320" in out


# --- side by side

# Table 1 of the paper, without what all columns share: 64, LRN or 1x1 are its words.
TABLE_1 = {
    "vgg_a": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg_a_lrn": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg_b": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg_c": "64 64 M 128 128 M 256 256 1:256 M 512 512 1:512 M 512 512 1:512 M",
    "vgg_d": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg_e": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
WEIGHT_LAYERS = {"vgg_a": 11, "vgg_a_lrn": 11, "vgg_b": 13, "vgg_c": 16, "vgg_d": 16, "vgg_e": 19}


def test_table_1_of_the_vgg_paper():
    grid = comparison({name: (ZOO[name].model, ZOO[name].shape) for name in TABLE_1})
    assert grid.headings == ("layer", *TABLE_1)
    words = {"M": "maxpool", "LRN": "LRN"}
    for i, (name, column) in enumerate(TABLE_1.items(), 1):
        found = [row[i] for row in grid.rows if row[i]]
        expected = [
            words.get(w) or f"conv{w[0]}-{w[2:]}" if ":" in w or w in words else f"conv3-{w}" for w in column.split()
        ]
        assert found[:-3] == ["224x224x3", *expected, "FC-4096", "FC-4096", "FC-1000"]
        assert found[-3] == str(WEIGHT_LAYERS[name])
        assert (
            found[-2]
            == f"{sum(layer['parameters'] for layer in network(ZOO[name].model, ZOO[name].shape)['layers']):,}"
        )
    names = [row[0] for row in grid.rows]
    for row in grid.rows[1:-3]:
        for name, cell in zip(TABLE_1, row[1:], strict=True):
            assert bool(cell) == (row[0] in [layer.name for layer in ZOO[name].model.layers()])
    assert names[:6] == ["input", "conv1_1", "norm1_1", "conv1_2", "pool1", "conv2_1"]
    assert {names[i] for i in grid.sections} >= {"pool1", "conv2_1", "pool5", "fc6", "weight layers"}


def test_activations_and_dropout_show_where_networks_disagree():
    shape = (32, 32, 3)
    nets = {
        "a": (VGG("A", head="imagenet", width=0.01), shape),
        "b": (VGG("A", head="imagenet", width=0.01, dropout=0.2), shape),
        "c": (VGG("B", head="imagenet", width=0.01, activation="tanh", norm="batch"), shape),
    }
    rows = {row[0]: row[1:] for row in comparison(nets).rows}
    assert rows["drop6"] == ("dropout 0.5", "dropout 0.2", "dropout 0.5")
    assert rows["act1_1"] == ("relu", "relu", "tanh") and rows["norm1_1"] == ("", "", "BN")
    assert "flatten" not in rows and "act1_2" not in rows
    assert not {"drop6", "act1_1"} & {row[0] for row in comparison({"a": nets["a"], "again": nets["a"]}).rows}


NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


@given(NAMES, NAMES)
@settings(max_examples=60, deadline=None)
def test_aligned_names_keep_the_order_of_both(a, b):
    merged = _merged(a, b)
    for names in (a, b):
        rest = iter(merged)
        assert all(name in rest for name in names)
    assert len(merged) <= len(a) + len(b) and len(_merged(a, a)) == len(a)


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


# --- stages


def test_stages_end_with_pooling_and_the_dense_layers_are_one():
    rows = stages(VGG("D"), (224, 224, 3)).rows
    assert [row[0] for row in rows] == [
        "conv1_1 to pool1",
        "conv2_1 to pool2",
        "conv3_1 to pool3",
        "conv4_1 to pool4",
        "conv5_1 to pool5",
        "fc6 to fc8",
    ]
    assert rows[0] == ("conv1_1 to pool1", "112x112x64", "38,720", "0.0%", "1,936,392,192", "12.5%", "6x6")
    for column, total in ((2, 138_357_544), (4, 15_470_264_320)):
        assert sum(int(row[column].replace(",", "")) for row in rows) == total
    lenet = [row[0] for row in stages(LeNet5(variant="1998"), (32, 32, 1)).rows]
    assert lenet == ["c1 to s2", "c3 to s4", "c5", "f6 to output"]


class Pools(ConvNet):
    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        return (MaxPool(name="a"), MaxPool(name="b"))


def test_a_network_without_weights_has_shares_too():
    (row,) = stages(Pools(), (8, 8, 1)).rows
    assert row == ("a to b", "2x2x1", "0", "0.0%", "0", "0.0%", "4x4")


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


def test_a_picture_is_drawn_where_asked(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(diagram, "draw", lambda *args, **options: drawn.append((*args, options)))
    path = str(tmp_path / "a.svg")
    status, out, errors = run(capsys, "lenet5", f"--diagram={path}", "--format=json")
    assert drawn == [(LeNet5(), (32, 32, 1), path, {"title": "lenet5"})]
    assert status == 0 and json.loads(out) and errors == f"drew {path}\n"


def test_the_words_of_a_network(capsys):
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
        ([], "describe what? Networks are lenet5, "),
        (["vgg_dd"], "'vgg_dd' is unknown. Networks are lenet5, "),
        (["vgg_dd"], "Did you mean 'vgg_d'?"),
        (["batchnorm"], "Did you mean 'batch_norm'?"),
        (["nowhere.py"], "config file nowhere.py does not exist."),
        (["tests"], "tests holds no run"),
        (["vgg_a", "--shape=31,64,3"], "images are 31x64; this network needs at least 32x32."),
        (["vgg_a", "--shape=224"], "--shape is '224'; it must be height,width,channels, for example 224,224,3."),
        (["vgg_a", "--shape=0,224,3"], "--shape is '0,224,3'"),
        (
            ["alexnet", "--shape=224,224,3", "--diagram=a.pdf"],
            "--diagram is 'a.pdf'; the file must end in .svg or .png.",
        ),
        (["alexnet", "--diagram=nowhere/a.svg"], "there is no such folder"),
        (["alexnet", "lenet5"], "2 targets without --compare; describe takes one, or several with --compare."),
        (["alexnet", "--compare"], "1 target with --compare;"),
        (["alexnet", "alexnet", "--compare"], "--compare has a target twice; give each once."),
        (["alexnet", "lenet5", "--compare", "--explain"], "--compare does not go with a norm, --explain or --diagram"),
        (["alexnet", "batch_norm", "--compare"], "--compare does not go with a norm, --explain or --diagram"),
        (["alexnet", "--explain", "--format=json"], "--explain does not go with --format=json; leave out one."),
        (["batch_norm", "--format=csv"], "--format=csv does not go with batch_norm; leave out one."),
        (["batch_norm", "--shape=1,1,1"], "--shape=1,1,1 does not go with batch_norm; leave out one."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_described_is_told_in_a_line(arguments, words, capsys):
    status, out, errors = run(capsys, *arguments)
    assert (status, out) == (2, "") and errors.count("\n") == 1 and errors.startswith("error: ") and words in errors


@pytest.mark.parametrize("option", ["--format=json", "--format=markdown", "--explain", "--diagram=a.svg"])
def test_of_a_network_of_someone_else_there_is_only_a_table(option, foreign_run, capsys):
    status, out, errors = run(capsys, foreign_run, option)
    assert (status, out) == (2, "") and errors.count("\n") == 1
    assert "has a Foreign, which is no jaxcnn.models.ConvNet" in errors


def test_data_that_are_missing_can_be_told_by_shape(tmp_path, capsys):
    data = Data(source="tfds", name="mnist", data_dir=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(to_json(Experiment(model=LeNet5(), data=data))))
    status, out, errors = run(capsys, str(tmp_path))
    assert (
        (status, out) == (2, "") and "'mnist' is not prepared" in errors and "--shape=HEIGHT,WIDTH,CHANNELS" in errors
    )
    assert run(capsys, str(tmp_path), "--shape=32,32,1")[0] == 0
