"""Objectives with parameters of their own, and objectives that train only some parameters."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import Hook, Optimizer, create_state, make_eval_step, make_optimizer, make_train_step
from jaxcnn.config import load_config, override
from jaxcnn.objectives import OWN, Classification, CrossEntropy, Objective, cross_entropy, trained
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.selection import select
from jaxcnn.runtime.errors import InputError

TINY = override(load_config(Path(__file__).parents[1] / "tiny.py"), {"epochs": 2, "checkpoint_every": 1})


@dataclass(frozen=True)
class Tempered(Classification):
    """Cross-entropy of logits divided by a learned temperature."""

    start: float = 2.0

    def init(self, key, logits):
        assert logits.shape[0] == 1
        return {"temperature": jnp.full((), self.start), "drawn": jax.random.normal(key, (logits.shape[1],))}

    def __call__(self, apply, params, model_state, batch, key):
        logits, model_state = apply(params, model_state, batch["image"], key)
        sums = self.sums(logits, batch, params[OWN])
        return sums["loss"] / sums["n"], (model_state, sums)

    def sums(self, logits, batch, own=None):
        return super().sums(logits / own["temperature"], batch)

    def losses(self, logits, labels):
        return cross_entropy(logits, labels)


@dataclass(frozen=True)
class Entropy(Objective):
    """The entropy of the predictions; only the scales and shifts of norms train (TENT)."""

    def __call__(self, apply, params, model_state, batch, key):
        logits, model_state = apply(params, model_state, batch["image"], key)
        sums = self.sums(logits, batch)
        return sums["loss"] / sums["n"], (model_state, sums)

    def trains(self, params):
        return {name: name.startswith("norm") for name in params}

    def sums(self, logits, batch):
        mask = batch.get("mask", jnp.ones(len(logits), bool))
        log_p = jax.nn.log_softmax(logits)
        return {"loss": -jnp.sum(jnp.exp(log_p) * log_p, where=mask[:, None]), "n": jnp.sum(mask)}


class Linear(nn.Module):
    """A network that checks that it receives only its own parameters."""

    @nn.compact
    def __call__(self, x, *, train):
        assert self.is_initializing() or set(self.variables["params"]) == {"d"}
        return nn.Dense(3, name="d")(x.reshape(len(x), -1))


def batch_of(n):
    images = np.random.default_rng(0).normal(size=(n, 2, 2, 1)).astype(np.float32)
    return {"image": images, "label": np.arange(n, dtype=np.int32) % 3}


def test_own_parameters_are_trained_with_the_network_and_do_not_reach_it():
    batch, objective = batch_of(9), Tempered()
    network = Linear().init(jax.random.key(0), batch["image"], train=False)["params"]
    own = objective.init(jax.random.key(1), jax.ShapeDtypeStruct((1, 3), np.float32))
    optimizer = optax.sgd(0.1)
    state = create_state({"params": {**network, OWN: own}}, optimizer)
    after, metrics, _ = jax.jit(make_train_step(Linear(), optimizer, objective=objective))(state, batch)

    def loss(temperature):
        kernel, bias = (np.asarray(network["d"][name], np.float64) for name in ("kernel", "bias"))
        z = (batch["image"].reshape(9, -1) @ kernel + bias) / temperature
        return np.mean(np.log(np.exp(z).sum(-1)) - z[range(9), batch["label"]])

    slope = (loss(2 + 1e-4) - loss(2 - 1e-4)) / 2e-4
    assert float(metrics["loss"]) == pytest.approx(9 * loss(2), rel=1e-5)
    assert float(after.params[OWN]["temperature"]) == pytest.approx(2 - 0.1 * slope, abs=1e-6)
    sums, logits = make_eval_step(Linear(), objective=objective)(state.variables, batch | {"mask": np.ones(9, bool)})
    assert float(sums["loss"]) == pytest.approx(9 * loss(2), rel=1e-5) and logits.shape == (9, 3)


class Stop(Hook):
    def on_step(self, run, step, sums, readings):
        if step == 6:
            raise KeyboardInterrupt


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_own_parameters_are_saved_restored_and_resumed(tmp_path, capsys):
    experiment = override(TINY, {"objective": Tempered()})
    jaxcnn.train(experiment, tmp_path / "whole")
    assert "~objective/temperature" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(experiment, tmp_path / "run", hooks=[Stop()], verbose=False)
    jaxcnn.train(experiment, tmp_path / "run", verbose=False)
    whole, run = select(tmp_path / "whole"), select(tmp_path / "run")
    assert_same((whole.variables, whole.objective), (run.variables, run.objective))
    assert float(whole.objective["temperature"]) != 2.0
    first = make_plan(experiment).initial_state()
    assert_same(first.params[OWN]["drawn"], make_plan(experiment).initial_state().params[OWN]["drawn"])
    other = make_plan(override(experiment, {"seed": 1})).initial_state()
    assert np.abs(other.params[OWN]["drawn"] - first.params[OWN]["drawn"]).max() > 1e-3
    # Users of a run see only the network; the objective does not change its initial weights.
    assert set(jaxcnn.restore(tmp_path / "run")[1]["params"]) == {"conv", "norm", "output"}
    assert jaxcnn.evaluate_run(tmp_path / "run")[0].n == 40
    plain = make_plan(TINY).initial_state()
    assert_same({k: v for k, v in first.params.items() if k != OWN}, plain.params)


@pytest.mark.slow
def test_a_run_can_be_initialized_from_one_with_own_parameters_and_vice_versa(tmp_path):
    jaxcnn.train(override(TINY, {"objective": Tempered()}), tmp_path / "a", verbose=False)
    for name, source, experiment in (("b", "a", TINY), ("c", "b", override(TINY, {"objective": Tempered(3.0)}))):
        still = override(experiment, {"optimizer.learning_rate": 1e-30, "epochs": 1})
        jaxcnn.train(still, tmp_path / name, init_from=tmp_path / source, verbose=False)
        assert_same(select(tmp_path / name).variables["params"], select(tmp_path / "a").variables["params"])
    assert float(select(tmp_path / "c").objective["temperature"]) == 3.0


@pytest.mark.parametrize("algorithm", ["sgd", "adam"])
def test_parameters_outside_the_mask_are_neither_updated_nor_decayed(tmp_path, algorithm, capsys):
    changes = {"optimizer.weight_decay": 0.5, "optimizer.weight_decay_scope": "all", "optimizer.clip_norm": 1.0}
    changes |= {"optimizer.algorithm": algorithm, "objective": Entropy()}
    experiment = override(TINY, changes)
    results = jaxcnn.train(experiment, tmp_path / "whole")
    said = capsys.readouterr().out
    assert "Entropy trains 2 of 6 parameters: norm/bias, norm/scale" in said
    assert results.test.keys() == {"loss", "n"} and f"test loss {results.test['loss']:.4f}" in said
    first, last = make_plan(experiment).initial_state().params, jaxcnn.restore(tmp_path / "whole")[1]["params"]
    for layer in ("conv", "output"):
        assert_same(first[layer], last[layer])
    for name in ("scale", "bias"):
        assert np.abs(last["norm"][name] - first["norm"][name]).max() > 1e-3
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(experiment, tmp_path / "run", hooks=[Stop()], verbose=False)
    jaxcnn.train(experiment, tmp_path / "run", verbose=False)
    assert_same(jaxcnn.restore(tmp_path / "run")[1], jaxcnn.restore(tmp_path / "whole")[1])


@dataclass(frozen=True)
class Biases(CrossEntropy):
    def trains(self, params):
        return {"d": {"kernel": False, "bias": True}}


def test_clipping_counts_only_parameters_that_train():
    """The kernel's gradient is above the limit, but the bias is updated as without a limit."""
    batch = batch_of(9)
    batch["image"] *= 1000
    params = Linear().init(jax.random.key(0), batch["image"], train=False)["params"]
    moved = []
    for clip in (1e9, 10.0):
        config = Optimizer(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=clip)
        optimizer = make_optimizer(config, params, steps_per_epoch=1, total_steps=1)
        step = make_train_step(Linear(), optimizer, objective=Biases())
        after, *_ = step(create_state({"params": params}, optimizer), batch)
        assert_same(after.params["d"]["kernel"], params["d"]["kernel"])
        moved.append(np.asarray(after.params["d"]["bias"]))
    np.testing.assert_array_equal(*moved)


@dataclass(frozen=True)
class Nothing(Entropy):
    def trains(self, params):
        return False


@dataclass(frozen=True)
class Unfit(Entropy):
    def trains(self, params):
        return {"nothing": True}


def test_a_mask_that_trains_nothing_or_does_not_fit_is_an_error():
    params = {"a": {"kernel": np.zeros(2), "bias": np.zeros(2)}, "norm": np.zeros(3)}
    assert trained(Entropy(), params) == {"a": {"kernel": False, "bias": False}, "norm": True}
    assert trained(Tempered(), params) == {"a": {"kernel": True, "bias": True}, "norm": True}
    with pytest.raises(InputError, match=r"Nothing.trains selects no parameter"):
        make_plan(override(TINY, {"objective": Nothing()}))
    with pytest.raises(InputError, match=r"Unfit.trains does not fit the parameters: "):
        make_plan(override(TINY, {"objective": Unfit()}))
