"""The file of the readings of a run."""

from collections import OrderedDict

import jax
import numpy as np
import pytest

from jaxcnn import InputError
from jaxcnn.layers import Activation, Dense, Residual
from jaxcnn.models import Chain
from jaxcnn.probes import History, probe, read_history, write_history
from tests.probes.probed_networks import batch_of, run

BRANCH = (Dense(4, name="in"), Activation("relu", name="act"))
MODEL = Chain((Dense(4, name="first"), Residual(BRANCH, name="res"), Dense(3, name="a")))
SETTINGS = {"instruments": ["gradients", "ics"], "layers": []}


@pytest.fixture(scope="module")
def history():
    batch = batch_of()
    variables = run(lambda key: MODEL.init(key, batch["image"], train=False), jax.random.key(0))
    readings = run(lambda variables: probe(MODEL, variables, batch), variables)

    def scaled(factor):
        layers = OrderedDict((name, {"cosine": np.float32(factor * i)}) for i, name in enumerate(readings))
        ics = {"layers": layers, "gradient_evaluations": np.float32(3)}
        return {"gradients": jax.tree.map(lambda x: factor * x, readings), "ics": ics}

    return History.of([0, 10, 20], [scaled(k) for k in (1, 2, 3)], SETTINGS)


def test_a_file_holds_all_readings(history, tmp_path):
    write_history(tmp_path / "probes.npz", history)
    found = read_history(tmp_path / "probes.npz")
    assert found.settings == SETTINGS and list(found.steps) == [0, 10, 20]
    layers = ["first", "res/in", "res/act", "a"]
    assert list(found.readings["gradients"]) == list(found.readings["ics"]["layers"]) == layers
    expected = dict(jax.tree.leaves_with_path(history.readings))
    assert len(expected) == len(jax.tree.leaves(found.readings))
    for path, value in jax.tree.leaves_with_path(found.readings):
        np.testing.assert_array_equal(value, expected[path])
    std = found.readings["gradients"]["res/in"]["parameters"]["kernel"]["gradients"]["std"]
    np.testing.assert_allclose(std / std[0], [1, 2, 3], rtol=1e-5)
    assert found.readings["gradients"]["res/act"]["active"].shape == (3, 4)
    assert found.readings["gradients"]["res/act"]["activations"]["histogram"].shape == (3, 257)


def test_readings_before_a_step_are_selected(history):
    assert [step for step, _ in history.until(20)] == [0, 10]
    (_, first), (_, second) = history.until(11)
    assert second["gradients"]["a"]["activations"]["std"] == 2 * first["gradients"]["a"]["activations"]["std"]
    again = History.of([0, 10], [first, second], SETTINGS)
    for one, other in zip(jax.tree.leaves(again.readings), jax.tree.leaves(history.readings), strict=True):
        np.testing.assert_array_equal(one, other[:2])


@pytest.mark.parametrize("content", [b"", b"PK no zip", "arrays"])
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "probes.npz"
    np.savez(path, a=1) if content == "arrays" else path.write_bytes(content)
    with pytest.raises(InputError, match=r"probes\.npz cannot be read as readings of probes: "):
        read_history(path)
