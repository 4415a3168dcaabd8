"""Training checkpoints of PyTorch: the weights are found among other objects, or the message names the contents."""

import argparse
import collections
import zipfile

import numpy as np
import pytest

from jaxcnn import InputError, weights


@pytest.fixture
def network(torch):
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def trained(torch, network, optimizer):
    """Return the state of an optimizer after an update, so that it holds tensors."""
    network(torch.ones(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("key", ["net", "model_state_dict", "state_dict", "model", "generator"])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_under_any_key(torch, tmp_path, network, key, zipped):
    adam = torch.optim.Adam(network.parameters())
    state = trained(torch, network, adam)
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, [3, 5])
    beside = {
        "epoch": 3,
        "loss": torch.tensor(0.5),
        "accuracy": np.float64(0.25),
        "best": np.float32(0.25),
        "history": np.arange(3.0),
        "optimizer": state,
        "scheduler": schedule.state_dict(),
        "sums": collections.defaultdict(dict, a={"b": 1}),
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu")),
    }
    for content in ({key: network.state_dict()} | beside, beside | {key: network.state_dict()}):
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        arrays = weights.read(tmp_path / "x.pth").arrays
        assert list(arrays) == list(network.state_dict())
        for name, tensor in network.state_dict().items():
            np.testing.assert_array_equal(arrays[name], tensor.numpy())


def test_weights_are_found_beside_others(torch, tmp_path, network):
    state = network.state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}

    def read(content):
        torch.save(content, tmp_path / "x.pth")
        return weights.read(tmp_path / "x.pth").arrays

    for content in (
        {"ema": other, "state_dict": state},
        {"model_ema": other, "model": state},
        {"model": {"state_dict": state, "ema": other}},
        {"state_dict": {"model": state}},
        state | {"epoch": 3},
        {"lightning": {"weights": state}},
    ):
        np.testing.assert_array_equal(read(content)["0.weight"], state["0.weight"].numpy())
    with pytest.raises(InputError, match=r"holds several sets of weights, under net, ema; save one of them alone"):
        read({"net": state, "ema": other})
    with pytest.raises(InputError, match=r"holds several sets of weights, under its top level, ema;"):
        read({**state, "ema": other})


def test_files_without_weights_are_refused(torch, tmp_path, network):
    def message(content):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(InputError) as caught:
            weights.read(tmp_path / "x.pth")
        return str(caught.value)

    state = trained(torch, network, torch.optim.Adam(network.parameters()))
    said = message({"epoch": 3, "optimizer": state})
    assert "holds no weights under its keys (epoch, optimizer); save a model's state_dict()" in said
    assert "holds one tensor instead of tensors by name" in message(torch.ones(3))
    assert "holds one list instead of tensors by name" in message([torch.ones(3)])
    with zipfile.ZipFile(tmp_path / "jit.pt", "w") as archive:
        archive.writestr("jit/data.pkl", b"c__torch__\nNet\n)\x81.")
        archive.writestr("jit/constants.pkl", b").")
    with pytest.raises(InputError, match=r"is a TorchScript archive, a program; load it with torch\.jit\.load"):
        weights.read(tmp_path / "jit.pt")
