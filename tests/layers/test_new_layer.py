"""A new kind of layer, which only this file defines, works everywhere in jaxcnn."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import Data, Experiment, Fake, weights
from jaxcnn.bench.flax_peer import FlaxPeer
from jaxcnn.describe.diagram import draw
from jaxcnn.describe.tables import comparison, network, network_table
from jaxcnn.layers import Conv, Dense, Flatten, Layer, LayerInfo, MaxPool, Norm, Shape, trace
from jaxcnn.models import VGG, Chain
from jaxcnn.models.fully_convolutional import densify
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class ChannelGain(Layer):
    """Every channel times a trained factor."""

    acts_on = "position"
    start: float = 2.0

    def info(self, input_shape: Shape) -> LayerInfo:
        return LayerInfo(input_shape, parameters=input_shape[-1])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Gain(self.start, name=self.name)(x)

    def torch_arrays(self) -> Mapping[str, str]:
        return {"gain": "params/gain"}


class _Gain(nn.Module):
    start: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = self.param("gain", nn.initializers.constant(self.start), x.shape[-1:])
        return x * gain.reshape((1,) * (x.ndim - 1) + (-1,))


@dataclass(frozen=True)
class RootMeanSquareNorm(Norm):
    """Every example divided by its root mean square over channels, at each position, times a trained scale."""

    epsilon: float = 1e-6

    def info(self, input_shape: Shape) -> LayerInfo:
        return LayerInfo(input_shape, parameters=input_shape[-1])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.RMSNorm(epsilon=self.epsilon, name=self.name)(x)


SHAPE = (8, 8, 1)
NET = Chain(
    (
        Conv(4, name="conv"),
        ChannelGain(name="gain1"),
        MaxPool(name="pool"),
        Flatten(name="flatten"),
        Dense(6, name="hidden"),
        ChannelGain(name="gain2"),
        Dense(3, name="output"),
    )
)


def variables():
    return NET.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False)


def test_it_appears_in_tables():
    rows = {row.path: row.info for row in trace(NET.layers(), SHAPE)}
    assert rows["gain1"] == LayerInfo((6, 6, 4), parameters=4) and rows["gain2"].parameters == 6
    counted = sum(leaf.size for leaf in jax.tree.leaves(variables()))
    assert network(NET, SHAPE)["totals"]["parameters"] == counted
    assert network_table(NET, SHAPE).row_count == 7
    assert "ChannelGain" in comparison({"net": (NET, SHAPE)}).markdown()


def test_it_appears_in_the_diagram(tmp_path):
    assert "channel gain" in draw(NET, SHAPE, tmp_path / "net.svg").read_text()


def test_dense_evaluation_equals_evaluation_of_every_window():
    chain, rewritten = densify(NET, variables(), SHAPE)
    images = jax.random.normal(jax.random.key(1), (2, 12, 12, 1))
    scores = chain.apply(rewritten, images, train=False)
    for row, column in ((0, 0), (1, 2)):
        window = images[:, 2 * row : 2 * row + 8, 2 * column : 2 * column + 8]
        expected = NET.apply(variables(), window, train=False)
        np.testing.assert_allclose(scores[:, row, column], expected, atol=1e-5)


def test_it_cannot_be_slid_between_flatten_and_dense():
    net = Chain((Flatten(name="flatten"), ChannelGain(name="gain"), Dense(3, name="output")))
    with pytest.raises(InputError, match=r"gain \(ChannelGain\) cannot be slid over maps"):
        densify(net, net.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False), SHAPE)


def test_only_the_flax_peer_has_it():
    images = jax.random.normal(jax.random.key(1), (2, *SHAPE))
    ours, peer = (net.apply(variables(), images, train=False) for net in (NET, FlaxPeer(NET.layers())))
    np.testing.assert_allclose(peer, ours, atol=1e-5)
    torch_peer = pytest.importorskip("jaxcnn.bench.torch_peer").torch_peer
    with pytest.raises(InputError, match=r"^peer torch has no layer like gain1 \(ChannelGain\)"):
        torch_peer(NET.layers(), SHAPE)


def test_it_trains_and_its_weights_are_exported(tmp_path):
    fake = Data(source="fake", fake=Fake(shape=SHAPE, num_classes=3, train=64, test=32), batch_size=32)
    jaxcnn.train(Experiment(model=NET, data=fake, epochs=2), tmp_path / "run", verbose=False)
    model, trained = jaxcnn.restore(tmp_path / "run")
    assert model == NET and not np.array_equal(trained["params"]["gain1"]["gain"], np.full(4, 2.0))
    for layout, name in (("torchvision", "features.1.gain"), ("jaxcnn", "params/gain1/gain")):
        exported, _ = weights.export(tmp_path / "run", layout)
        np.testing.assert_array_equal(exported.arrays[name], trained["params"]["gain1"]["gain"])


@pytest.mark.slow
def test_a_new_norm_is_a_valid_value_of_a_networks_norm_field(tmp_path):
    net = VGG("A", 3, norm=RootMeanSquareNorm(epsilon=1e-3), head="cifar", width=1 / 32)
    norms = [layer for layer in net.layers() if isinstance(layer, Norm)]
    assert [norm.name for norm in norms][:2] == ["norm1_1", "norm2_1"] and norms[0].epsilon == 1e-3
    fake = Data(source="fake", fake=Fake(shape=(32, 32, 1), num_classes=3, train=64, test=32), batch_size=32)
    jaxcnn.train(Experiment(model=net, data=fake, epochs=1), tmp_path / "run", verbose=False)
    assert jaxcnn.restore(tmp_path / "run")[0] == net
