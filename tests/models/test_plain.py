"""Plain and residual networks compared with He et al. (2016) and with their definition in NumPy and PyTorch."""

import functools
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import weights
from jaxcnn.config import from_json, load_config, to_json
from jaxcnn.describe.explanation import explain_network
from jaxcnn.describe.tables import network, stages
from jaxcnn.layers import Conv, Dense, GroupNorm, LocalResponseNorm, PaddedIdentity, Residual, trace
from jaxcnn.models import ZOO, PlainNet
from jaxcnn.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
SHAPE = (32, 32, 3)
SKIPS = ("none", "post_activation", "pre_activation")


def rows(model, shape=SHAPE):
    return {row.path: row for row in trace(model.layers(), shape)}


def names(model, shape=SHAPE):
    return [path.rpartition("/")[2] for path, row in rows(model, shape).items() if not row.layer.branches()]


def wanted(model, shape=SHAPE):
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, *shape)))


# --- counts

# Section 4.2 and table 6: layers, and parameters in millions as printed.
PRINTED = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


def counted(depth):
    """Sum the 3x3 convolutions, the scale and bias of each norm, and the dense layer."""
    n, total = (depth - 2) // 6, 9 * 3 * 16 + 2 * 16
    for inputs, maps in ((16, 16), (16, 32), (32, 64)):
        total += 9 * inputs * maps + (2 * n - 1) * 9 * maps * maps + 2 * n * 2 * maps
    return total + 64 * 10 + 10


@pytest.mark.parametrize("depth", PRINTED)
def test_parameters_are_those_of_the_paper_with_and_without_skips(depth):
    assert counted(depth) / 1e6 == pytest.approx(PRINTED[depth], abs=0.05 if depth == 110 else 0.005)
    for skip in SKIPS:
        totals = network(PlainNet(depth, skip=skip), SHAPE)["totals"]
        assert (totals["parameters"], totals["weight_layers"]) == (counted(depth), depth)


def test_counts_of_the_zoo():
    for name, parameters, products in (("20", 269_722, 40_551_040), ("56", 853_018, 125_485_696)):
        for kind in ("plain", "resnet"):
            entry = ZOO[kind + name]
            totals = network(entry.model, entry.shape)["totals"]
            assert (totals["parameters"], totals["multiply_adds"]) == (parameters, products)
            leaves = jax.tree.leaves(wanted(entry.model)["params"])
            assert sum(leaf.size for leaf in leaves) == parameters


@pytest.mark.parametrize("skip", SKIPS)
def test_stages_halve_the_resolution_and_double_the_maps(skip):
    found = rows(PlainNet(20, skip=skip))
    shapes = {path.rpartition("/")[2]: row.info.output_shape for path, row in found.items()}
    last = {stage: shapes[f"conv{stage}_6"] for stage in (2, 3, 4)}
    assert last == {2: (32, 32, 16), 3: (16, 16, 32), 4: (8, 8, 64)}
    strided = {row.layer.name for row in found.values() if isinstance(row.layer, Conv) and row.layer.stride == 2}
    assert strided == {"conv3_1", "conv4_1"}
    shortcuts = [row.layer for row in found.values() if isinstance(row.layer, Residual)]
    assert len(shortcuts) == (0 if skip == "none" else 9)
    assert [type(x) for layer in shortcuts for x in layer.shortcut] == [PaddedIdentity] * (0 if skip == "none" else 2)


def test_plain_and_residual_networks_have_the_same_layers():
    """Only the place of the sums and the shortcuts differ, so that layers can be compared by name."""
    plain, post, pre = (names(PlainNet(20, skip=skip)) for skip in SKIPS)
    shortcuts = {"identity3_1", "identity4_1"}
    assert [n for n in post if n not in shortcuts] == plain == [n for n in pre if n not in shortcuts]
    dense = [names(PlainNet(6, 4, kind="dense", skip=skip), (2, 2, 1)) for skip in SKIPS]
    assert dense[0] == dense[1] == dense[2]


def test_the_dense_stack():
    model = PlainNet(6, 5, "sigmoid", "glorot", "none", kind="dense", num_classes=3)
    layers = ["flatten", *(f"{kind}{i}" for i in range(1, 6) for kind in ("fc", "act")), "output"]
    assert list(rows(model, (4, 4, 1))) == layers
    totals = network(model, (4, 4, 1))["totals"]
    assert (totals["weight_layers"], totals["parameters"]) == (6, 17 * 5 + 4 * 6 * 5 + 6 * 3)


def test_a_bias_is_left_out_only_where_a_norm_adds_one():
    for norm, biases in (("batch", 1), (GroupNorm(1), 1), ("none", 8), (LocalResponseNorm(), 8)):
        layers = [row.layer for row in rows(PlainNet(8, norm=norm)).values()]
        weighted = [layer for layer in layers if isinstance(layer, Conv | Dense)]
        assert sum(layer.bias_init is not None for layer in weighted) == biases
        assert weighted[-1].bias_init == 0


# --- what it computes


def random_variables(model, shape):
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        low, high = (0.5, 1.5) if path[-1].key in ("var", "scale") else (-1, 1)
        fan_in = max(1, np.prod(leaf.shape[:-1]))
        return (rng.uniform(low, high, leaf.shape) * (2 / fan_in) ** 0.5).astype(np.float32)

    return jax.tree.map_with_path(fill, wanted(model, shape))


def by_layer(tree, layers=None):
    """Return the leaves by layer name, whatever residuals the layers are in."""
    layers = {} if layers is None else layers
    for name, value in tree.items():
        if any(isinstance(inner, dict) for inner in value.values()):
            by_layer(value, layers)
        else:
            layers[name] = {leaf: np.asarray(array, np.float64) for leaf, array in value.items()}
    return layers


class Reference:
    """The network as the papers' figures show it, in NumPy."""

    def __init__(self, variables):
        self.params, self.stats = (by_layer(variables[key]) for key in ("params", "batch_stats"))

    def conv(self, number, x, stride=1):
        kernel = self.params[f"conv{number}"]["kernel"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = ((length - 1) // stride + 1 for length in x.shape[1:3])
        rows, columns = (range(stride * (length - 1) + 1) for length in (height, width))
        return sum(
            padded[:, i : i + len(rows) : stride, j : j + len(columns) : stride] @ kernel[i, j]
            for i, j in itertools.product(range(3), repeat=2)
        )

    def dense(self, name, x):
        return x @ self.params[name]["kernel"] + self.params[name].get("bias", 0.0)

    def activated(self, number, x):
        return np.maximum(self.normalized(number, x), 0)

    def normalized(self, number, x):
        norm, stats = self.params[f"norm{number}"], self.stats[f"norm{number}"]
        return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"] + norm["bias"]

    def logits(self, x, blocks, weigh, skip):
        """Apply blocks of two weight layers (a, b, stride); `weigh(number, x, stride)` applies one."""
        x = self.activated(1, weigh(1, x, 1))
        before = None
        for a, b, stride in blocks:
            shortcut = x
            if stride > 1:
                shortcut = np.concatenate([x[:, ::stride, ::stride], np.zeros_like(x[:, ::stride, ::stride])], axis=-1)
            if skip == "pre_activation":
                branch = x if before is None else self.activated(before, x)
                x = shortcut + weigh(b, self.activated(a, weigh(a, branch, stride)), 1)
                before = b
            else:
                branch = self.normalized(b, weigh(b, self.activated(a, weigh(a, x, stride)), 1))
                x = np.maximum(branch + (shortcut if skip == "post_activation" else 0), 0)
        x = x if before is None else self.activated(before, x)
        return self.dense("output", x.mean(axis=(1, 2)) if x.ndim == 4 else x)


def applied(model, variables, x):
    quick = {"xla_backend_optimization_level": 0}
    return jax.jit(functools.partial(model.apply, train=False), compiler_options=quick)(variables, x)


@pytest.mark.parametrize("skip", SKIPS)
def test_the_convolutional_network_equals_its_figure(skip):
    model, shape = PlainNet(14, 2, skip=skip), (8, 8, 3)
    variables = random_variables(model, shape)
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    reference = Reference(variables)
    pairs = [(f"{s}_{i}", f"{s}_{i + 1}", 2 if s > 2 and i == 1 else 1) for s in (2, 3, 4) for i in (1, 3)]
    expected = reference.logits(x, pairs, reference.conv, skip)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(applied(model, variables, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("skip", SKIPS)
def test_the_dense_network_equals_its_figure(skip):
    model, shape = PlainNet(6, 4, kind="dense", skip=skip), (2, 2, 3)
    variables = random_variables(model, shape)
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    reference = Reference(variables)
    pairs = [(2, 3, 1), (4, 5, 1)]
    expected = reference.logits(x.reshape(3, -1), pairs, lambda i, x, _: reference.dense(f"fc{i}", x), skip)
    np.testing.assert_allclose(applied(model, variables, x), expected, rtol=1e-4, atol=1e-5)


def test_a_residual_scale_multiplies_every_branch():
    scaled, plain = (PlainNet(4, 3, norm="none", kind="dense", skip="pre_activation", residual_scale=s) for s in (3, 1))
    variables = random_variables(plain, (2, 2, 1))
    x = np.ones((1, 2, 2, 1), np.float32)
    residual = variables["params"]["res1"]
    tripled = variables["params"] | {"res1": residual | {"fc3": jax.tree.map(lambda a: 3 * a, residual["fc3"])}}
    np.testing.assert_allclose(
        applied(scaled, variables, x), applied(plain, {"params": tripled}, x), rtol=1e-5, atol=1e-6
    )


def test_kernels_start_as_named():
    """Variances are 1 / fan-in, 2 / fan-in, 2 / (fan-in + fan-out), or fixed."""
    image, fan_in, fan_out = jnp.zeros((1, 8, 8, 1)), 64, 150
    deviations = {
        "gaussian": 0.01,
        0.07: 0.07,
        "lecun": fan_in**-0.5,
        "he": (2 / fan_in) ** 0.5,
        "glorot": (2 / (fan_in + fan_out)) ** 0.5,
        # Rows are orthonormal, so the mean square is 1 / columns.
        "orthogonal": fan_out**-0.5,
    }
    models = [PlainNet(2, fan_out, kernel_init=init, norm="none", kind="dense") for init in deviations]
    kernels = jax.jit(
        lambda key: [model.init(key, image, train=False)["params"]["fc1"]["kernel"] for model in models],
        compiler_options={"xla_backend_optimization_level": 0},
    )(jax.random.key(0))
    for kernel, deviation in zip(map(np.asarray, kernels), deviations.values(), strict=True):
        assert kernel.shape == (fan_in, fan_out)
        # 9,600 draws: four standard errors of a deviation are 2.9 %.
        assert kernel.std() == pytest.approx(deviation, rel=0.029)


@pytest.mark.parity
@pytest.mark.parametrize("depth", [20, 56])
def test_weights_of_a_torch_resnet_give_its_logits(depth, tmp_path, torch):
    """The usual PyTorch form of the CIFAR ResNets, with option A by slicing and padding."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, inputs, maps, stride):
            super().__init__()
            self.stride, self.extra = stride, maps - inputs
            self.conv1 = nn.Conv2d(inputs, maps, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(maps)
            self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(maps)

        def forward(self, x):
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            shortcut = x[:, :, :: self.stride, :: self.stride]
            return functional.relu(y + functional.pad(shortcut, (0, 0, 0, 0, 0, self.extra)))

    class ResNet(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
            self.layer1, self.layer2, self.layer3 = (
                nn.Sequential(Block(a, b, s), *(Block(b, b, 1) for _ in range(n - 1))) for a, b, s in widths
            )
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            x = functional.relu(self.bn1(self.conv1(x)))
            return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    torch.manual_seed(0)
    net = ResNet((depth - 2) // 6).eval()
    assert sum(p.numel() for p in net.parameters()) == counted(depth)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.2, 0.2)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    with pytest.raises(InputError, match=rf"fits plain{depth}, resnet{depth}; give a config file with --model, which "):
        weights.load(tmp_path / "net.pth")
    config = tmp_path / "config.py"
    config.write_text(
        "from jaxcnn import Data, Experiment, Fake\nfrom jaxcnn.models import PlainNet\ndef get_config():\n"
        f"    data = Data(source='fake', fake=Fake(shape={SHAPE}))\n"
        f"    return Experiment(model=PlainNet({depth}, skip='post_activation'), data=data)\n"
    )
    loaded = weights.load(tmp_path / "net.pth", str(config))
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    found = applied(loaded.experiment.model, loaded.variables(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# --- everywhere else


def test_it_is_explained_and_divided_into_its_stages():
    entry = ZOO["resnet20"]
    text, figures, _ = explain_network(entry.model, entry.shape)
    assert "equation 1" in text and "20 weight layers and 269,722 parameters" in figures
    for name, ends in (("plain20", ("conv2_6", "conv3_6")), ("resnet20", ("res2_3/conv2_6", "res3_3/conv3_6"))):
        grid = stages(ZOO[name].model, ZOO[name].shape)
        assert [row[0].split(" to ")[-1] for row in grid.rows] == [*ends, "pool", "output"]
        assert [row[1] for row in grid.rows] == ["32x32x16", "16x16x32", "1x1x64", "10"]


def test_a_model_is_saved_as_json():
    for skip, kind in itertools.product(SKIPS, ("conv", "dense")):
        model = PlainNet(8, 3, "tanh", 0.2, GroupNorm(1), skip, kind)
        assert from_json(json.loads(json.dumps(to_json(model)))) == model


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 21}, "PlainNet.depth is 21; with kind 'conv' it must be 6n + 2, such as 20."),
        ({"depth": 2}, "PlainNet.depth is 2; with kind 'conv' it must be 6n + 2, such as 8."),
        ({"depth": 1, "kind": "dense"}, "PlainNet.depth is 1; with kind 'dense' it must be at least 2."),
        (
            {"depth": 7, "kind": "dense", "skip": "pre_activation"},
            "PlainNet.depth is 7; with kind 'dense' and skip 'pre_activation' it must be an even number of at least 4, "
            "such as 8.",
        ),
        (
            {"residual_scale": 0.1},
            "PlainNet.residual_scale is 0.1 with skip 'none'; without a branch to scale it must be 1.",
        ),
        (
            {"kernel_init": "kaiming"},
            "PlainNet.kernel_init is 'kaiming'; it must be one of gaussian, glorot, he, lecun, orthogonal or a finite "
            "number > 0. Did you mean 'he'?",
        ),
        ({"skip": "pre_activaton"}, "PlainNet.skip is 'pre_activaton'; it must be one of none, post_activation, pre_"),
    ],
)
def test_invalid_fields_are_one_message(fields, message):
    with pytest.raises(InputError) as error:
        PlainNet(**fields)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(("name", "skip"), [("plain20_cifar10", "none"), ("resnet20_cifar10", "post_activation")])
def test_configs_have_the_schedule_of_the_paper(name, skip):
    experiment = load_config(ROOT / "configs" / f"{name}.py")
    assert experiment.model == PlainNet(20, skip=skip)
    steps = [
        round(epoch * (50_000 // 128) / 1000) for epoch in (*experiment.optimizer.schedule.drops, experiment.epochs)
    ]
    assert steps == [32, 48, 64]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain20_cifar10", "resnet20_cifar10"])
def test_configs_train_an_epoch_and_their_weights_are_exported(name, tmp_path):
    fake = {"source": "fake", "fake.shape": SHAPE, "fake.train": 32, "fake.test": 16, "batch_size": 16}
    changes = {f"data.{field}": value for field, value in fake.items()}
    changes |= {"model.width": 2, "epochs": 1, "optimizer.schedule.name": "constant"}
    experiment = jaxcnn.override(load_config(ROOT / "configs" / f"{name}.py"), changes)
    results = jaxcnn.train(experiment, tmp_path / "run", verbose=False)
    assert results.steps == 2 and np.isfinite(results.test["loss"])
    model, trained = jaxcnn.restore(tmp_path / "run")
    kernels = {path: row for path, row in rows(model).items() if isinstance(row.layer, Conv | Dense)}
    arrays = weights.export(tmp_path / "run", "torchvision")[0].arrays
    assert sum(array.ndim > 1 for array in arrays.values()) == len(kernels) == 20
    np.testing.assert_array_equal(
        arrays["features.0.weight"].transpose(2, 3, 1, 0), trained["params"]["conv1"]["kernel"]
    )
