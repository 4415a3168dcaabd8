"""AlexNet compared with the paper's section 3.5, torchvision's parameter count and a reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, LocalResponseNorm, MaxPool, trace
from jaxcnn.models import AlexNet
from jaxcnn.runtime.errors import InputError

KEY = jax.random.key(0)
# Section 3.5 and figure 2: output shape and parameters of each layer.
FIGURES = {
    "conv1": ((55, 55, 96), 34_944),
    "pool1": ((27, 27, 96), 0),
    "conv2": ((27, 27, 256), 307_456),
    "pool2": ((13, 13, 256), 0),
    "conv3": ((13, 13, 384), 885_120),
    "conv4": ((13, 13, 384), 663_936),
    "conv5": ((13, 13, 256), 442_624),
    "pool5": ((6, 6, 256), 0),
    "fc6": ((4096,), 37_752_832),
    "fc7": ((4096,), 16_781_312),
    "fc8": ((1000,), 4_097_000),
}


def rows(model, side=224):
    return {row.layer.name: row for row in trace(model.layers(), (side, side, 3))}


def count(model, side=224):
    return sum(row.info.parameters for row in rows(model, side).values())


@pytest.mark.parametrize("stem, side", [("pad2_224", 224), ("valid_227", 227)])
def test_the_papers_figures(stem, side):
    model = AlexNet(stem=stem)
    found = rows(model, side)
    assert {name: (found[name].info.output_shape, found[name].info.parameters) for name in FIGURES} == FIGURES
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, side, side, 3)), train=False))
    assert count(model, side) == sum(x.size for x in jax.tree.leaves(variables)) == 60_965_224
    assert sum(row.info.multiply_adds for row in found.values()) == 724_406_816


def test_other_published_counts():
    assert count(AlexNet(groups=1)) == 62_378_344
    assert count(AlexNet(variant="owt")) == 61_100_840
    assert rows(AlexNet(variant="owt"))["conv5"].info.output_shape == (13, 13, 256)
    # The last maps are averaged to 6x6, so that larger images fit the same weights.
    assert count(AlexNet(variant="owt"), 320) == 61_100_840


def test_order_of_the_first_stage_and_the_constants_of_its_norm():
    layers = AlexNet().layers()
    names = [layer.name for layer in layers]
    assert names[:8] == ["conv1", "act1", "norm1", "pool1", "conv2", "act2", "norm2", "pool2"]
    norms = [layer for layer in layers if isinstance(layer, LocalResponseNorm)]
    assert [(n.name, n.size, n.alpha, n.beta, n.k, n.alpha_mode) for n in norms] == [
        ("norm1", 5, 1e-4, 0.75, 2.0, "sum"), ("norm2", 5, 1e-4, 0.75, 2.0, "sum"),
    ]  # fmt: skip
    assert all((p.size, p.stride) == (3, 2) for p in layers if isinstance(p, MaxPool))
    plain = rows(AlexNet(pooling="plain"))
    assert [(plain[n].layer.size, plain[n].info.output_shape[0]) for n in ("pool1", "pool2", "pool5")] == [
        (2, 27),
        (2, 13),
        (2, 6),
    ]


@pytest.mark.parametrize(
    "place, order",
    [
        ("post_activation", ["conv1", "act1", "norm1", "pool1"]),
        ("pre_activation", ["conv1", "norm1", "act1", "pool1"]),
        ("post_pool", ["conv1", "act1", "pool1", "norm1"]),
    ],
)
def test_where_the_norm_is_placed(place, order):
    assert [layer.name for layer in AlexNet(norm_place=place).layers()][:4] == order


def test_other_norms_are_between_every_convolution_and_its_activation():
    layers = AlexNet(norm="batch").layers()
    assert [layer.name for layer in layers if isinstance(layer, BatchNorm)] == [f"norm{i}" for i in range(1, 6)]
    assert [layer.name for layer in layers][:3] == ["conv1", "norm1", "act1"]
    assert not any(layer.name.startswith("norm") for layer in AlexNet(norm="none").layers())
    assert not any(layer.name.startswith("norm") for layer in AlexNet(variant="owt").layers())


def test_biases_are_one_in_the_layers_that_the_paper_names():
    """Section 5: the second, fourth and fifth convolution and the hidden dense layers."""
    layers = [layer for layer in AlexNet().layers() if isinstance(layer, Conv | Dense)]
    owt = [layer for layer in AlexNet(variant="owt").layers() if isinstance(layer, Conv | Dense)]
    assert {(layer.kernel_init, layer.bias_init) for layer in owt} == {("he_normal", 0.0)}
    assert [layer.bias_init for layer in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert {layer.kernel_init for layer in layers} == {0.01}
    assert {
        (x.kernel_init, x.bias_init) for x in AlexNet(kernel_init="he").layers() if isinstance(x, Conv | Dense)
    } == {("he_normal", 0.0)}


@pytest.mark.parametrize("variant", ["2012", "owt"])
def test_every_hidden_layer_uses_the_activation_field(variant):
    model = AlexNet(variant=variant, activation="softsign")
    acts = [(layer.name, layer.function) for layer in model.layers() if isinstance(layer, Activation)]
    assert acts == [(f"act{i}", "softsign") for i in range(1, 8)]


def test_dropout_is_after_the_hidden_layers_and_before_them_in_owt():
    paper, torchvision = ([layer.name for layer in AlexNet(variant=v).layers()] for v in ("2012", "owt"))
    assert paper[-8:] == ["flatten", "fc6", "act6", "drop6", "fc7", "act7", "drop7", "fc8"]
    assert torchvision[-9:] == ["pool6", "flatten", "drop6", "fc6", "act6", "drop7", "fc7", "act7", "fc8"]
    assert [layer.rate for layer in AlexNet(dropout=0.3).layers() if isinstance(layer, Dropout)] == [0.3, 0.3]


def test_the_network_for_cifar():
    model = AlexNet(7, stem="cifar_32", head="cifar")
    shapes = {name: row.info.output_shape for name, row in rows(model, 32).items()}
    assert [shapes[n] for n in ("conv1", "pool1", "pool2", "pool5", "fc8")] == [
        (32, 32, 96), (15, 15, 96), (7, 7, 256), (3, 3, 256), (7,),
    ]  # fmt: skip


def test_invalid_groups_and_small_images_raise_one_message():
    with pytest.raises(InputError, match="conv2: groups is 5; it must divide the 96 input channels and"):
        rows(AlexNet(groups=5))
    with pytest.raises(InputError, match="images are 62x62; this network needs at least 63x63"):
        jax.eval_shape(lambda: AlexNet().init(KEY, jnp.zeros((1, 62, 62, 3)), train=False))


def test_the_first_convolutions_equal_a_reference_implementation():
    """conv1 to conv2 of the grouped network, with scipy's correlation and the paper's formula, on a small image."""
    rng = np.random.default_rng(0)
    model = AlexNet(5)
    x = rng.normal(scale=50, size=(1, 63, 63, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: model.init(KEY, x, train=False))
    variables = jax.tree.map(lambda v: rng.normal(scale=0.05, size=v.shape).astype(np.float32), shapes)
    _, state = jax.jit(lambda v: model.apply(v, x, train=False, capture_intermediates=True, mutable=["intermediates"]))(
        variables
    )
    found = state["intermediates"]["conv2"]["__call__"][0]

    def conv(maps, name, features, groups):
        kernel, bias = variables["params"][name]["kernel"], variables["params"][name]["bias"]
        each = maps.shape[-1] // groups
        return bias + np.stack(
            [
                correlate(maps[..., g * each : (g + 1) * each], kernel[..., f], mode="valid")[..., 0]
                for f in range(features)
                for g in [f * groups // features]
            ],
            axis=-1,
        )

    maps = conv(np.pad(x[0], ((2, 2), (2, 2), (0, 0))), "conv1", 96, 1)[::4, ::4]
    maps = np.maximum(maps, 0)
    windows = [np.square(maps[..., max(0, i - 2) : i + 3]).sum(-1) for i in range(96)]
    maps = maps / (2 + 1e-4 * np.stack(windows, -1)) ** 0.75
    side = (maps.shape[0] - 3) // 2 + 1
    maps = np.array(
        [[maps[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(side)] for i in range(side)]
    )
    expected = conv(np.pad(maps, ((2, 2), (2, 2), (0, 0))), "conv2", 256, 2)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
