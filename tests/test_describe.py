import jax
import jax.numpy as jnp
from flax import linen as nn
from rich.console import Console

from jaxcnn.describe import decay_table, network_table, settings_table
from jaxcnn.layers import AveragePool, Conv, Dense, Flatten, Layer
from jaxcnn.models import ConvNet, LeNet5


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
