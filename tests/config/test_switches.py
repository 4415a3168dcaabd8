"""A field that is switched off changes nothing that is computed."""

import functools
import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import Data, Experiment, Optimizer, Schedule, override
from jaxcnn.config.paths import paths
from jaxcnn.config.switches import SWITCHES, switched_off
from jaxcnn.data import load
from jaxcnn.models import LeNet5
from jaxcnn.training.optim import make_optimizer

BASE = Experiment(model=LeNet5())
STEP, COSINE, PLATEAU = Schedule(name="step", drops=(1.0,)), Schedule(name="cosine"), Schedule(name="plateau")
# Field, two values, and optimizers with which it is off and on.
OPTIMIZERS = {
    "momentum": ((0.1, 0.8), [Optimizer(algorithm="adam")], [Optimizer()]),
    "nesterov": ((True, False), [Optimizer(algorithm="adam"), Optimizer(momentum=0.0)], [Optimizer()]),
    "b1": ((0.1, 0.8), [Optimizer()], [Optimizer(algorithm="adam")]),
    "b2": ((0.1, 0.8), [Optimizer()], [Optimizer(algorithm="adam")]),
    "eps": ((0.1, 0.8), [Optimizer()], [Optimizer(algorithm="adam")]),
    "weight_decay_scope": (("all", "none"), [Optimizer(weight_decay=0.0)], [Optimizer(weight_decay=0.5)]),
    "schedule.drops": (((1.0,), (2.0,)), [Optimizer(), Optimizer(schedule=COSINE)], [Optimizer(schedule=STEP)]),
    "schedule.factor": ((0.1, 0.8), [Optimizer(), Optimizer(schedule=COSINE)], [Optimizer(schedule=STEP)]),
    "schedule.patience": ((1, 2), [Optimizer(), Optimizer(schedule=COSINE)], [Optimizer(schedule=PLATEAU)]),
    "schedule.final": ((0.1, 0.8), [Optimizer(), Optimizer(schedule=STEP)], [Optimizer(schedule=COSINE)]),
}


def weights(experiment):
    """Return the weights after each of six updates, two per epoch, with a loss that does not fall."""
    config = experiment.optimizer
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}
    chain = make_optimizer(config, params, steps_per_epoch=2, total_steps=6)
    state, found = chain.init(params), []
    for step in range(6):
        gradients = {name: (step + 1) * jnp.cos(value) for name, value in params.items()}
        updates, state = chain.update(gradients, state, params, value=1.0)
        params = {name: value + updates[name] for name, value in params.items()}
        found.append(np.concatenate([*params.values()]))
    return np.array(found)


@pytest.mark.parametrize("field", OPTIMIZERS)
def test_a_field_of_the_optimizer_changes_the_weights_exactly_if_it_is_on(field):
    values, off, on = OPTIMIZERS[field]
    for optimizers, acts in ((off, False), (on, True)):
        for optimizer in optimizers:
            pair = [override(replace(BASE, optimizer=optimizer), {f"optimizer.{field}": each}) for each in values]
            assert all((switched_off(each, f"optimizer.{field}") is None) == acts for each in pair)
            assert np.array_equal(*map(weights, pair)) != acts


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("data.name", ("a", "b")),
        ("data.train_split", ("train", "test")),
        ("data.test_split", ("train", "test")),
        ("data.split_seed", (1, 2)),
        ("data.fake.train", (8, 9)),
        ("data.fake.shape", ((8, 8, 1), (9, 9, 1))),
    ],
)
def test_a_field_of_the_data_that_is_off_changes_no_image(field, values):
    sets = [override(replace(BASE, data=Data(source="digits")), {field: each}) for each in values]
    assert all(switched_off(each, field) for each in sets)
    one, two = (load(each.data, seed=0) for each in sets)
    assert all(np.array_equal(getattr(one, k).images, getattr(two, k).images) for k in ("train", "test"))


def test_the_reason_names_the_other_field_and_its_value():
    adam = override(BASE, {"optimizer.algorithm": "adam"})
    assert switched_off(adam, "optimizer.momentum") == "it acts only if optimizer.algorithm is sgd, not adam"
    assert (
        switched_off(BASE, "data.split_seed")
        == "it acts only if data.validation or data.train_count is above 0, not 0.0, None"
    )
    assert switched_off(BASE, "data.fake.train") == "it acts only if data.source is fake, not digits"
    assert switched_off(override(BASE, {"data.train_count": 100}), "data.split_seed") is None
    assert switched_off(BASE, "seed") is switched_off(BASE, "data.fakes") is None


def test_every_path_is_a_field_and_no_two_switch_each_other():
    known = {path for path, _ in paths(BASE)}
    assert SWITCHES.keys() <= known
    below = {path: {field for switch in switches for field in switch.fields} for path, switches in SWITCHES.items()}
    assert {*itertools.chain(*below.values())} <= known
    reached = below
    for _ in SWITCHES:
        reached = {
            path: functools.reduce(set.union, (below.get(each, set()) for each in fields), fields)
            for path, fields in reached.items()
        }
    assert all(path not in fields for path, fields in reached.items())
