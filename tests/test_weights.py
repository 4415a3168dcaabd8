"""Foreign weights: equal logits, exact inverses, files of every kind, and every way to be wrong."""

import contextlib
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
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
from jaxcnn.plan import make_plan
from jaxcnn.transfer import transfer
from jaxcnn.weights import Preprocessing, WeightFile, conversion
from jaxcnn.weights.slot import slots
from jaxcnn.workdir import load_saved

DEPTHS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}


def torch_vgg(torch, configuration, norm, width=1.0, num_classes=1000):
    """torchvision's VGG, written down again."""
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
    """torchvision's AlexNet, written down again."""
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
    """Weights that keep the size of activations, so that logits depend on the image; statistics and biases not 0 and 1."""

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


def check_logits(torch, net, file, run, sizes, *options):
    """File, conversion, run, restore: the logits of the network are torch's."""
    if file.suffix == ".pth":
        torch.save(net.state_dict(), file)
    else:
        save_file({name: array.numpy() for name, array in net.state_dict().items()}, file)
    assert main(["convert", str(file), f"--workdir={run}", *options]) == 0
    file.unlink()
    model, variables = jaxcnn.restore(run)
    variables = jax.device_put(variables)
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    for size in sizes:
        images = np.random.default_rng(size).normal(size=(2, size, size, 3)).astype(np.float32)
        with torch.no_grad():
            want = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
        assert np.abs(want[0] - want[1]).max() > 0.1 * np.abs(want).max(), "logits must depend on the image"
        np.testing.assert_allclose(apply(variables, images), want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_alexnet_logits_equal_torch(torch, tmp_path):
    check_logits(torch, torch_alexnet(torch), tmp_path / "alexnet.pth", tmp_path / "run", (224, 256))


def test_narrow_vgg_logits_equal_torch(torch, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(narrow(model='VGG("D", norm="batch", head="torchvision", width=1 / 16)', side=224))
    net = torch_vgg(torch, "D", True, width=1 / 16)
    check_logits(torch, net, tmp_path / "vgg.safetensors", tmp_path / "run", (224, 256), f"--model={config}")


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("configuration", DEPTHS)
def test_vgg_logits_equal_torch(torch, tmp_path, configuration, norm):
    suffix = "safetensors" if norm else "pth"
    net = torch_vgg(torch, configuration, norm)
    check_logits(torch, net, tmp_path / f"vgg.{suffix}", tmp_path / "run", (224, 256))
    model = load_saved(tmp_path / "run").model
    assert model == VGG(configuration, norm="batch" if norm else "none", head="torchvision")


def narrow(model='VGG("D", width=1 / 32, num_classes=10)', side=64):
    """A config file of a network that costs little; images of 64 pixels leave 2x2 maps to flatten."""
    return f"""
from jaxcnn import Data, Experiment, Fake
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, GroupNorm
from jaxcnn.models import VGG, Chain, LeNet5

def get_config():
    fake = Fake(shape=({side}, {side}, 3), train=4, test=4, num_classes=10)
    return Experiment(model={model}, data=Data(source="fake", fake=fake, batch_size=4, eval_batch_size=4), seed=3)
"""


TINY = 'Chain((Conv(3, padding=1, name="conv1"), Flatten(name="flatten"), Dense(2, name="fc2")))'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "narrow.py"
    path.write_text(narrow())
    return path


def narrow_arrays(num_classes=10, seed=0):
    """The arrays of `narrow` by torchvision's names, as torchvision has them."""
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
    """The one line on stderr of a command that must fail."""
    capsys.readouterr()
    assert main(["convert", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
