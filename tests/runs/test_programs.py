"""Experiments that differ only in numbers share compiled programs."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import Augment, Data, Experiment, Fake, Optimizer, Schedule, data, make_train_step, override
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten
from jaxcnn.models import Chain
from jaxcnn.objectives import CrossEntropy
from jaxcnn.runs.plan import make_plan, make_plans
from jaxcnn.runs.programs import shared
from jaxcnn.runs.stacking import stack
from jaxcnn.runtime.errors import InputError

NETWORK = Chain(
    (
        Conv(4, name="conv1"),
        BatchNorm(name="norm1"),
        Activation("relu", name="relu1"),
        Flatten(name="flatten"),
        Dropout(0.2, name="drop"),
        Dense(4, name="output"),
    )
)
BASE = Experiment(
    model=NETWORK,
    data=Data(source="fake", fake=Fake(shape=(8, 8, 1), num_classes=4, train=64, test=24), batch_size=16),
    augment=Augment(shift=1.0),
    optimizer=Optimizer(schedule=Schedule(name="cosine", warmup_epochs=0.5)),
    epochs=2,
)
POINTS = [
    {"optimizer.learning_rate": 0.001 * (i + 1), "optimizer.weight_decay": 1e-4 * (i % 5 + 1), "seed": i}
    for i in range(30)
]


@pytest.mark.slow
def test_thirty_points_compile_once_and_equal_separate_runs_bit_for_bit(tmp_path, compiled):
    jax.clear_caches()
    shared.cache_clear()
    for i, changes in enumerate(POINTS):
        jaxcnn.train(override(BASE, changes), tmp_path / str(i), verbose=False)
        if i == 0:
            first = list(compiled)
    for name in ("train_step", "eval_step", "initialize"):
        assert sum(name in of for of in first) == 1
    assert compiled == first
    for i in (0, 7, 29):
        jax.clear_caches()
        shared.cache_clear()
        jaxcnn.train(override(BASE, POINTS[i]), tmp_path / f"alone{i}", verbose=False)
        pairs = [jax.tree.leaves(jaxcnn.restore(tmp_path / name)[1]) for name in (str(i), f"alone{i}")]
        for together, alone in zip(*pairs, strict=True):
            np.testing.assert_array_equal(together, alone)


def test_a_second_learning_rate_and_seed_compile_nothing(tmp_path, compiled):
    jaxcnn.train(override(BASE, POINTS[0]), tmp_path / "a", verbose=False)
    before = list(compiled)
    jaxcnn.train(override(BASE, POINTS[7]), tmp_path / "b", verbose=False)
    assert compiled == before


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"optimizer.learning_rate": 0.5, "optimizer.momentum": 0.0, "seed": 4, "data.eval_batch_size": 7}, True),
        ({"optimizer.weight_decay": 0.0}, False),
        ({"epochs": 3}, False),
        ({"data.mean": (0.5,)}, False),
        ({"augment.flip": True}, False),
        ({"optimizer.nesterov": True}, False),
        ({"model.records": (*NETWORK.records[:-1], Dense(5, name="output"))}, False),
    ],
)
def test_programs_are_shared_by_experiments_of_the_same_structure(changes, same):
    assert (make_plan(override(BASE, changes)).programs is make_plan(BASE).programs) is same


@pytest.mark.slow
def test_data_sets_with_different_colours_share_programs(tmp_path, compiled):
    """The colours are an argument; each run equals one whose step closes over its colours."""
    colored = override(BASE, {"augment.shift": 0.0, "augment.pca_color": 0.5, "data.fake.shape": (8, 8, 3)})
    colored = override(colored, {"data.source": "arrays", "data.batch_size": 16, "epochs": 1})
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.integers(0, 256, (32, 8, 8, 3), np.uint8), "train_labels": np.arange(32) % 4,
              "test_images": rng.integers(0, 256, (8, 8, 8, 3), np.uint8), "test_labels": np.arange(8) % 4}  # fmt: skip
    dark = arrays | {"train_images": arrays["train_images"] // np.array([1, 2, 4], np.uint8)}
    ends = []
    for name, own in (("a", arrays), ("b", dark)):
        before = list(compiled)
        jaxcnn.train(colored, tmp_path / name, arrays=own, verbose=False)
        ends.append(jaxcnn.restore(tmp_path / name)[1])
    assert compiled == before
    assert make_plan(colored, arrays).programs is make_plan(colored, dark).programs
    for own, end in zip((arrays, dark), ends, strict=True):
        plan = make_plan(colored, own)
        colors = data.color_axes(plan.dataset.train.images)
        augment, preprocess = data.make_augment(colored.augment, colors), data.make_preprocess(colored.data)
        step = jax.jit(make_train_step(NETWORK, plan.programs.optimizer, augment=augment, preprocess=preprocess))
        batches, state = data.train_batches(plan.dataset.train, 16, seed=0), plan.initial_state()
        for _, batch in zip(range(2), batches, strict=False):
            state, *_ = step(state, jax.device_get(batch))
        for found, expected in zip(jax.tree.leaves(end["params"]), jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(ends[0]["params"]["output"]["kernel"] - ends[1]["params"]["output"]["kernel"]).max() > 1e-3


def test_members_of_a_program_have_their_own_readings():
    plans = make_plans([override(BASE, changes) for changes in POINTS[:3]])
    batch = next(data.member_train_batches([plan.dataset.train for plan in plans], 16, seeds=range(3)))

    def read(state, batch, gradients, updates):
        return {
            "rate": state.hyper["learning_rate"],
            "pixels": batch["image"].sum(),
            "bias": gradients["output"]["bias"],
        }

    states = [plan.initial_state() for plan in plans]
    stacked = jax.device_put(stack(states), plans[0].replicated)
    _, sums, (rates, (found,)) = plans[0].programs.train_members(stacked, batch, None, readings=(read,))
    assert sums["n"].tolist() == [16] * 3 and rates.shape == (3,)
    for member, (plan, state) in enumerate(zip(plans, states, strict=True)):
        own = jax.tree.map(lambda x, member=member: x[member], batch)
        *_, (expected,) = plan.programs.train_step(state, own, None, readings=(read,))[2]
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours[member], theirs, rtol=1e-4, atol=1e-6)


class Listed(nn.Module):
    """A network with a field that cannot be hashed."""

    widths: list[int]

    @nn.compact
    def __call__(self, x, *, train):
        for width in self.widths:
            x = nn.Dense(width)(x.reshape(len(x), -1))
        return x


def test_a_network_that_cannot_be_hashed_trains(tmp_path):
    results = jaxcnn.train(override(BASE, {"model": Listed([5, 4]), "epochs": 1}), tmp_path / "run", verbose=False)
    assert results.steps == 4


@dataclass(frozen=True)
class Odd(CrossEntropy):
    """Cross-entropy with something wrong."""

    wrong: str = "loss"

    def __call__(self, apply, params, model_state, batch, key):
        loss, (state, sums) = super().__call__(apply, params, model_state, batch, key)
        if self.wrong == "loss":
            return loss[None], (state, sums)
        changed = {"n": {name: value for name, value in sums.items() if name != "n"}}
        return loss, (state, changed.get(self.wrong) or sums | {"correct": sums["correct"][None]})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("loss", r"Odd gives a loss of shape \(1,\); it must be a scalar"),
        ("n", "Odd gives the sums .*; they must include n"),
        ("sums", r"Odd gives correct of shape \(1,\); sums are scalars"),
    ],
)
def test_an_objective_that_gives_other_values_is_refused_before_anything_is_written(wrong, words, tmp_path):
    with pytest.raises(InputError, match=f"^{words}"):
        jaxcnn.train(override(BASE, {"objective": Odd(wrong)}), tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()
