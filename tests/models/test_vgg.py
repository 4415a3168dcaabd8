"""VGG compared with the paper's table 1 and the counts that follow from it."""

import jax
import jax.numpy as jnp
import pytest

from jaxcnn.layers import Activation, AdaptiveAveragePool, Conv, Dense, Dropout, LocalResponseNorm, MaxPool, trace
from jaxcnn.models import VGG
from jaxcnn.runtime.errors import InputError

KEY = jax.random.key(0)
# Parameters without and with batch normalization, and multiply-adds in units of 1e9.
FIGURES = {
    "A": (132_863_336, 132_868_840, 7.609),
    "A-LRN": (132_863_336, None, 7.609),
    "B": (133_047_848, 133_053_736, 11.308),
    "C": (133_638_952, 133_647_400, 11.771),
    "D": (138_357_544, 138_365_992, 15.470),
    "E": (143_667_240, 143_678_248, 19.632),
    "notes19": (155_138_856, None, 15.487),
}
WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19, "notes19": 17}


def rows(model, side=224):
    return trace(model.layers(), (side, side, 3))


def count(model, side=224):
    return sum(row.info.parameters for row in rows(model, side))


def leaves(model, shape):
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, *shape)), train=False))
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("configuration", FIGURES)
def test_counts_are_exact_in_the_trace_and_in_the_variables(configuration):
    plain, normed, multiply_adds = FIGURES[configuration]
    model = VGG(configuration)
    assert count(model) == leaves(model, (224, 224, 3)) == plain
    assert round(sum(row.info.multiply_adds for row in rows(model)) / 1e9, 3) == multiply_adds
    if normed:
        assert count(VGG(configuration, norm="batch")) == normed
    layers = [row.layer for row in rows(model)]
    assert sum(isinstance(layer, Conv | Dense) for layer in layers) == WEIGHT_LAYERS[configuration]
    assert sum(isinstance(layer, MaxPool) for layer in layers) == 5


@pytest.mark.parametrize(
    "configuration, parameters, normed",
    [("A", 9_225_610, None), ("D", 14_719_818, 14_728_266), ("E", 20_029_514, 20_040_522)],
)
def test_counts_with_the_cifar_head(configuration, parameters, normed):
    assert count(VGG(configuration, 10, head="cifar"), 32) == parameters
    if normed:
        assert count(VGG(configuration, 10, head="cifar", norm="batch"), 32) == normed


def test_the_third_convolutions_of_c_are_1x1():
    kernels = {row.layer.name: row.layer.kernel for row in rows(VGG("C")) if isinstance(row.layer, Conv)}
    assert {name for name, kernel in kernels.items() if kernel == 1} == {"conv3_3", "conv4_3", "conv5_3"}
    assert all(row.layer.kernel == 3 for row in rows(VGG("E")) if isinstance(row.layer, Conv))


def test_resolution_halves_while_the_number_of_maps_doubles():
    shapes = {row.layer.name: row.info.output_shape for row in rows(VGG("D"))}
    assert [shapes[f"pool{i}"] for i in range(1, 6)] == [
        (112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512),
    ]  # fmt: skip


def test_dropout_is_on_the_first_two_dense_layers():
    for configuration in ("A", "notes19"):
        layers = VGG(configuration).layers()
        names = [layer.name for layer in layers]
        assert [(x.name, x.rate) for x in layers if isinstance(x, Dropout)] == [("drop6", 0.5), ("drop7", 0.5)]
        assert names[names.index("drop6") - 2] == "fc6"
        assert names[names.index("drop7") - 2] == "fc7"

    assert [layer.rate for layer in VGG("A", dropout=0.3).layers() if isinstance(layer, Dropout)] == [0.3, 0.3]


def test_every_hidden_layer_uses_the_activation_field():
    for configuration, dense in (("A", ["act6", "act7"]), ("notes19", ["act6", "act7", "act8"])):
        model = VGG(configuration, activation="softsign")
        acts = [layer for layer in model.layers() if isinstance(layer, Activation)]
        assert {act.function for act in acts} == {"softsign"} and len(acts) == WEIGHT_LAYERS[configuration] - 1
        assert [act.name for act in acts][-len(dense) :] == dense


def test_a_lrn_has_one_norm_after_the_first_rectification():
    layers = VGG("A-LRN", norm=LocalResponseNorm(alpha=1e-2)).layers()
    assert [layer.name for layer in layers][:4] == ["conv1_1", "act1_1", "norm1_1", "pool1"]
    norms = [layer for layer in layers if isinstance(layer, LocalResponseNorm)]
    assert [(n.size, n.alpha, n.beta, n.k, n.alpha_mode) for n in norms] == [(5, 1e-2, 0.75, 2.0, "sum")]
    with pytest.raises(InputError, match=r"VGG\.norm is 'batch' with configuration 'A-LRN'"):
        VGG("A-LRN", norm="batch")


@pytest.mark.parametrize(
    "norm, place, order",
    [
        ("batch", None, ["conv1_2", "norm1_2", "act1_2", "pool1"]),
        ("local_response", None, ["conv1_2", "act1_2", "norm1_2", "pool1"]),
        ("batch", "post_activation", ["conv1_2", "act1_2", "norm1_2", "pool1"]),
        ("group", "post_pool", ["conv1_2", "act1_2", "pool1", "norm1_2"]),
        ("local_response", "pre_activation", ["conv1_2", "norm1_2", "act1_2", "pool1"]),
    ],
)
def test_where_a_norm_is_placed(norm, place, order):
    names = [layer.name for layer in VGG("B", norm=norm, norm_place=place).layers()]
    start = names.index("conv1_2")
    assert names[start : start + 4] == order
    assert sum(name.startswith("norm") for name in names) == 10


def test_kernels_are_initialized_as_named():
    names = {"gaussian": 0.1, "glorot": "glorot_uniform", "he": "he_normal", "lecun": "lecun_normal"}
    for name, expected in {**names, "orthogonal": "orthogonal"}.items():
        weighted = [x for x in VGG("A", kernel_init=name).layers() if isinstance(x, Conv | Dense)]
        assert {layer.kernel_init for layer in weighted} == {expected}
    with pytest.raises(InputError, match=r"kernel_init is 'xavier_normal'; .* Did you mean 'glorot'\?"):
        VGG("A", kernel_init="xavier_normal")


def test_heads_on_images_of_another_size():
    assert rows(VGG("A", 7, head="gap"), 96)[-1].info.output_shape == (7,)
    assert count(VGG("A", 7, head="gap"), 96) == count(VGG("A", 7, head="gap"), 32)
    assert count(VGG("A", head="torchvision"), 288) == count(VGG("A"), 224)
    pooled = [row for row in rows(VGG("A", head="torchvision"), 288) if isinstance(row.layer, AdaptiveAveragePool)]
    assert [(row.input_shape, row.info.output_shape) for row in pooled] == [((9, 9, 512), (7, 7, 512))]
    with pytest.raises(InputError, match="images are 31x31; this network needs at least 32x32"):
        leaves(VGG("D"), (31, 31, 3))
    with pytest.raises(InputError, match="needs at least 224x224"):
        leaves(VGG("D", head="torchvision"), (223, 223, 3))


def test_kernel_init_sets_the_initializers():
    for init, expected in (("gaussian", 0.1), ("glorot", "glorot_uniform"), ("he", "he_normal")):
        layers = [layer for layer in VGG("A", kernel_init=init).layers() if isinstance(layer, Conv | Dense)]
        assert {(layer.kernel_init, layer.bias_init) for layer in layers} == {(expected, 0.0)}


def test_width_scales_maps_and_hidden_units():
    shapes = {row.layer.name: row.info.output_shape[-1] for row in rows(VGG("A", width=0.25))}
    assert [shapes[name] for name in ("conv1_1", "conv3_2", "conv5_2", "fc6", "fc7", "fc8")] == [
        16,
        64,
        128,
        1024,
        1024,
        1000,
    ]


def test_the_narrowest_network_has_a_map_in_every_layer():
    shapes = {row.layer.name: row.info.output_shape[-1] for row in rows(VGG("A", 10, width=1e-6), 32)}
    assert shapes.pop("fc8") == 10 and set(shapes.values()) == {1}


def test_training_updates_the_statistics_of_every_norm():
    model = VGG("A", 3, norm="batch", head="gap", width=1 / 16)
    x = jnp.zeros((4, 32, 32, 3))

    def step():
        variables = model.init(KEY, x, train=False)
        return variables, model.apply(variables, x, train=True, mutable=["batch_stats"])

    variables, (logits, updated) = jax.eval_shape(step)
    assert logits.shape == (4, 3)
    assert len(updated["batch_stats"]) == 8
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
