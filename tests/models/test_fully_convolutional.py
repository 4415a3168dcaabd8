import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    LayerNorm,
    MaxPool,
    RadialBasis,
    apply,
    trace,
)
from jaxcnn.models import VGG, AlexNet, Chain, LeNet5, PlainNet
from jaxcnn.models.fully_convolutional import densify
from jaxcnn.runtime.errors import InputError


def draw(model, shape, seed=0):
    """Return random variables, including statistics."""
    rng = np.random.default_rng(seed)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, *shape), np.float32), train=False))

    def fill(path, leaf):
        values = rng.normal(scale=max(1, np.prod(leaf.shape[:-1])) ** -0.5, size=leaf.shape)
        return np.asarray(0.5 + values**2 if path[-1].key == "var" else values, np.float32)

    return jax.tree_util.tree_map_with_path(fill, variables)


def forward(model, variables, images):
    quick = {"xla_backend_optimization_level": 0}
    return np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False), compiler_options=quick)(variables, images))


def images(n, side, channels=3, seed=1):
    return np.random.default_rng(seed).normal(size=(n, side, side, channels)).astype(np.float32)


CASES = {
    "lenet5": (LeNet5(), (32, 32, 1)),
    "alexnet": (AlexNet(7, stem="cifar_32", head="cifar", groups=2), (32, 32, 3)),
    "vgg_cifar": (VGG("A", 7, head="cifar", norm="batch", width=1 / 32), (32, 32, 3)),
    "vgg_imagenet": (VGG("A", 7, norm="group", width=1 / 32), (64, 64, 3)),
    "vgg_gap": (VGG("A", 7, head="gap", width=1 / 32), (64, 64, 3)),
    "resnet": (PlainNet(8, 2, skip="post_activation"), (8, 8, 3)),
    "resnet_preact": (PlainNet(8, 2, skip="pre_activation", residual_scale=0.5), (8, 8, 3)),
    "dense": (PlainNet(6, 5, skip="post_activation", kind="dense"), (4, 4, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_network_at_the_native_size(name):
    model, shape = CASES[name]
    variables, x = draw(model, shape), images(2, shape[0], shape[2])
    chain, rewritten = densify(model, variables, shape)
    maps, logits = forward(chain, rewritten, x), forward(model, variables, x)
    assert maps.shape[:1] + maps.shape[3:] == logits.shape
    assert maps.shape[1:3] == ((2, 2) if name in ("vgg_gap", "resnet", "resnet_preact") else (1, 1))
    np.testing.assert_allclose(maps.mean((1, 2)), logits, rtol=1e-4, atol=1e-5 * np.abs(logits).max())
    assert logits.std() > 1e-3


@pytest.mark.parametrize("name", ["alexnet", "alexnet_owt", "vgg_a", "vgg_torchvision"])
def test_shapes_and_names_of_the_large_networks(name):
    """VGG section 3.2: the first dense layer becomes a 7x7 convolution, the others 1x1; 8x8 more pixels give a map."""
    model = {
        "alexnet": AlexNet(),
        "alexnet_owt": AlexNet(variant="owt"),
        "vgg_a": VGG("A"),
        "vgg_torchvision": VGG("A", head="torchvision"),
    }[name]
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 224, 224, 3)), train=False))
    kernels = {}

    def rewrite(variables):
        chain, rewritten = densify(model, variables, (224, 224, 3))
        kernels.update({k: v["kernel"].shape for k, v in rewritten["params"].items()})
        return chain.apply(rewritten, np.zeros((1, 288, 288, 3), np.float32), train=False)

    side, channels = (7, 512) if name.startswith("vgg") else (6, 256)
    assert jax.eval_shape(rewrite, variables).shape == (1, 3, 3, 1000)
    assert kernels["fc6"] == (side, side, channels, 4096)
    assert kernels["fc7"] == (1, 1, 4096, 4096) and kernels["fc8"] == (1, 1, 4096, 1000)
    assert list(kernels) == list(variables["params"])


UNPADDED = (
    Conv(5, kernel=3, name="c1"),
    BatchNorm(name="n1"),
    Activation("relu", name="a1"),
    MaxPool(2, name="p1"),
    Conv(6, kernel=3, name="c2"),
    Activation("tanh", name="a2"),
    MaxPool(2, name="p2"),
    Flatten(name="flatten"),
    Dropout(0.5, name="d0"),
    Dense(8, name="f1"),
    BatchNorm(name="n2"),
    Activation("relu", name="a3"),
    Dropout(0.5, name="d1"),
    Dense(4, name="f2"),
)


@pytest.mark.parametrize("head", ["flat", "gap"])
def test_a_larger_image_gives_the_mean_over_its_windows(head):
    """Windows of 18x18 every 4 pixels, the product of the strides; nothing is padded."""
    layers = UNPADDED
    if head == "gap":
        layers = (*UNPADDED[:7], AdaptiveAveragePool(1, name="pool"), Flatten(name="flatten"), Dense(4, name="f2"))
    model, shape = Chain(layers), (18, 18, 2)
    variables, x = draw(model, shape), images(3, 30, 2)
    chain, rewritten = densify(model, variables, shape)
    maps = forward(chain, rewritten, x)
    corners = [(top, left) for top in range(0, 13, 4) for left in range(0, 13, 4)]
    windows = np.stack([x[:, t : t + 18, s : s + 18] for t, s in corners], axis=1)
    windows = forward(model, variables, windows.reshape(-1, 18, 18, 2)).reshape(3, 16, 4)
    if head == "flat":
        np.testing.assert_allclose(maps.reshape(3, 16, 4), windows, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(maps.mean((1, 2)), windows.mean(1), rtol=1e-4, atol=1e-5)
        assert windows.std(1).min() > 1e-3
    else:  # The mean over positions of the image; a mean over windows would weight positions at the border less.
        maps_before = forward(Chain(layers[:7]), variables, x)
        f2 = variables["params"]["f2"]
        np.testing.assert_allclose(
            maps.mean((1, 2)), maps_before.mean((1, 2)) @ f2["kernel"] + f2["bias"], rtol=1e-4, atol=1e-5
        )


def test_everything_but_the_dense_layers_is_kept():
    model = LeNet5(norm="batch", dtype="bfloat16", ops="lax")
    variables = draw(model, (32, 32, 1))
    chain, rewritten = densify(model, variables, (32, 32, 1))
    assert (chain.dtype, chain.ops) == ("bfloat16", "lax")
    kept = [layer for layer in model.layers() if not isinstance(layer, Dense | Flatten)]
    assert [layer for layer in chain.layers() if layer.name not in ("f6", "output")] == kept
    assert [layer.name for layer in chain.layers() if layer not in kept] == ["f6", "output"]
    assert rewritten["batch_stats"] is variables["batch_stats"]
    assert rewritten["params"]["c1"]["kernel"] is variables["params"]["c1"]["kernel"]
    assert variables["params"]["f6"]["kernel"].shape == (120, 84)


class Foreign(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(2)(x.reshape(x.shape[0], -1))


FRONT = (Conv(4, kernel=3, name="c"), Flatten(name="flatten"))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (Foreign(), (8, 8, 1), "cannot rewrite Foreign"),
        (LeNet5(), (32, 36, 1), "cannot take 32x36 as the native size"),
        (Chain((*FRONT, LayerNorm(name="n"), Dense(2, name="f"))), (8, 8, 1), r"n \(LayerNorm\) cannot be slid"),
        (Chain((*FRONT, BatchNorm(name="n"), Dense(2, name="f"))), (8, 8, 1), r"n \(BatchNorm\) cannot be slid"),
        (Chain((*FRONT, Dense(4, name="f"), GroupNorm(2, name="n"))), (8, 8, 1), r"n \(GroupNorm\) cannot be slid"),
        (Chain((*FRONT, RadialBasis(((1.0,) * 144,), name="r"))), (8, 8, 1), r"r \(RadialBasis\) cannot be slid"),
        (Chain((AdaptiveAveragePool(3, name="p"), *FRONT, Dense(2, name="f"))), (8, 8, 1), "p shrinks 8x8 maps to 3x3"),
        (
            Chain((AdaptiveAveragePool(1, name="p"), Activation("tanh", name="a"), Flatten(name="g"))),
            (8, 8, 1),
            "p shrinks 8x8 maps to 1x1",
        ),
    ],
)
def test_networks_that_cannot_be_rewritten_raise_one_message(model, shape, message):
    with pytest.raises(InputError, match=f"^protocol dense cannot .*{message.removeprefix('cannot ')}") as error:
        densify(model, draw(model, shape), shape)
    assert "\n" not in str(error.value)


def test_weights_for_another_image_size_raise_an_error():
    model = VGG("A", 7, head="cifar", width=1 / 32)
    with pytest.raises(InputError, match=r"cannot use fc6/kernel of shape \(16, 7\): at this size \(2, 2, 16, 7\)"):
        densify(model, draw(model, (32, 32, 3)), (64, 64, 3))


def test_chain_equals_applying_its_layers():
    class Direct(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return apply(UNPADDED, x, train=train)

    model, shape = Chain(UNPADDED), (18, 18, 2)
    variables, x = draw(model, shape), images(2, 18, 2)
    assert model.layers() == UNPADDED and trace(model.layers(), shape)[-1].info.output_shape == (4,)
    np.testing.assert_array_equal(forward(model, variables, x), forward(Direct(), variables, x))


@pytest.mark.parametrize("features", [15, 16])
def test_a_dense_layer_may_keep_the_length_of_the_flattened_maps(features):
    layers = (Conv(4, kernel=3, name="c"), Flatten(name="g"), Dense(features, name="a"), Dense(3, name="b"))
    model, shape = Chain(layers), (4, 4, 1)
    variables, x = draw(model, shape), images(2, 4, 1)
    chain, rewritten = densify(model, variables, shape)
    np.testing.assert_allclose(forward(chain, rewritten, x)[:, 0, 0], forward(model, variables, x), rtol=1e-5)
