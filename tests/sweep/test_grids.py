import itertools

import numpy as np
import pytest
from scipy import stats

import jaxcnn
from jaxcnn import Data, Experiment, Fake, InputError, sweep
from jaxcnn.config import run_id
from jaxcnn.models import LeNet5

BASE = Experiment(model=LeNet5(), data=Data(source="fake", fake=Fake(train=16, test=8), batch_size=8), epochs=1)


def test_a_grid_is_the_product_of_its_axes_in_the_order_of_a_nested_loop():
    axes = {"model.norm": ["none", "batch"], "seed": range(3), "optimizer.learning_rate": np.array([0.1, 1.0])}
    found = [(e.model.norm, e.seed, e.optimizer.learning_rate) for e in sweep.grid(BASE, axes)]
    expected = [jaxcnn.override(BASE, {"model.norm": norm}).model.norm for norm in ("none", "batch")]
    assert found == [*itertools.product(expected, range(3), (0.1, 1.0))]


def test_axes_whose_values_fit_only_together():
    made = sweep.grid(BASE, {"model.norm": ["batch"], "model.norm.momentum": [0.9, 0.5]})
    assert [e.model.norm.momentum for e in made] == [0.9, 0.5]


def test_an_axis_of_one_value_is_allowed():
    assert sweep.grid(BASE, {"seed": range(1)}) == [BASE]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "give values by field"),
        ({"seed": []}, "axis seed has no values"),
        ({"seed": 3}, "axis seed is 3; it must be a list"),
        ({"seed": "012"}, "axis seed is '012'; it must be a list"),
        ({"seed": [0, 1, 0]}, "axis seed has the value 0 twice"),
        ({"sede": [0, 1]}, "unknown field 'sede'. Did you mean 'seed'"),
        ({"seed": [0, "1"]}, "Experiment.seed is '1'"),
        ({"model.norm": ["none", "bath"]}, "norm is 'bath'"),
        ({"eval_every": [1, 2]}, "axis eval_every changes nothing: its 2 values give the same run"),
        ({"seed": [0, 1], "data.data_dir": ["a", "b", "c"]}, "axis data.data_dir changes nothing"),
    ],
)
def test_axes_that_are_refused(axes, message):
    with pytest.raises(InputError, match=message):
        sweep.grid(BASE, axes)


SPACE = {"optimizer.learning_rate": stats.loguniform(1e-4, 1), "seed": range(50), "epochs": stats.randint(1, 4)}


def test_random_points_follow_their_distributions():
    found = sweep.random(BASE, SPACE, n=300, seed=0)
    rates = np.array([e.optimizer.learning_rate for e in found])
    assert stats.kstest(rates, SPACE["optimizer.learning_rate"].cdf).pvalue > 1e-3
    assert {e.epochs for e in found} == {1, 2, 3} and all(type(e.epochs) is int for e in found)
    assert stats.chisquare(np.bincount([e.seed for e in found], minlength=50)).pvalue > 1e-3
    assert len({*map(run_id, found)}) == 300


def test_random_points_repeat_with_their_seed_and_a_larger_sweep_begins_alike():
    first = sweep.random(BASE, SPACE, n=5, seed=3)
    assert sweep.random(BASE, SPACE, n=9, seed=3)[:5] == first != sweep.random(BASE, SPACE, n=5, seed=4)


def test_random_draws_a_small_space_completely_and_then_refuses():
    space = {"seed": [0, 1], "model.norm": ["none", "batch"]}
    assert len({run_id(e) for e in sweep.random(BASE, space, n=4, seed=0)}) == 4
    with pytest.raises(InputError, match="gave 4 different experiments, not 5; enlarge the space"):
        sweep.random(BASE, space, n=5, seed=0)


@pytest.mark.parametrize(
    ("space", "n", "message"),
    [({"seed": 3}, 1, "seed is 3; it must be a list"), ({"seed": [1]}, 0, "n is 0"), ({"seed": []}, 1, "no values")],
)
def test_spaces_that_are_refused(space, n, message):
    with pytest.raises(InputError, match=message):
        sweep.random(BASE, space, n=n, seed=0)


SWITCHED_OFF = {
    "optimizer.momentum": ([0.8, 0.9], {"optimizer.algorithm": "adam"}, "optimizer.algorithm is sgd, not adam"),
    "optimizer.b1": ([0.8, 0.9], {}, "optimizer.algorithm is adam, not sgd"),
    "data.split_seed": ([0, 1], {}, "data.validation or data.train_count is above 0, not 0.0, None"),
    "optimizer.schedule.drops": ([(1.0,), (2.0,)], {}, "optimizer.schedule.name is step, not constant"),
    "data.name": (["a", "b"], {}, "data.source is tfds or arrays, not fake"),
    "data.fake.train": ([16, 32], {"data.source": "digits"}, "data.source is fake, not digits"),
}


@pytest.mark.parametrize("path", SWITCHED_OFF)
def test_an_axis_that_another_field_switches_off_is_refused(path):
    values, changes, reason = SWITCHED_OFF[path]
    base = jaxcnn.override(BASE, changes)
    message = f"{path} changes nothing: it acts only if {reason}. Remove it"
    with pytest.raises(InputError, match=message):
        sweep.grid(base, {"seed": [0, 1], path: values})
    with pytest.raises(InputError, match=message):
        sweep.random(base, {path: values}, n=2, seed=0)
    assert len(sweep.grid(base, {path: values[:1]})) == 1


def test_where_an_axis_is_off_its_combinations_are_one_point_with_the_value_of_the_base():
    base = jaxcnn.override(BASE, {"optimizer.momentum": 0.7})
    axes = {"optimizer.algorithm": ["sgd", "adam"], "optimizer.momentum": [0.8, 0.9], "optimizer.b1": [0.5]}
    found = [(e.optimizer.algorithm, e.optimizer.momentum, e.optimizer.b1) for e in sweep.grid(base, axes)]
    assert found == [("sgd", 0.8, 0.9), ("sgd", 0.9, 0.9), ("adam", 0.7, 0.5)]
    space = {"optimizer.algorithm": ["sgd", "adam"], "optimizer.momentum": [0.8, 0.9]}
    drawn = {(e.optimizer.algorithm, e.optimizer.momentum) for e in sweep.random(base, space, n=3, seed=0)}
    assert drawn == {("sgd", 0.8), ("sgd", 0.9), ("adam", 0.7)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep.grid("x", {"seed": [0]}), "base is str; it must be Experiment"),
        (lambda: sweep.grid(BASE, {3: [0]}), "an axis is named 3"),
        (lambda: sweep.grid(BASE, {"seed": {0: 1}}), "axis seed is {0: 1}; it must be a list"),
        (lambda: sweep.grid(BASE, {"seed": np.array(3)}), r"axis seed is array\(3\); it must be a list"),
        (lambda: sweep.random(BASE, {"seed": [0]}, n=True, seed=0), "n is True"),
        (lambda: sweep.random(BASE, {"seed": [0]}, n=1, seed="a"), "seed is 'a'; it must be an integer >= 0"),
        (lambda: sweep.random(None, {"seed": [0]}, n=1, seed=0), "base is NoneType"),
    ],
)
def test_wrong_types_get_a_message(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_arrays_are_tuples():
    values = np.array([[0.1], [0.2]])
    assert [e.data.mean for e in sweep.grid(BASE, {"data.mean": values})] == [(0.1,), (0.2,)]
    with pytest.raises(InputError, match=r"axis data.mean has the value \(0.1\) twice"):
        sweep.grid(BASE, {"data.mean": [np.array([0.1]), np.array([0.1])]})
