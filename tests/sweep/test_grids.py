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
