"""Foreign weights: equal logits, exact inverses, files of every kind, and errors."""

import functools
import gc
import io
import json
import pickle
import re
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.signal import correlate

import jaxcnn
from jaxcnn import InputError, weights
from jaxcnn.__main__ import main
from jaxcnn.data import make_preprocess
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten, MaxPool, trace
from jaxcnn.models import VGG, ZOO, AlexNet
from jaxcnn.runs.init_from import transfer
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.workdir import load_saved
from jaxcnn.weights import Preprocessing, WeightFile, conversion
from jaxcnn.weights.slot import slots

DEPTHS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}


def torch_vgg(torch, configuration, norm, width=1.0, num_classes=1000):
    """Return a reimplementation of torchvision's VGG."""
    nn = torch.nn
    features, channels = [], 3
    for maps, depth in zip((64, 128, 256, 512, 512), DEPTHS[configuration], strict=True):
        for _ in range(depth):
            features.append(nn.Conv2d(channels, round(maps * width), 3, padding=1))
            channels = round(maps * width)
            features += [nn.BatchNorm2d(channels)] if norm else []
            features.append(nn.ReLU())
        features.append(nn.MaxPool2d(2, 2))
    hidden = round(4096 * width)
    classifier = (
        *(nn.Linear(channels * 49, hidden), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
        nn.Linear(hidden, num_classes),
    )
    return _net(torch, features, 7, classifier)


def torch_alexnet(torch):
    """Return a reimplementation of torchvision's AlexNet."""
    nn = torch.nn
    features = (
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    classifier = (
        *(nn.Dropout(), nn.Linear(256 * 36, 4096), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, 1000),
    )
    return _net(torch, features, 6, classifier)


def _net(torch, features, side, classifier):
    """Return a network whose logits depend on the image and whose biases and statistics are not 0 or 1."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Sequential(*features)
            self.avgpool = torch.nn.AdaptiveAvgPool2d(side)
            self.classifier = torch.nn.Sequential(*classifier)

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    net, generator = Net().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in net.state_dict().items():
            if array.ndim > 1:
                array.normal_(0, (2 / array[0].numel()) ** 0.5, generator=generator)
            elif array.is_floating_point() and name.endswith(("running_var", "weight")):
                array.uniform_(0.5, 1.5, generator=generator)
            elif array.is_floating_point():
                array.normal_(0, 0.2, generator=generator)
    return net


def check_logits(torch, net, file, run, *options):
    """Convert a file to a run, restore it, and compare its logits with those of torch's `net()` for two image sizes."""
    net, images, want = net(), {}, {}
    for size in (224, 256):
        images[size] = np.random.default_rng(size).normal(size=(2, size, size, 3)).astype(np.float32)
        images[size][1] *= 3
        with torch.no_grad():
            want[size] = net(torch.from_numpy(images[size].transpose(0, 3, 1, 2).copy())).numpy()
        first, second = want[size]
        assert np.abs(first - second).max() > 0.1 * np.abs(want[size]).max(), "logits must depend on the image"
    if file.suffix == ".pth":
        torch.save(net.state_dict(), file)
    else:
        save_file({name: array.numpy() for name, array in net.state_dict().items()}, file)
    del net
    gc.collect()
    assert main(["convert", str(file), f"--workdir={run}", *options]) == 0
    file.unlink()
    model, variables = jaxcnn.restore(run)
    variables = jax.device_put(variables)
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    for size in images:
        limit = 1e-4 * np.abs(want[size]).max()
        np.testing.assert_allclose(apply(variables, images[size]), want[size], rtol=0, atol=limit)
    shutil.rmtree(run / "checkpoints")


@pytest.mark.slow
def test_alexnet_logits_equal_torch(torch, tmp_path):
    check_logits(torch, lambda: torch_alexnet(torch), tmp_path / "alexnet.pth", tmp_path / "run")


def test_narrow_vgg_logits_equal_torch(torch, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(narrow(model='VGG("A", norm="batch", head="torchvision", width=1 / 16)', side=224))
    net = functools.partial(torch_vgg, torch, "A", True, width=1 / 16)
    check_logits(torch, net, tmp_path / "vgg.safetensors", tmp_path / "run", f"--model={config}")


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("configuration", DEPTHS)
def test_vgg_logits_equal_torch(torch, tmp_path, configuration, norm):
    suffix = "safetensors" if norm else "pth"
    net = functools.partial(torch_vgg, torch, configuration, norm)
    check_logits(torch, net, tmp_path / f"vgg.{suffix}", tmp_path / "run")
    model = load_saved(tmp_path / "run").model
    assert model == VGG(configuration, norm="batch" if norm else "none", head="torchvision")


def narrow(model='VGG("D", width=1 / 32, num_classes=10)', side=64):
    """Return the text of a config file of a small network; images of 64 pixels leave 2x2 maps to flatten."""
    return f"""
from jaxcnn import Data, Experiment, Fake
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, GroupNorm
from jaxcnn.models import VGG, Chain, LeNet5

def get_config():
    fake = Fake(shape=({side}, {side}, 3), train=8, test=4, num_classes=10)
    return Experiment(model={model}, data=Data(source="fake", fake=fake, batch_size=8, eval_batch_size=4), seed=3)
"""


TINY = 'Chain((Conv(3, padding=1, name="conv1"), Flatten(name="flatten"), Dense(2, name="fc2")))'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "narrow.py"
    path.write_text(narrow())
    return path


def narrow_arrays(num_classes=10, seed=0):
    """Return the arrays of `narrow` in torchvision's layout."""
    rng, arrays = np.random.default_rng(seed), {}
    numbers, channels = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), 3
    for number, maps in zip(numbers, (2, 2, 4, 4, 8, 8, 8, *[16] * 6), strict=True):
        arrays[f"features.{number}.weight"] = rng.normal(size=(maps, channels, 3, 3)).astype(np.float32)
        arrays[f"features.{number}.bias"] = rng.normal(size=maps).astype(np.float32)
        channels = maps
    for number, (inputs, outputs) in zip((0, 3, 6), ((64, 128), (128, 128), (128, num_classes)), strict=True):
        arrays[f"classifier.{number}.weight"] = rng.normal(size=(outputs, inputs)).astype(np.float32)
        arrays[f"classifier.{number}.bias"] = rng.normal(size=outputs).astype(np.float32)
    return arrays


def failure(capsys, *arguments):
    """Return the one line on stderr of a command that must fail."""
    capsys.readouterr()
    assert main(["convert", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# -- from foreign arrays to ours, and back

LAYERS = (
    Conv(4, kernel=3, groups=2, name="conv1"),
    BatchNorm(name="norm1"),
    Activation("relu", name="act1"),
    MaxPool(name="pool1"),
    Flatten(name="flatten"),
    Dense(5, name="fc2"),
    Activation("relu", name="act2"),
    Dense(3, name="fc3"),
)


def tiny_slots():
    return {slot.path: slot for slot in slots(trace(LAYERS, (8, 10, 6)))}


def test_kernels_are_transposed_as_by_loops():
    places, rng = tiny_slots(), np.random.default_rng(0)
    conv, first, last = (places[f"params/{name}/kernel"] for name in ("conv1", "fc2", "fc3"))
    assert (conv.torch_shape, first.torch_shape, last.torch_shape) == ((4, 3, 3, 3), (5, 48), (3, 5))
    theirs = {slot: rng.normal(size=slot.torch_shape) for slot in (conv, first, last)}
    for o, i, h, w in np.ndindex(4, 3, 3, 3):
        assert conv.from_torch(theirs[conv])[h, w, i, o] == theirs[conv][o, i, h, w]
    height, width, channels = 3, 4, 4
    for o, c, h, w in np.ndindex(5, channels, height, width):
        ours = first.from_torch(theirs[first])[h * width * channels + w * channels + c, o]
        assert ours == theirs[first][o, c * height * width + h * width + w]
    np.testing.assert_array_equal(last.from_torch(theirs[last]), theirs[last].T)
    for slot, array in theirs.items():
        np.testing.assert_array_equal(slot.to_torch(slot.from_torch(array)), array)


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)), st.integers(1, 4), st.integers(0, 9))
def test_dense_kernels_survive_a_round_trip(maps, features, seed):
    (slot, _) = slots(trace((Flatten(name="flatten"), Dense(features, name="fc")), maps))
    ours = np.random.default_rng(seed).normal(size=slot.shape)
    np.testing.assert_array_equal(slot.from_torch(slot.to_torch(ours)), ours)


def modules(model, shape=(224, 224, 3)):
    return [slot.module for slot in slots(trace(model.layers(), shape)) if slot.array == "weight"]


def test_names_are_torchvisions():
    vgg16 = [f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    vgg11_bn = [f"features.{n}" for n in (0, 1, 4, 5, 8, 9, 11, 12, 15, 16, 18, 19, 22, 23, 25, 26)]
    vgg_head = ["classifier.0", "classifier.3", "classifier.6"]
    assert modules(VGG("D", head="torchvision")) == modules(VGG("D")) == vgg16 + vgg_head
    assert modules(VGG("A", norm="batch", head="torchvision")) == vgg11_bn + vgg_head
    alexnet = [f"features.{n}" for n in (0, 3, 6, 8, 10)] + ["classifier.1", "classifier.4", "classifier.6"]
    assert modules(AlexNet(variant="owt")) == alexnet


def test_logits_from_torch_and_keras_files_equal_scipys(tmp_path):
    config, rng = tmp_path / "tiny.py", np.random.default_rng(1)
    config.write_text(narrow(model=TINY, side=4))
    kernel, bias = rng.normal(size=(3, 3, 3, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    dense, offset = rng.normal(size=(2, 48)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    image = rng.normal(size=(3, 4, 4)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    maps = np.stack([correlate(padded, k, mode="valid")[0] + b for k, b in zip(kernel, bias, strict=True)])
    want = dense @ maps.ravel() + offset

    save_file({"0.weight": kernel, "0.bias": bias, "1.weight": dense, "1.bias": offset}, tmp_path / "t.safetensors")
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["conv/conv_W_1:0"], file["conv/conv_b_1:0"] = kernel.transpose(2, 3, 1, 0), bias
        file["fc/fc_W_1:0"] = dense.reshape(2, 3, 4, 4).transpose(2, 3, 1, 0).reshape(48, 2)
        file["fc/fc_b_1:0"] = offset
    for name in ("t.safetensors", "k.h5"):
        found = weights.load(tmp_path / name, str(config))
        logits = found.experiment.model.apply(found.variables(), image.transpose(1, 2, 0)[None], train=False)
        np.testing.assert_allclose(logits[0], want, rtol=1e-4)


@pytest.mark.parametrize("output", ["x.safetensors", "x.npz", "x.npz --layout=torchvision"])
def test_a_file_survives_a_round_trip(tmp_path, config, output):
    name, *layout = output.split()
    arrays = narrow_arrays()
    save_file(arrays, tmp_path / "first.safetensors", metadata={"preprocessing": '{"mean": [0.25], "std": [0.5]}'})
    model = f"--model={config}"
    assert main(["convert", str(tmp_path / "first.safetensors"), f"--workdir={tmp_path / 'a'}", model]) == 0
    assert main(["convert", str(tmp_path / "a"), f"--output={tmp_path / name}", *layout]) == 0
    assert main(["convert", str(tmp_path / name), f"--workdir={tmp_path / 'b'}", model]) == 0
    (_, first), (_, second) = jaxcnn.restore(tmp_path / "a"), jaxcnn.restore(tmp_path / "b")
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert load_saved(tmp_path / "a") == load_saved(tmp_path / "b")
    assert load_saved(tmp_path / "b").data.mean == (0.25,)
    written = load_file(tmp_path / name) if name == "x.safetensors" else dict(np.load(tmp_path / name))
    if name == "x.npz" and not layout:
        paths = {f"params/{layer}/{leaf}" for layer, leaves in first["params"].items() for leaf in leaves}
        assert written.keys() - {"preprocessing"} == paths
    else:
        written.pop("preprocessing", None)
        assert written.keys() == arrays.keys()
        assert all(np.array_equal(written[key], arrays[key]) for key in arrays)


def test_batch_statistics_are_kept(tmp_path, torch):
    net = torch_vgg(torch, "A", True, width=1 / 32)
    config = tmp_path / "bn.py"
    config.write_text(narrow('VGG("A", norm="batch", head="torchvision", width=1 / 32)', side=224))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    conversion = weights.load(tmp_path / "a.pth", str(config))
    weights.write_run(conversion, tmp_path / "run")
    file, _ = weights.export(tmp_path / "run", "torchvision")
    weights.write(tmp_path / "b.safetensors", file)
    again = {name: torch.from_numpy(array) for name, array in load_file(tmp_path / "b.safetensors").items()}
    other = torch_vgg(torch, "A", True, width=1 / 32)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(again, strict=True)
    for name, array in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], array), name


# -- Keras


def keras_legacy(path, arrays, root="", names=("W_1:0", "b_1:0")):
    """Write a file like keras-applications: groups without an order, datasets under individual names."""
    layers = [f"block{b}_conv{i}" for b, depth in enumerate(DEPTHS["D"], 1) for i in range(1, depth + 1)]
    layers += ["fc1", "fc2", "predictions"]
    with h5py.File(path, "w") as file:
        group = file.require_group(root) if root else file
        group.attrs["layer_names"] = [layer.encode() for layer in ("input_1", *layers, "flatten", "block1_pool")]
        group.create_group("block1_pool")
        for layer, (kernel, bias) in zip(layers, pairs(arrays), strict=False):
            inner = [f"{layer}_{name}" if name[1] == "_" else f"{layer}/{name}" for name in names]
            group[f"{layer}/{inner[0]}"], group[f"{layer}/{inner[1]}"] = kernel, bias
            group[layer].attrs["weight_names"] = [name.encode() for name in inner]
        if root:
            file["optimizer_weights/iteration:0"] = np.int64(3)


def keras_3(path, arrays):
    """Write a file like Keras 3: layers are numbered by kind, so that conv2d_10 is sorted before conv2d_2."""
    stream, seen = io.BytesIO(), {"conv2d": 0, "dense": 0}
    with h5py.File(stream, "w") as file:
        for kernel, bias in pairs(arrays):
            kind = "conv2d" if kernel.ndim == 4 else "dense"
            name = f"layers/{kind}" + (f"_{seen[kind]}" if seen[kind] else "")
            seen[kind] += 1
            file[f"{name}/vars/0"], file[f"{name}/vars/1"] = kernel, bias
        file["optimizer/vars/0"] = np.int64(3)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", stream.getvalue())
    else:
        path.write_bytes(stream.getvalue())


def pairs(arrays):
    """Return kernels with their biases in Keras' layout, from arrays in torchvision's (values do not matter here)."""
    kernels = [array for name, array in arrays.items() if name.endswith("weight")]
    biases = [array for name, array in arrays.items() if name.endswith("bias")]
    turned = [k.transpose(2, 3, 1, 0) if k.ndim == 4 else np.ascontiguousarray(k.T) for k in kernels]
    return list(zip(turned, biases, strict=True))


WRITERS = {
    "applications.h5": keras_legacy,
    "keras2.h5": lambda path, arrays: keras_legacy(path, arrays, "model_weights", ("kernel:0", "bias:0")),
    "keras3.weights.h5": keras_3,
    "keras3.keras": keras_3,
}


@pytest.mark.parametrize("name", WRITERS)
def test_keras_files(tmp_path, config, name):
    arrays = narrow_arrays()
    WRITERS[name](tmp_path / name, arrays)
    found = weights.load(tmp_path / name, str(config))
    variables = found.variables()
    for layer, (kernel, bias) in zip(variables_in_order(found), pairs(arrays), strict=True):
        np.testing.assert_array_equal(variables["params"][layer]["kernel"], kernel)
        np.testing.assert_array_equal(variables["params"][layer]["bias"], bias)


def variables_in_order(found):
    return [layer.name for layer in found.experiment.model.layers() if isinstance(layer, Conv | Dense)]


def test_keras_file_without_dense_layers(tmp_path, config, capsys):
    arrays = {name: array for name, array in narrow_arrays().items() if name.startswith("features")}
    path = tmp_path / "notop.h5"
    keras_legacy(path, arrays)
    line = failure(capsys, path, f"--model={config}", f"--workdir={tmp_path / 'run'}")
    assert "no dense layers (include_top=False); re-initialize fc6, fc7, fc8 with --drop_head." in line
    found = weights.load(path, str(config), drop_head=True)
    params = found.variables()["params"]
    limit = (6 / (64 + 128)) ** 0.5  # Glorot's uniform
    assert 0.9 * limit < np.abs(params["fc6"]["kernel"]).max() <= limit
    np.testing.assert_array_equal(params["conv1_1"]["kernel"], arrays["features.0.weight"].transpose(2, 3, 1, 0))


# -- PyTorch's pickles


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_files(torch, tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        plain=base,
        view=base[1:3, ::2].T,
        parameter=torch.nn.Parameter(torch.ones(2)),
        half=torch.tensor([0.5, 2.0], dtype=torch.float16),
        brain=torch.tensor([0.5, 2.0], dtype=torch.bfloat16),
        count=torch.tensor(7),
        empty=torch.zeros(0, 3),
    )
    for name, content in (
        ("a.pth", state),
        ("b.pt", {"state_dict": state, "epoch": 3, "best": 0.5}),
    ):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
        arrays = weights.read(tmp_path / name).arrays
        assert list(arrays) == list(state)
        for key, tensor in state.items():
            np.testing.assert_array_equal(arrays[key].astype(np.float32), tensor.detach().float().numpy(), strict=True)


def text(value):
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def integers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor_pickle(name, *, count, offset, shape, strides):
    """Return the pickle of a state dict of one float tensor, written opcode by opcode."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"J"
    storage += struct.pack("<i", count) + b"tQ"
    tensor = b"(" + storage + b"J" + struct.pack("<i", offset) + integers(shape) + integers(strides) + b"\x89}t"
    return b"\x80\x02}" + text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"Rs."


def write_pth(path, content, numbers=b"", zipped=True):
    """Write a pickle like torch.save, in either format."""
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", numbers)
    else:
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        heads = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
        tail = struct.pack("<q", len(numbers) // 4) + numbers
        path.write_bytes(heads + content + pickle.dumps(["0"], 2) + tail)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_written_by_hand(tmp_path, zipped):
    numbers = np.arange(12, dtype="<f4")
    content = tensor_pickle("a.weight", count=12, offset=2, shape=(2, 3), strides=(1, 4))
    path = write_pth(tmp_path / "hand.pth", content, numbers.tobytes(), zipped)
    np.testing.assert_array_equal(weights.read(path).arrays["a.weight"], [[2, 6, 10], [3, 7, 11]])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 3},
        {"shape": (2, 4)},
        {"strides": (1, 5)},
        {"strides": (-1, 4)},
        {"offset": -1},
        {"count": 13},
        {"shape": (2, 3, 1)},
    ],
)
def test_tensors_stay_in_their_storage(tmp_path, wrong, zipped):
    right = {"count": 12, "offset": 2, "shape": (2, 3), "strides": (1, 4)}
    content = tensor_pickle("a.weight", **(right | wrong))
    path = write_pth(tmp_path / "hand.pth", content, np.arange(12, dtype="<f4").tobytes(), zipped)
    with pytest.raises(InputError, match=r"truncated, damaged or not a \.pth file"):
        weights.read(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"cposix\nsystem\n(X\x05\x00\x00\x00touchtR.", "posix.system"),
        (b"c__builtin__\neval\n(X\x01\x00\x00\x001tR.", "__builtin__.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "collections.OrderedDict.__init__"),
        (b"(ios\nsystem\n.", "os.system"),
        (b"ctorchvision.models.vgg\nVGG\n.", "torchvision.models.vgg.VGG"),
    ],
)
def test_pickles_that_run_code_are_refused(tmp_path, capsys, content, named, zipped):
    path = write_pth(tmp_path / "evil.pth", content, zipped=zipped)
    line = failure(capsys, path, f"--workdir={tmp_path / 'run'}")
    assert f"its pickle would run {named}, and only tensors are allowed" in line
    assert not (tmp_path / "run").exists()


def test_a_refused_pickle_has_run_nothing(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "touched"), "w")

    path = write_pth(tmp_path / "evil.pth", pickle.dumps({"features.0.weight": Evil()}))
    assert "would run" in failure(capsys, path)
    assert not (tmp_path / "touched").exists()
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("archive/data.pkl"))["features.0.weight"].close()
    assert (tmp_path / "touched").exists(), "the pickle was harmless, so the refusal proves nothing"


# -- files that cannot be used


def written(tmp_path, suffix):
    arrays, path = narrow_arrays(), tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        save_file(arrays, path)
    elif suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".pth":
        write_pth(path, tensor_pickle("x.weight", count=999, offset=0, shape=(999,), strides=(1,)), bytes(4 * 999))
    else:
        (keras_3 if suffix == ".keras" else keras_legacy)(path, arrays)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".h5", ".keras"])
def test_damaged_files(tmp_path, capsys, suffix):
    path, run = written(tmp_path, suffix), f"--workdir={tmp_path / 'run'}"
    assert weights.read(path).arrays
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:10], b"", b"no weights at all" * 100):
        path.write_bytes(damaged)
        line = failure(capsys, path, run)
        assert f"{path} cannot be read: it is truncated, damaged or not a {suffix} file" in line
    assert not (tmp_path / "run").exists()


def test_files_of_no_use(tmp_path, capsys):
    save_file({}, tmp_path / "empty.safetensors")
    assert "holds no arrays" in failure(capsys, tmp_path / "empty.safetensors")
    write_pth(tmp_path / "number.pth", b"K\x07.")
    assert "holds one int instead of tensors by name" in failure(capsys, tmp_path / "number.pth")
    (tmp_path / "model.onnx").write_bytes(b"x")
    line = failure(capsys, tmp_path / "model.onnx")
    assert "suffix '.onnx'; weights are read from .safetensors, .npz, .pth, .pt, .h5, .keras" in line
    assert "absent.pth does not exist" in failure(capsys, tmp_path / "absent.pth")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    line = failure(capsys, tmp_path / "objects.npz")
    assert "a holds Python objects, which can run code when loaded" in line and "unsafe" not in line
    with (tmp_path / "pickled.npz").open("wb") as file:
        pickle.dump({"a": 1}, file)
    line = failure(capsys, tmp_path / "pickled.npz")
    assert "not a .npz file (not an archive of np.savez)" in line and "pickle" not in line.replace("pickled.npz", "")


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors", ".h5", ".keras"])
def test_downloads_that_are_no_weights(tmp_path, capsys, suffix):
    path = tmp_path / f"x{suffix}"
    for page in (b"<!DOCTYPE html><title>404</title>", b"\n<html>", b'<?xml version="1.0"?><Error/>'):
        path.write_bytes(page)
        assert "is a web page (HTML or XML), not weights; download the file itself" in failure(capsys, path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 553\n")
    assert "is a Git LFS pointer instead of the weights; fetch them with `git lfs pull`" in failure(capsys, path)


def save(tmp_path, changes=(), drop=(), **options):
    """Write a file of the narrow network's arrays, with some changed and some left out."""
    arrays = narrow_arrays(**options) | dict(changes)
    path = tmp_path / "x.safetensors"
    save_file({name: array for name, array in arrays.items() if name not in drop}, path)
    return path


def test_arrays_that_do_not_fit(tmp_path, config, capsys):
    model, run = f"--model={config}", f"--workdir={tmp_path / 'run'}"

    def line(*options, **wrong):
        return failure(capsys, save(tmp_path, **wrong), model, run, *options)

    shape = line(changes={"features.5.weight": np.zeros((4, 3, 3, 3), np.float32)})
    assert "features.5.weight has shape (4, 3, 3, 3), but params/conv2_1/kernel needs (4, 2, 3, 3)." in shape
    axes = line(changes={"features.5.weight": np.zeros((3, 3, 2, 4), np.float32)})
    assert "features.5.weight has shape (3, 3, 2, 4), but params/conv2_1/kernel needs (4, 2, 3, 3)." in axes
    assert "it has no array for params/fc7/bias (128,)." in line(drop=["classifier.3.bias"])
    assert "features.0.mask (2,), which the network does not have" in line(
        changes={"features.0.mask": np.zeros(2, np.float32)}
    )
    assert "features.0.bias has dtype int8, but params/conv1_1/bias needs floating point" in line(
        changes={"features.0.bias": np.zeros(2, np.int8)}
    )
    classes = line(num_classes=7)
    assert "it has 7 classes, but fc8 has 10. Keep them with --num_classes=7, or re-initialize fc8 with" in classes
    layer = line(drop=["features.2.weight", "features.2.bias"])
    assert "it has no array for params/conv1_2/kernel (2, 2, 3, 3) (and 1 more)." in layer
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (np.nan, np.float32, "features.5.weight holds nan, which is not finite"),
        (-np.inf, np.float16, "features.5.weight holds -inf, which is not finite"),
        (1e300, np.float64, "features.5.weight holds 1e+300, which is too large for float32"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path, config, capsys, value, dtype, said):
    kernel = np.zeros((4, 2, 3, 3), dtype)
    kernel[1, 1, 2, 0] = value
    path, run = save(tmp_path, changes={"features.5.weight": kernel}), tmp_path / "run"
    assert said in failure(capsys, path, f"--model={config}", f"--workdir={run}")
    assert said in failure(capsys, path, f"--model={config}", "--dry_run")
    assert not run.exists()
    one = narrow(model='Chain((Conv(4, name="conv1"),))').replace("64, 3)", "64, 2)")
    (tmp_path / "one.py").write_text(one)
    ours = {"params/conv1/kernel": kernel.transpose(2, 3, 1, 0), "params/conv1/bias": np.zeros(4)}
    np.savez(tmp_path / "ours.npz", **ours)
    with pytest.raises(InputError, match="params/conv1/kernel holds"):
        weights.load(tmp_path / "ours.npz", str(tmp_path / "one.py")).check()
    kernel[1, 1, 2, 0] = 6e4
    weights.load(save(tmp_path, changes={"features.5.weight": kernel}), str(config)).check()
    head = {"classifier.6.bias": np.full(10, np.nan, np.float32)}
    weights.load(save(tmp_path, changes=head), str(config), drop_head=True).check()


def test_a_variance_below_0_is_refused(tmp_path):
    config = tmp_path / "bn.py"
    config.write_text(narrow(model='Chain((Conv(2, name="conv1"), BatchNorm(name="norm1")))'))
    arrays = {"0.weight": np.ones((2, 3, 3, 3)), "0.bias": np.ones(2), "1.weight": np.ones(2), "1.bias": np.ones(2)}
    arrays |= {"1.running_mean": np.ones(2), "1.running_var": np.array([0.0, 1.0])}
    save_file(arrays, tmp_path / "x.safetensors")
    weights.load(tmp_path / "x.safetensors", str(config)).check()
    save_file(arrays | {"1.running_var": np.array([1.0, -1.0])}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"1\.running_var holds -1\.0; a variance must be at least 0"):
        weights.load(tmp_path / "x.safetensors", str(config)).check()


def test_options_that_do_not_fit(tmp_path, config, capsys):
    path, run = save(tmp_path), tmp_path / "run"
    assert "model 'vgg_z' is unknown; it must be one of" in failure(capsys, path, "--model=vgg_z")
    assert "lenet5 is not for ImageNet; give a config file" in failure(capsys, path, "--model=lenet5")
    assert "--output does not apply" in failure(capsys, path, f"--output={tmp_path / 'a.npz'}")
    assert main(["convert", str(path), f"--model={config}", f"--workdir={run}"]) == 0
    before = sorted(run.rglob("*"))
    assert f"workdir {run} is not empty" in failure(capsys, path, f"--model={config}", f"--workdir={run}")
    assert "name the .safetensors or .npz file to write with --output" in failure(capsys, run)
    assert "--model does not apply" in failure(capsys, run, "--model=vgg_d", f"--output={tmp_path / 'a.npz'}")
    assert "weights are written to .safetensors, .npz" in failure(capsys, run, f"--output={tmp_path / 'a.pth'}")
    assert "is not a run folder" in failure(capsys, tmp_path, f"--output={tmp_path / 'a.npz'}")
    (tmp_path / "file").touch()
    assert "cannot be written" in failure(capsys, run, f"--output={tmp_path / 'file' / 'a.npz'}")
    assert sorted(run.rglob("*")) == before


def test_layers_without_a_place(tmp_path, capsys):
    config = tmp_path / "group.py"
    config.write_text(narrow(model='VGG("A", norm="group", head="gap", width=1 / 32)', side=64))
    line = failure(capsys, save(tmp_path), f"--model={config}")
    assert "norm1_1 (GroupNorm) has no place" in line
    line = failure(capsys, save(tmp_path), f"--model={Path(__file__).parents[1] / 'tiny.py'}")
    assert "Tiny is not a jaxcnn.models.ConvNet; only arrays in the jaxcnn layout fit it" in line


def test_dry_run_lists_what_is_wrong_and_writes_nothing(tmp_path, config, capsys):
    path = save(tmp_path, drop=["classifier.3.bias"], changes={"odd.gain": np.zeros(3, np.float32)})
    assert main(["convert", str(path), f"--model={config}", f"--workdir={tmp_path / 'run'}", "--dry_run"]) == 2
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["features.0.weight", "2x3x3x3", "params/conv1_1/kernel", "3x3x3x2"] in shown
    assert ["params/fc7/bias", "128", "missing"] in shown
    assert ["odd.gain", "3", "unexpected"] in shown
    assert ["31", "used,", "1", "missing,", "1", "unexpected"] in shown
    assert not (tmp_path / "run").exists()
    assert main(["convert", str(save(tmp_path)), f"--model={config}", "--dry_run"]) == 0
    assert "32 used, 0 missing, 0 unexpected\n" in capsys.readouterr().out


# -- which network it is


def pretend(monkeypatch, name, layout="torchvision", keep=lambda slot: True, num_classes=1000):
    """Simulate a file with the arrays of a network of the zoo, without using memory for them."""
    model, shape = ZOO[name].model.clone(num_classes=num_classes), ZOO[name].shape
    arrays = {}
    for slot in filter(keep, slots(trace(model.layers(), shape))):
        key, size = {
            "torchvision": (f"{slot.module}.{slot.array}", slot.torch_shape),
            "keras": (f"{slot.module}/{slot.array}", slot.shape),
            "jaxcnn": (slot.path, slot.shape),
        }[layout]
        arrays[key] = np.broadcast_to(np.float32(0), size)
    monkeypatch.setattr(conversion, "read", lambda path: WeightFile(arrays, layout, None))


IMAGENET = [name for name, entry in ZOO.items() if entry.for_imagenet]
PLAIN = [name for name in IMAGENET if name not in ("alexnet", "vgg_a_lrn")]


@pytest.mark.parametrize("name", PLAIN)
def test_the_network_is_identified_from_the_arrays(monkeypatch, name):
    pretend(monkeypatch, name)
    found = weights.load("file.pth")
    found.check()
    assert found.name == name
    data, augment = found.experiment.data, found.experiment.augment
    assert (data.source, data.name, data.test_split, data.image_size) == ("tfds", "imagenet2012", "validation", 256)
    assert augment.crop == 224 and augment.flip
    if name.startswith("vgg"):
        assert found.experiment.model == ZOO[name].model.clone(head="torchvision")
    pretend(monkeypatch, name, num_classes=10)
    found = weights.load("file.pth")
    found.check()
    assert found.experiment.model.num_classes == weights.load("file.pth", name).experiment.model.num_classes == 10
    weights.load("file.pth", num_classes=10).check()
    with pytest.raises(InputError, match=r"it has 10 classes, but fc[89] has 20"):
        weights.load("file.pth", num_classes=20).check()
    dropped = weights.load("file.pth", drop_head=True)
    dropped.check()
    assert dropped.experiment.model.num_classes == 1000


@pytest.mark.parametrize("name", ["vgg_d", "vgg_e"])
def test_keras_networks_are_identified_from_the_arrays(monkeypatch, name):
    pretend(monkeypatch, name, layout="keras")
    found = weights.load("file.h5")
    found.check()
    assert (found.name, found.experiment.model) == (name, ZOO[name].model)


def test_images_are_preprocessed_as_the_source_did(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    wanted = {
        "torchvision": (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        "keras": image[..., ::-1].astype(np.float64) - np.array([103.939, 116.779, 123.68]),
        "jaxcnn": image / 255,
    }
    for layout, want in wanted.items():
        pretend(monkeypatch, "vgg_d", layout=layout)
        settings = weights.load("file", "vgg_d").experiment.data
        np.testing.assert_allclose(make_preprocess(settings)(image), want, rtol=1e-5, atol=1e-4)


def test_a_network_that_cannot_be_identified_must_be_named(monkeypatch):
    pretend(monkeypatch, "vgg_d", keep=lambda slot: slot.role == "conv")
    with pytest.raises(InputError, match=r"fits vgg_d, vgg_notes19; choose one with --model\."):
        weights.load("file.pth")
    pretend(monkeypatch, "vgg_a", layout="jaxcnn")
    with pytest.raises(InputError, match="fits vgg_a, vgg_a_lrn; choose"):
        weights.load("file.npz")
    weights.load("file.npz", "vgg_a_lrn").check()
    pretend(monkeypatch, "vgg_d", keep=lambda slot: slot.path != "params/conv1_1/kernel")
    with pytest.raises(InputError, match="fits no network of the zoo"):
        weights.load("file.pth")


@pytest.mark.parametrize(
    ("file", "model", "both"),
    [
        ("vgg_d", "vgg_e", "has shape (512, 256, 3, 3), but params/conv3_4/kernel needs (256, 256, 3, 3)"),
        ("vgg_d_bn", "vgg_d", "it has features.1.weight (64,), which the network does not have"),
        ("vgg_b", "vgg_b_bn", "it has no array for params/norm1_1/scale (64,)"),
        ("alexnet_owt", "alexnet", "has shape (64, 3, 11, 11), but params/conv1/kernel needs (96, 3, 11, 11)"),
    ],
)
def test_the_wrong_network_is_named(monkeypatch, file, model, both):
    pretend(monkeypatch, file)
    with pytest.raises(InputError, match=re.escape(both)) as caught:
        weights.load("file.pth", model).check()
    assert str(caught.value).endswith(f"It fits --model={file}.")


def test_names_do_not_matter_but_order_does(tmp_path, config):
    arrays = narrow_arrays()
    wrapped = {f"module.{name}".replace("features.", "features.module."): array for name, array in arrays.items()}
    save_file(arrays, tmp_path / "plain.safetensors")
    save_file(wrapped, tmp_path / "wrapped.safetensors")
    first, second = (weights.load(tmp_path / f"{n}.safetensors", str(config)) for n in ("plain", "wrapped"))
    assert {pair.source for pair in second.pairs} == wrapped.keys()
    jax.tree.map(np.testing.assert_array_equal, first.variables(), second.variables())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "net.", "module.net."])
def test_an_npz_in_sorted_order_is_matched_by_torchvisions_names(tmp_path, config, prefix):
    arrays = narrow_arrays()
    save_file(arrays, tmp_path / "plain.safetensors")
    np.savez(tmp_path / "x.npz", **{prefix + name: arrays[name] for name in sorted(arrays)})
    first, second = (weights.load(tmp_path / n, str(config)).variables() for n in ("plain.safetensors", "x.npz"))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_layers_of_one_shape_whose_order_only_names_determine(tmp_path, suffix):
    config = tmp_path / "two.py"
    config.write_text(narrow(model='Chain((Conv(3, name="conv1"), Conv(3, name="conv2"), Conv(4, name="conv3")))'))
    rng = np.random.default_rng(0)

    def load(*names):
        arrays = {}
        for name, features in zip(names, (3, 3, 4), strict=True):
            arrays[f"{name}.bias"] = rng.normal(size=features).astype(np.float32)
            arrays[f"{name}.weight"] = rng.normal(size=(features, 3, 3, 3)).astype(np.float32)
        path = tmp_path / f"x{suffix}"
        if suffix == ".npz":
            np.savez(path, **{name: arrays[name] for name in sorted(arrays)})
        else:
            save_file(arrays, path)
        return arrays, weights.load(path, str(config))

    for names in (("block2.conv", "block10.conv", "head"), ("conv", "conv_1", "conv_2"), ("a1", "a2", "b")):
        arrays, found = load(*names)
        params = found.variables()["params"]
        for layer, name in zip(("conv1", "conv2", "conv3"), names, strict=True):
            np.testing.assert_array_equal(params[layer]["bias"], arrays[f"{name}.bias"])
    _, found = load("entry", "body", "head")
    message = "the order of its layers, and several have the shape (3, 3, 3, 3) (body.weight, entry.weight). Save"
    with pytest.raises(InputError, match=re.escape(message)):
        found.check()
    assert {pair.source for pair in found.pairs if pair.fate == "ambiguous"} == {
        f"{name}.{role}" for name in ("entry", "body") for role in ("weight", "bias")
    }


def test_batch_norms_whose_order_only_names_determine(tmp_path):
    config = tmp_path / "two.py"
    config.write_text(narrow(model='Chain((BatchNorm(name="norm1"), BatchNorm(name="norm2")))'))
    roles = ("weight", "bias", "running_mean", "running_var")
    save_file({f"{n}.{r}": np.ones(3) for n in ("post", "pre") for r in roles}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=re.escape("several have the shape (3,) (post.weight, pre.weight)")):
        weights.load(tmp_path / "x.safetensors", str(config)).check()


def test_an_npz_that_is_not_sorted_keeps_its_order(tmp_path):
    config = tmp_path / "two.py"
    config.write_text(narrow(model='Chain((Conv(3, name="conv1"), Conv(3, name="conv2")))'))
    rng = np.random.default_rng(0)
    arrays = {
        f"{name}.{role}": rng.normal(size=(3, 3, 3, 3) if role == "weight" else 3)
        for name in ("entry", "body")
        for role in ("weight", "bias")
    }
    np.savez(tmp_path / "x.npz", **arrays)
    params = weights.load(tmp_path / "x.npz", str(config)).variables()["params"]
    np.testing.assert_array_equal(params["conv1"]["bias"], arrays["entry.bias"].astype(np.float32))


def test_timms_names_give_the_same_variables(tmp_path, config):
    arrays = narrow_arrays()
    renamed = {name: array for name, array in arrays.items() if name.startswith("features")}
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    for old, new in names.items():
        kernel, side = arrays[f"{old}.weight"], 2 if old == "classifier.0" else 1
        kernel = kernel if new == "head.fc" else kernel.reshape(128, -1, side, side)
        renamed |= {f"{new}.weight": kernel, f"{new}.bias": arrays[f"{old}.bias"]}
    save_file(arrays, tmp_path / "tv.safetensors")
    save_file(renamed, tmp_path / "timm.safetensors")
    first, second = (weights.load(tmp_path / f"{n}.safetensors", str(config)).variables() for n in ("tv", "timm"))
    jax.tree.map(np.testing.assert_array_equal, first, second)


# -- the run folder


def test_the_run_is_like_a_trained_one(tmp_path, config, capsys):
    path, run = save(tmp_path), tmp_path / "deep" / "run"
    assert main(["convert", str(path), f"--model={config}", f"--workdir={run}"]) == 0
    model, variables = jaxcnn.restore(run)
    want = weights.load(path, str(config))
    assert load_saved(run) == want.experiment
    assert model == VGG("D", width=1 / 32, num_classes=10)
    jax.tree.map(np.testing.assert_array_equal, variables, want.variables())
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
    record = json.loads((run / "provenance.json").read_text())
    assert record["weights"]["file"] == str(path) and record["weights"]["layout"] == "torchvision"
    taken, line = transfer(make_plan(want.experiment), run)
    assert "all weights are used" in line
    jax.tree.map(np.testing.assert_array_equal, taken, variables)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--format=json"]) == 0
    assert '"n": 4' in capsys.readouterr().out


def test_a_dropped_head_is_reinitialized_from_the_seed(tmp_path, config):
    path = save(tmp_path, num_classes=7)
    kept, dropped = (weights.load(path, str(config), num_classes=n, drop_head=n == 5) for n in (7, 5))
    kept, again = kept.variables(), weights.load(path, str(config), num_classes=5, drop_head=True).variables()
    head, dropped = dropped.variables()["params"].pop("fc8"), dropped.variables()["params"]
    assert head["kernel"].shape == (128, 5) and not head["bias"].any()
    np.testing.assert_array_equal(head["kernel"], again["params"]["fc8"]["kernel"])
    with jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        again = weights.load(path, str(config), num_classes=5, drop_head=True).variables()
    np.testing.assert_array_equal(head["kernel"], again["params"]["fc8"]["kernel"])
    limit = (6 / (128 + 5)) ** 0.5
    assert 0.9 * limit < np.abs(head["kernel"]).max() <= limit
    np.testing.assert_array_equal(dropped["fc7"]["kernel"], kept["params"]["fc7"]["kernel"])


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path, config, monkeypatch, error):
    def fail(*_, **__):
        raise error

    found = weights.load(save(tmp_path), str(config))
    monkeypatch.setattr("jaxcnn.weights.run.write_json", fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        weights.write_run(found, tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=3), st.sampled_from(["rgb", "bgr"]))
@settings(deadline=None, max_examples=20)
def test_preprocessing_is_kept_with_the_arrays(tmp_path_factory, mean, order):
    folder = tmp_path_factory.mktemp("kept")
    file = WeightFile({"a.weight": np.ones((2, 3), np.float32)}, "torchvision", Preprocessing(order, tuple(mean)))
    for name in ("x.safetensors", "x.npz"):
        weights.write(folder / name, file)
        assert weights.read(folder / name).preprocessing == file.preprocessing
