import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jaxcnn.describe.tables import (
    _merged,
    comparison,
    decay_table,
    memory_text,
    network,
    network_grid,
    network_table,
    settings_table,
    stages,
)
from jaxcnn.layers import AveragePool, Conv, Dense, Flatten, Layer, MaxPool
from jaxcnn.models import VGG, ZOO, AlexNet, ConvNet, LeNet5


def lines(table):
    """Return the words of every printed line that has any."""
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


def test_the_layers_of_1998_have_lines():
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


def test_other_modules_get_the_table_of_flax():
    text = network_table(Foreign(), (8, 8, 3))
    assert isinstance(text, str)
    variables = jax.eval_shape(lambda: Foreign().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    total = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert total == 4 * 28 + 2 * 4 + 50
    for word in ("first", "second", "third", f"{total:,}"):
        assert word in text


def test_parameters_that_decay_are_listed_beside_those_that_do_not():
    leaves = [("c1/kernel", (5, 5, 1, 6), True), ("c1/bias", (6,), False), ("output/bias", (10,), False)]
    title, heading, _, *rows = lines(decay_table(leaves, 5e-4, "l2"))
    assert title == ["weight", "decay", "0.0005,", "l2"]
    assert heading == ["decays", "does", "not"]
    assert rows == [["c1/kernel", "5x5x1x6", "c1/bias", "6"], ["output/bias", "10"]]


def test_settings_are_listed_one_per_line():
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


def test_memory_is_the_size_of_the_outputs():
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
    assert memory_text(count) == words


def test_connections_are_listed_only_for_lenet():
    lenet, vgg = (network_grid("", ZOO[name].model, ZOO[name].shape) for name in ("lenet5", "vgg_a"))
    assert "connections" in lenet.headings and "connections" not in vgg.headings
    # As in the paper, every unit counts its bias as well; pooling without parameters counts only its inputs.
    by_hand = 784 * 6 * 26 + 4704 + 100 * 16 * 151 + 1600 + 120 * 401 + 84 * 121 + 10 * 85
    assert lenet.footer[lenet.headings.index("connections")] == f"{by_hand:,}"


def test_groups_show_in_the_window():
    grid = network_grid("", AlexNet(), (224, 224, 3), narrow=True)
    windows = {row[0]: row[grid.headings.index("window")] for row in grid.rows}
    assert windows["conv1"] == "11x11/4 pad 2" and windows["conv2"] == "5x5 pad 2 groups 2"
    assert windows["pool1"] == "3x3/2" and windows["fc6"] == ""


# --- side by side

# Table 1 of the paper, without the parts that all columns share.
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


# --- stages


def test_stages_end_with_pooling_and_the_dense_layers_are_one_stage():
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


def test_a_network_without_weights_has_shares_of_zero():
    (row,) = stages(Pools(), (8, 8, 1)).rows
    assert row == ("a to b", "2x2x1", "0", "0.0%", "0", "0.0%", "4x4")
