import itertools
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import Data, Experiment, Fake, train, weights
from jaxcnn.bench.flax_peer import FlaxPeer
from jaxcnn.config import from_json, to_json
from jaxcnn.describe.diagram import draw
from jaxcnn.describe.tables import comparison, network, stages
from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    Residual,
    trace,
)
from jaxcnn.models import Chain
from jaxcnn.models.fully_convolutional import densify
from jaxcnn.runtime.errors import InputError
from jaxcnn.weights.slot import slots

SHAPE = (12, 12, 2)
INNER = Residual((Conv(4, padding=1, name="conv1"), Activation("tanh", name="act")), name="inner")
DOWN = Residual(
    (Conv(6, stride=2, padding=1, name="conv1"), BatchNorm(name="bn"), Conv(6, padding=1, name="conv2")),
    shortcut=(Conv(6, kernel=1, stride=2, name="projection"),),
    name="down",
)
NET = Chain(
    (
        Conv(4, padding=1, name="stem"),
        Residual((INNER, Conv(4, padding=1, name="conv2")), name="outer"),
        DOWN,
        Activation("relu", name="act"),
        Flatten(name="flatten"),
        Dense(3, name="output"),
    )
)


def draw_variables(net=NET, shape=SHAPE):
    rng = np.random.default_rng(0)
    wanted = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
    return jax.tree.map(lambda leaf: rng.uniform(0.2, 0.8, leaf.shape).astype(np.float32), wanted)


def conv(x, weights, stride=1):
    """A convolution with size-preserving padding, in NumPy loops over the window."""
    kernel = weights["kernel"]
    side = kernel.shape[0]
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    height, width = ((length - 1) // stride + 1 for length in x.shape[1:3])
    total = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i, j in itertools.product(range(side), repeat=2):
        window = padded[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        total += window @ kernel[i, j].astype(np.float64)
    return total + weights["bias"]


def test_it_is_the_sum_of_its_branches():
    tree, x = draw_variables(), np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    params, stats = tree["params"], tree["batch_stats"]["down"]["bn"]
    stem = conv(x, params["stem"])
    inner = stem + np.tanh(conv(stem, params["outer"]["inner"]["conv1"]))
    outer = stem + conv(inner, params["outer"]["conv2"])
    hidden, bn = conv(outer, params["down"]["conv1"], 2), params["down"]["bn"]
    hidden = (hidden - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * bn["scale"] + bn["bias"]
    down = conv(hidden, params["down"]["conv2"]) + conv(outer, params["down"]["projection"], 2)
    flat = np.maximum(down, 0).reshape(2, -1)
    expected = flat @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(NET.apply(tree, x, train=False), expected, rtol=2e-4)


def test_its_costs_are_those_of_the_layers_inside():
    rows = {row.path: row for row in trace(NET.layers(), SHAPE)}
    assert list(rows) == [
        *("stem", "outer/inner/conv1", "outer/inner/act", "outer/inner", "outer/conv2", "outer"),
        *("down/conv1", "down/bn", "down/conv2", "down/projection", "down", "act", "flatten", "output"),
    ]
    counted = sum(leaf.size for leaf in jax.tree.leaves(draw_variables()["params"]))
    assert network(NET, SHAPE)["totals"]["parameters"] == counted
    assert rows["outer"].info.parameters == 0 and NET.layers()[1].info((12, 12, 4)).parameters == 2 * (9 * 16 + 4)
    assert stages(NET, SHAPE).rows[-1][0] == "output"
    assert "sum" in comparison({"net": (NET, SHAPE)}).markdown()


def test_its_receptive_field_is_where_gradients_are_nonzero():
    net, side = Chain(NET.layers()[:3]), 24
    rows = trace(net.layers(), (side, side, 2))
    # Small weights keep the tanh inside from saturating.
    tree = jax.tree.map(lambda leaf: leaf / 10, draw_variables(net, (side, side, 2)))
    x = jnp.zeros((1, side, side, 2))
    gradient = jax.grad(lambda x: net.apply(tree, x, train=False)[0, 6, 6].sum())(x)
    seen = np.flatnonzero(np.abs(gradient[0]).sum((1, 2)))
    # The norm uses running statistics, so positions do not mix.
    assert seen.max() - seen.min() + 1 == rows[-1].receptive_field == 3 + 2 + 2 + 2 + 2 * 2


def test_dense_evaluation_rewrites_the_layers_inside():
    net = Chain(
        (
            Residual((Conv(2, padding=1, name="conv"),), name="res"),
            MaxPool(2, name="pool"),
            Flatten(name="flatten"),
            Dense(5, name="hidden"),
            Residual((Activation("relu", name="act"), Dense(5, name="fc")), name="dense_res"),
            Dense(3, name="output"),
        )
    )
    tree = draw_variables(net, (8, 8, 2))
    chain, rewritten = densify(net, tree, (8, 8, 2))
    assert rewritten["params"]["dense_res"]["fc"]["kernel"].shape == (1, 1, 5, 5)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 2)).astype(np.float32)
    scores = chain.apply(rewritten, x, train=False)
    np.testing.assert_allclose(scores[:, 0, 0], net.apply(tree, x, train=False), rtol=1e-4)
    assert chain.apply(rewritten, jnp.zeros((1, 12, 10, 2)), train=False).shape == (1, 3, 2, 3)


def test_average_pooling_inside_cannot_be_moved_behind_the_sum():
    pool, shrink = AdaptiveAveragePool(1, name="pool"), Conv(2, kernel=8, name="shrink")
    net = Chain((Residual((pool,), (shrink,), name="res"), Flatten(name="flatten"), Dense(3, name="output")))
    with pytest.raises(InputError, match="pool shrinks 8x8 maps to 1x1"):
        densify(net, draw_variables(net, (8, 8, 2)), (8, 8, 2))


def test_its_weights_have_names_in_foreign_files():
    modules = [slot.module for slot in slots(trace(NET.layers(), SHAPE)) if slot.array == "weight"]
    assert modules == [
        *("features.0", "features.1.inner.conv1", "features.1.conv2", "features.2.conv1", "features.2.bn"),
        *("features.2.conv2", "features.2.projection", "classifier.0"),
    ]


def test_a_run_is_saved_restored_and_exported(tmp_path):
    fake = Data(source="fake", fake=Fake(shape=SHAPE, num_classes=3, train=64, test=32), batch_size=32)
    experiment = Experiment(model=NET, data=fake, epochs=1)
    assert from_json(to_json(experiment)) == experiment
    train(experiment, tmp_path / "run", verbose=False)
    arrays = weights.export(tmp_path / "run", "torchvision")[0].arrays
    assert arrays["features.1.inner.conv1.weight"].shape == (4, 4, 3, 3)


def test_its_flax_peer_gives_the_same_output():
    tree, x = draw_variables(), np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    ours = NET.apply(tree, x, train=False)
    np.testing.assert_allclose(FlaxPeer(NET.layers()).apply(tree, x, train=False), ours, rtol=1e-4)


@pytest.mark.parity
def test_its_torch_peer_gives_the_same_output():
    torch = pytest.importorskip("torch")
    from jaxcnn.bench.torch_peer import torch_peer

    layers = (Residual((Activation("relu", name="act"), Conv(2, padding=1, name="conv")), name="res"),)
    tree, x = draw_variables(Chain(layers)), np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    net, kernel = torch_peer(layers, SHAPE), tree["params"]["res"]["conv"]
    with torch.no_grad():
        net.res.branch.conv.weight.copy_(torch.tensor(kernel["kernel"].transpose(3, 2, 0, 1)))
        net.res.branch.conv.bias.copy_(torch.tensor(kernel["bias"]))
        found = net(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, Chain(layers).apply(tree, x, train=False), rtol=1e-4, atol=1e-5)


def test_its_diagram_has_one_line_per_shortcut(tmp_path):
    path = draw(NET, SHAPE, tmp_path / "net.svg")
    words = ["".join(text.itertext()) for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert {"outer", "inner", "down: conv1-6/2"} <= set(words)
    assert "projection" not in words and words.count("conv1") == 2
    plain = draw(Chain((NET.layers()[0], *NET.layers()[4:])), SHAPE, tmp_path / "plain.svg").read_text()
    assert path.read_text().count("shortcut") > plain.count("shortcut")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Residual((), name="res"), "res: layers is empty"),
        (lambda: Residual((Conv(2),), name="res"), r"layer 1 \(Conv\) has no name"),
        (lambda: Residual((Conv(2, name="a"),), (Conv(2, name="a"),), name="res"), "two layers are named 'a'"),
        (
            lambda: trace((Residual((Conv(2, name="a"),), name="res"),), (8, 8, 2)),
            r"res: the output shape of the branch is \(6, 6, 2\), that of the shortcut \(8, 8, 2\); they must be equal",
        ),
        (
            lambda: trace((Residual((Conv(2, kernel=9, name="a"),), name="res"),), (8, 8, 2)),
            "a: a 9x9 window does not fit on 8x8 maps",
        ),
    ],
)
def test_bad_residuals_are_one_message(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()
