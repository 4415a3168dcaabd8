"""Initialization from the weights of another run: from all of them, or from the layers in the VGG paper."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import data
from jaxcnn.config import Data, Experiment, Fake, override, to_json
from jaxcnn.models import VGG, LeNet5
from jaxcnn.runs import init_from as transfer
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.selection import Selection
from jaxcnn.runs.workdir import Source
from jaxcnn.runtime.errors import InputError

HEAD = "init_from=runs/a (step 7) "
SMALL = {"norm": "batch", "width": 1 / 64, "num_classes": 3}


def plan_of(model, channels=3):
    fake = Fake(shape=(32, 32, channels), num_classes=3, train=16, test=8)
    return make_plan(Experiment(model=model, data=Data(source="fake", fake=fake, batch_size=8), epochs=1))


def numbered(variables):
    """Fill every array with its own number."""
    leaves, tree = jax.tree.flatten(variables)
    return jax.tree.unflatten(tree, [np.full(x.shape, float(i), np.float32) for i, x in enumerate(leaves)])


def changed(variables, name, leaf, value):
    """Replace one leaf of the parameters; None removes it."""
    leaves = {k: v for k, v in (variables["params"][name] | {leaf: value}).items() if v is not None}
    return variables | {"params": variables["params"] | {name: leaves}}


@pytest.fixture
def take(monkeypatch):
    """Return a function that calls `transfer` on a plan and a run of a model with these variables."""

    def give(plan, model, variables):
        experiment = dataclasses.replace(plan.experiment, model=model)
        found = {("runs/a", "last"): Selection(7, variables)}
        monkeypatch.setattr(transfer, "select", lambda *of: found[of])
        monkeypatch.setattr(transfer, "load_saved", lambda run: experiment)
        return transfer.transfer(plan, "runs/a")

    return give


@pytest.fixture(scope="module")
def lenet():
    return plan_of(LeNet5(3, norm="batch"), channels=1)


def test_all_weights_of_the_same_network_are_used(take, lenet):
    variables = numbered(lenet.state.variables)
    assert take(lenet, lenet.experiment.model, variables) == (variables, HEAD[:-1] + ": all weights are used.")


def test_weights_of_another_network_are_refused_with_the_array_that_does_not_fit(take, lenet):
    variables = numbered(lenet.state.variables)
    for other, words in (
        (changed(variables, "f6", "kernel", np.zeros((2, 5))),
         "params/f6/kernel has shape (2, 5); this network needs (120, 84)."),
        (changed(variables, "f6", "kernel", np.zeros((84, 120))),
         "params/f6/kernel has shape (84, 120); this network needs (120, 84)."),
        (changed(variables, "f6", "bias", None), "params/f6/bias is absent; this network needs (84,)."),
        (changed(variables, "f6", "gain", np.zeros(3)), "it has params/f6/gain, which this network lacks."),
        (variables | {"batch_stats": {}}, "batch_stats/norm1/mean is absent; this network needs (6,)."),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            take(lenet, lenet.experiment.model, other)
        assert str(error.value) == HEAD + "is from another network: " + words


def test_e_starts_from_the_first_four_convolutions_and_the_dense_layers_of_a(take):
    shallow, deep = VGG("A", **SMALL), plan_of(VGG("E", **SMALL))
    trained = numbered(plan_of(shallow).state.variables)
    taken, line = take(deep, shallow, trained)
    convolutions = ["conv1_1", "conv2_1", "conv3_1", "conv3_2"]
    norms = [name.replace("conv", "norm") for name in convolutions]
    assert sorted(taken["params"]) == sorted([*convolutions, *norms, "fc6", "fc7", "fc8"])
    assert sorted(taken["batch_stats"]) == sorted(norms)
    assert f"{HEAD[:-1]}: used: conv1_1, norm1_1, conv2_1, norm2_1, conv3_1, norm3_1, conv3_2, norm3_2, fc6" in line
    left = line[line.index("not used:") : line.index("from the seed:")]
    assert "conv4_1" in left and "conv3_2" not in left
    assert "conv3_3" in line[line.index("from the seed:") :]


def test_networks_of_one_configuration_or_of_other_widths_are_not_mixed(take):
    deep = plan_of(VGG("E", **SMALL))
    narrow = VGG("A", **SMALL | {"width": 1 / 32})
    with pytest.raises(
        InputError, match=r"another network: batch_stats/norm1_1/mean has shape \(2,\); this network needs \(1,\)"
    ):
        take(deep, narrow, numbered(plan_of(narrow).state.variables))
    assert VGG("E").takes_from(VGG("D")) is None
    assert VGG("A").takes_from(VGG("A-LRN")) is None
    assert VGG("E").takes_from(LeNet5()) is None


def experiment_of(seed, **changes):
    fake = Fake(shape=(8, 8, 1), num_classes=3, train=100, test=8)
    settings = Data(source="fake", fake=fake, batch_size=8, **changes)
    return Experiment(model=Flat(), data=settings, seed=seed)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(x.reshape(len(x), -1))


def warning(tmp_path, mine, other):
    """Return the warning for a run of one experiment from a run of another, and the number of images concerned."""
    (tmp_path / "config.json").write_text(json.dumps(to_json(other)))
    plan = make_plan(mine)
    line = transfer.validated_before(plan, Source(str(tmp_path)))
    trained_on = {x.tobytes() for x in data.load(other.data, other.seed).train.images}
    if plan.dataset.validation is None:
        return line, 0
    return line, sum(x.tobytes() in trained_on for x in plan.dataset.validation.images)


def test_initialization_from_a_run_trained_on_validation_images_gives_a_warning(tmp_path):
    line, seen = warning(tmp_path, experiment_of(1, validation=0.2), experiment_of(2, validation=0.3))
    assert 10 < seen < 20
    assert line == (
        f"warning: {tmp_path} was trained on {seen} of the 20 validation images, so validation errors are biased low; "
        "set data.split_seed to 2, as in that run"
    )
    line, seen = warning(tmp_path, experiment_of(1, validation=0.2, split_seed=5), experiment_of(5, validation=0.1))
    assert seen == 10 and "on 10 of the 20" in line
    assert line.endswith("set data.split_seed to 5, as in that run, and data.validation to at most 0.1")
    line, seen = warning(tmp_path, experiment_of(1, validation=0.2), experiment_of(1))
    assert seen == 20 and line.endswith("train that run with data.validation=0.2 and data.split_seed=1")


def test_initialization_from_a_run_not_trained_on_them_gives_none(tmp_path):
    assert warning(tmp_path, experiment_of(1, validation=0.2, split_seed=5), experiment_of(5, validation=0.2)) == (
        None,
        0,
    )
    assert warning(tmp_path, experiment_of(5, validation=0.2), experiment_of(3, validation=0.3, split_seed=5)) == (
        None,
        0,
    )
    assert warning(tmp_path, experiment_of(1), experiment_of(5, validation=0.2)) == (None, 0)
    other = override(experiment_of(5, validation=0.2), {"data.fake.shape": (9, 8, 1)})
    assert warning(tmp_path, experiment_of(1, validation=0.2), other) == (None, 0)


def test_arrays_in_memory_are_identified_by_their_content(tmp_path):
    made = data.load(experiment_of(0).data, 0)
    arrays = {f"{n}_{k}": getattr(getattr(made, n), k) for n in ("train", "test") for k in ("images", "labels")}
    source, target = (
        override(experiment_of(seed, validation=0.2), {"data.source": "arrays", "epochs": 1}) for seed in (1, 2)
    )
    jaxcnn.train(source, tmp_path / "run", arrays=arrays, verbose=False)
    for changed, expected in ((0, True), (1, False)):
        own = arrays | {"train_images": arrays["train_images"] + np.uint8(changed)}
        line = transfer.validated_before(make_plan(target, own), Source.of(target, tmp_path / "run", own))
        assert (line is not None) is expected


def test_the_warning_is_printed_and_the_run_continues(tmp_path, capsys):
    source, target = (override(experiment_of(seed, validation=0.2), {"epochs": 1}) for seed in (1, 2))
    jaxcnn.train(source, tmp_path / "a", verbose=False)
    assert jaxcnn.train(target, tmp_path / "b", init_from=tmp_path / "a").steps == 10
    assert "of the 20 validation images" in capsys.readouterr().out
