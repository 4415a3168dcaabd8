"""What Keras' files record besides arrays: the order of layers, the backend and the epsilon of batch norms."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from scipy.signal import convolve, correlate

import jaxcnn
from jaxcnn import InputError, weights
from jaxcnn.layers import BatchNorm, trace
from jaxcnn.models import VGG, ZOO
from jaxcnn.weights import WeightFile, conversion
from jaxcnn.weights.slot import slots
from jaxcnn.weights.variance import fold_epsilon


def config(tmp_path, *layers, side=6):
    """Write a config file of a network of these layers, which are the source text of records."""
    path = tmp_path / "config.py"
    path.write_text(f"""
from jaxcnn import Data, Experiment, Fake
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import Chain

def get_config():
    fake = Fake(shape=({side}, {side}, 3), train=8, test=4, num_classes=2)
    layers = ({", ".join(layers)},)
    return Experiment(model=Chain(layers), data=Data(source="fake", fake=fake, batch_size=8, eval_batch_size=4))
""")
    return str(path)


def legacy(path, layers, *, root="", attributes=(), split=False):
    """Write a file like Keras 1 and 2; layers: arrays by name, by layer, in the order of the network."""
    with h5py.File(path, "w") as file:
        group = file.require_group(root) if root else file
        names = [layer.encode() for layer in layers]
        if split:
            group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:1], names[1:]
        else:
            group.attrs["layer_names"] = names
        for layer, arrays in layers.items():
            group.create_group(layer).attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[f"{layer}/{name}"] = array
        for name, value in dict(attributes).items():
            file.attrs[name] = value
    return path


def conv(name, rng, inputs=3, features=3):
    kernel, bias = rng.normal(size=(3, 3, inputs, features)), rng.normal(size=features)
    return {f"{name}/kernel:0": kernel.astype(np.float32), f"{name}/bias:0": bias.astype(np.float32)}


def norm(name, rng, channels=3):
    arrays = {leaf: rng.normal(size=channels) for leaf in ("gamma", "beta", "moving_mean")}
    # The variances are small, so that the epsilon matters.
    arrays["moving_variance"] = rng.uniform(1e-3, 5e-3, channels)
    return {f"{name}/{leaf}:0": array.astype(np.float32) for leaf, array in arrays.items()}


CONVS = ('Conv(3, name="conv1")', 'Conv(3, name="conv2")')


@pytest.mark.parametrize("root", ["", "model_weights"])
@pytest.mark.parametrize("split", [False, True])
def test_layer_names_give_the_order(tmp_path, root, split):
    rng = np.random.default_rng(0)
    layers = {name: conv(name, rng) for name in ("conv5_z", "conv5_2", "conv5_a")} | {"pool": {}}
    path = legacy(tmp_path / "x.h5", layers, root=root, split=split)
    records = (*CONVS, 'Conv(3, name="conv3")')
    params = weights.load(path, config(tmp_path, *records, side=8)).variables()["params"]
    for ours, theirs in zip(("conv1", "conv2", "conv3"), ("conv5_z", "conv5_2", "conv5_a"), strict=True):
        np.testing.assert_array_equal(params[ours]["kernel"], layers[theirs][f"{theirs}/kernel:0"])


def test_without_layer_names_only_numbers_determine_the_order(tmp_path):
    rng = np.random.default_rng(0)

    def load(*names):
        layers = {name: conv(name, rng) for name in names}
        return layers, weights.load(unordered(tmp_path / "x.h5", layers), config(tmp_path, *CONVS))

    layers, found = load("conv2", "conv10")
    np.testing.assert_array_equal(found.variables()["params"]["conv2"]["bias"], layers["conv10"]["conv10/bias:0"])
    _, found = load("conv_z", "conv_a")
    with pytest.raises(InputError, match=r"record the order of its layers, and several .* \(conv_a/\S+, conv_z/"):
        found.check()


def test_a_model_inside_a_model_with_frozen_layers(tmp_path):
    rng = np.random.default_rng(0)
    blocks = {name: conv(name, rng) for name in ("block1_conv1", "block1_conv2")}
    # The first is frozen, so Keras lists it last.
    inside = blocks["block1_conv2"] | blocks["block1_conv1"]
    path = legacy(tmp_path / "x.h5", {"input_1": {}, "vgg": inside})
    params = weights.load(path, config(tmp_path, *CONVS)).variables()["params"]
    np.testing.assert_array_equal(params["conv1"]["kernel"], blocks["block1_conv1"]["block1_conv1/kernel:0"])
    named = {name: conv(name, rng) for name in ("entry", "body")}
    path = legacy(tmp_path / "y.h5", {"vgg": named["entry"] | named["body"]})
    with pytest.raises(InputError, match="does not record the order"):
        weights.load(path, config(tmp_path, *CONVS)).check()


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_kernels_of_theano_are_flipped(tmp_path, root):
    """Theano computes a true convolution, so scipy's convolution is the reference."""
    rng, attributes = np.random.default_rng(0), {"backend": b"theano", "keras_version": b"2.0.6"}
    arrays = conv("conv", rng)
    image = rng.normal(size=(6, 6, 3)).astype(np.float32)
    path = tmp_path / "x.h5"
    for backend, operation in (("theano", convolve), ("tensorflow", correlate), ("cntk", correlate)):
        legacy(path, {"conv": arrays}, root=root, attributes=attributes | {"backend": backend.encode()})
        found = weights.load(path, config(tmp_path, CONVS[0]))
        maps = found.experiment.model.apply(found.variables(), image[None], train=False)[0]
        for feature in range(3):
            kernel = arrays["conv/kernel:0"][..., feature]
            want = sum(operation(image[..., c], kernel[..., c], mode="valid") for c in range(3))
            np.testing.assert_allclose(maps[..., feature], want + arrays["conv/bias:0"][feature], rtol=1e-4, atol=1e-5)


def test_theanos_order_of_axes_and_flipped_files_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"conv_W": rng.normal(size=(4, 3, 3, 3)), "conv_b": rng.normal(size=4)}
    path = legacy(tmp_path / "x.h5", {"conv": arrays})
    with pytest.raises(InputError, match=r"has Theano's order of axes: the kernel of conv is \(4, 3, 3, 3\)"):
        weights.load(path, config(tmp_path, 'Conv(4, name="conv1")'))
    path = legacy(tmp_path / "vgg16_weights_tf_dim_ordering_th_kernels.h5", {"conv": conv("conv", rng)})
    with pytest.raises(
        InputError, match="has kernels flipped for Theano, according to its name; use the file with tf_kernels"
    ):
        weights.read(path)
    weights.read(path.rename(tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels.h5"))


def test_keras_before_1_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["nb_layers"] = 1
        file["layer_0/param_0"], file["layer_0/param_1"] = np.zeros((4, 3, 3, 3)), np.zeros(4)
    with pytest.raises(InputError, match=r"was written by Keras before 1\.0"):
        weights.read(tmp_path / "x.h5")


@pytest.mark.parametrize("flatten", [{}, {"data_format": "channels_last"}, {"data_format": "channels_first"}])
def test_maps_flattened_with_the_channels_first(tmp_path, flatten):
    """With data_format channels_first Flatten puts the channels last; otherwise the dense kernel sees them first."""
    layers = [
        {"class_name": "Conv2D", "config": {"name": "conv", "kernel_size": [3, 3], "data_format": "channels_first"}},
        {"class_name": "Flatten", "config": {"name": "flatten"} | flatten},
    ]
    model = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
    arrays = {"conv": conv("conv", np.random.default_rng(0))}
    path = legacy(tmp_path / "x.h5", arrays, root="model_weights", attributes={"model_config": model})
    if flatten.get("data_format") == "channels_first":
        weights.load(path, config(tmp_path, CONVS[0])).check()
    else:
        with pytest.raises(InputError, match="flattens maps with the channels first"):
            weights.read(path)


# -- batch norms

NORMED = ('Conv(3, name="conv1")', 'BatchNorm(name="norm1")', 'Conv(3, name="conv2")', 'BatchNorm(name="norm2")')


def normed(rng, first="batch_normalization", second="batch_normalization_1"):
    return {
        "conv2d": conv("conv2d", rng),
        first: norm(first, rng),
        "dropout": {},
        "conv2d_1": conv("conv2d_1", rng),
        second: norm(second, rng),
    }


def keras_1(layers):
    """Rename arrays as in Keras 1: `conv2d_W_1:0`, `batch_normalization_running_std_1:0`, which is the variance."""
    old = {"kernel": "W", "bias": "b", "gamma": "gamma", "beta": "beta"}
    old |= {"moving_mean": "running_mean", "moving_variance": "running_std"}
    return {
        layer: {f"{layer}_{old[name.split('/')[1][:-2]]}_1:0": array for name, array in arrays.items()}
        for layer, arrays in layers.items()
    }


def keras_3(path, layers, model):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for layer, arrays in layers.items():
            for index, array in enumerate(arrays.values()):
                file[f"layers/{layer}/vars/{index}"] = array
        # These are the random state of a dropout layer, a metric and the optimizer.
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
        file["metrics/mean/vars/0"] = np.float32(0)
        file["optimizer/vars/0"] = np.int64(3)
    if path.suffix == ".h5":
        path.write_bytes(stream.getvalue())
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", model)
        archive.writestr("model.weights.h5", stream.getvalue())
    return path


def unordered(path, layers):
    """Write a file without the order of its layers."""
    with h5py.File(legacy(path, layers), "r+") as file:
        del file.attrs["layer_names"]
    return path


def whole(path, layers):
    return legacy(path, layers, root="model_weights", attributes={"model_config": model_config([2e-3] * 2)})


def model_config(epsilons):
    layers = [
        {"class_name": "BatchNormalization", "config": {"name": f"batch_normalization_{i}", "epsilon": epsilon}}
        for i, epsilon in enumerate(epsilons)
    ]
    return json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


def keras_output(layers, image, epsilon):
    """Compute the output of Keras, in float64."""
    x = image.astype(np.float64)
    for layer, arrays in layers.items():
        values = list(arrays.values())
        if layer.startswith("conv"):
            kernel, bias = values
            maps = [correlate(x, kernel[..., f].astype(np.float64), mode="valid")[..., 0] for f in range(3)]
            x = np.stack(maps, axis=-1) + bias
        elif values:
            gamma, beta, mean, var = values
            x = gamma * (x - mean) / np.sqrt(var.astype(np.float64) + epsilon) + beta
    return x


FORMS = {
    "keras1.h5": (lambda path, layers: legacy(path, keras_1(layers)), 1e-3),
    "keras2.h5": (legacy, 1e-3),
    "names.h5": (unordered, 1e-3),
    "whole.h5": (whole, 2e-3),
    "keras3.weights.h5": (lambda path, layers: keras_3(path, layers, ""), 1e-3),
    "keras3.keras": (lambda path, layers: keras_3(path, layers, model_config([1e-3] * 2)), 1e-3),
    "epsilon.keras": (lambda path, layers: keras_3(path, layers, model_config([1.001e-5] * 2)), 1.001e-5),
}


@pytest.mark.parametrize("name", FORMS)
def test_networks_with_batch_norm(tmp_path, name):
    write, epsilon = FORMS[name]
    rng = np.random.default_rng(1)
    layers = normed(rng)
    found = weights.load(write(tmp_path / name, layers), config(tmp_path, *NORMED))
    image = rng.normal(size=(6, 6, 3)).astype(np.float32)
    maps = found.experiment.model.apply(found.variables(), image[None], train=False)[0]
    want = keras_output(layers, image, epsilon)
    np.testing.assert_allclose(maps, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_batch_norms_of_two_epsilons_are_refused(tmp_path):
    path = keras_3(tmp_path / "x.keras", normed(np.random.default_rng(0)), model_config([1e-3, 1e-5]))
    with pytest.raises(InputError, match=r"batch norms with epsilon \[1e-05, 0\.001\]"):
        weights.read(path)


def test_from_keras_to_torchvision(torch, tmp_path):
    rng = np.random.default_rng(2)
    layers = normed(rng)
    found = weights.load(legacy(tmp_path / "x.h5", layers), config(tmp_path, *NORMED))
    weights.write_run(found, tmp_path / "run")
    file, _ = weights.export(tmp_path / "run", "torchvision")
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)).eval()
    state = {name.removeprefix("features."): torch.from_numpy(array.copy()) for name, array in file.arrays.items()}
    net.load_state_dict(state, strict=False)
    assert {name.removeprefix("features.") for name in file.arrays} == {
        name for name in net.state_dict() if "tracked" not in name
    }
    image = rng.normal(size=(6, 6, 3)).astype(np.float32)
    with torch.no_grad():
        maps = net(torch.from_numpy(image.transpose(2, 0, 1)[None].copy())).numpy()[0].transpose(1, 2, 0)
    want = keras_output(layers, image, 1e-3)
    np.testing.assert_allclose(maps, want, rtol=0, atol=1e-5 * np.abs(want).max())
    assert jaxcnn.restore(tmp_path / "run")


def test_an_epsilon_is_folded_into_the_variance():
    var = np.array([0.0, 1e-4, 1.0, 3e5], np.float32)
    folded = fold_epsilon(var, 1e-3, 1e-5)
    np.testing.assert_allclose(folded.astype(np.float64) + 1e-5, var.astype(np.float64) + 1e-3, rtol=2e-7)
    assert folded.dtype == np.float32
    np.testing.assert_allclose(fold_epsilon(folded, 1e-5, 1e-3), var, rtol=1e-6, atol=1e-9)
    assert fold_epsilon(var, 1e-5, 1e-5) is var


def test_keras_networks_with_batch_norm_are_identified_from_the_arrays(tmp_path, monkeypatch):
    entry, names = ZOO["vgg_a_bn"], {"running_mean": "moving_mean:0", "running_var": "moving_variance:0"}
    arrays = {}
    for slot in slots(trace(entry.model.layers(), entry.shape)):
        leaf = {"weight": "gamma:0", "bias": "beta:0"} | names if slot.role == "norm" else {}
        arrays[f"{slot.module}/{leaf.get(slot.array, slot.array)}"] = np.broadcast_to(np.float32(0), slot.shape)
    monkeypatch.setattr(conversion, "read", lambda path: WeightFile(arrays, "keras", None, True, 1e-3))
    found = weights.load("file.h5")
    found.check()
    assert (found.name, found.experiment.model) == ("vgg_a_bn", VGG("A", norm=BatchNorm(epsilon=1e-3)))
