"""Runs with a target: resumed and together they equal the whole run, and the target's labels are only scored."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import Hook, InputError, sweep
from jaxcnn.config import override
from jaxcnn.objectives import OWN, CrossEntropy
from jaxcnn.probes import read_history
from jaxcnn.runs.members import structure_key, train_members
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.selection import select
from jaxcnn.shift import DANN, AugMix, CorruptionAugmentation, DeepCoral, LinearProbe, RobustPseudoLabels, SelfTraining
from tests.runs.launches import TINY, assert_same, rows

TARGET = "corruption:contrast:5"
BASE = override(TINY, {"epochs": 2, "checkpoint_every": 1, "data.target": TARGET, "log_every": 2})


pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)


class Stop(Hook):
    def on_step(self, run, step, sums, readings):
        if step == 6:
            raise KeyboardInterrupt


def test_a_resumed_run_with_a_target_equals_the_whole_run_bit_for_bit(tmp_path):
    experiment = override(BASE, {"objective": DANN(hidden=(5,))})
    whole = jaxcnn.train(experiment, tmp_path / "whole", verbose=False)
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(experiment, tmp_path / "run", hooks=[Stop()], verbose=False)
    resumed = jaxcnn.train(experiment, tmp_path / "run", verbose=False)
    a, b = select(tmp_path / "whole"), select(tmp_path / "run")
    assert_same((a.variables, a.objective), (b.variables, b.objective))
    assert rows(tmp_path / "whole") == rows(tmp_path / "run")
    assert resumed.target == whole.target and whole.target["n"] == 40
    (first, *_) = map(json.loads, rows(tmp_path / "run"))
    assert {"domain_loss", "domain_accuracy", "target_entropy"} <= first.keys()
    saved = json.loads((tmp_path / "run" / "results.json").read_text())
    assert saved["target"] == whole.target != saved["test"]
    # A finished run is read with its score on the target.
    assert jaxcnn.train(experiment, tmp_path / "run", verbose=False).target == whole.target
    assert jaxcnn.evaluate_run(tmp_path / "run")[0].n == 40


def test_training_never_sees_a_label_of_the_target(tmp_path, monkeypatch):
    """With other labels of the target, all weights and rows are the same; only the score differs."""
    from jaxcnn.data import sources

    experiment = override(BASE, {"objective": SelfTraining(threshold=0.3), "epochs": 1})
    first = jaxcnn.train(experiment, tmp_path / "a", verbose=False)
    read = sources.read_targets

    def relabelled(*arguments):
        return tuple(replace(each, labels=(each.labels + 1) % 4) for each in read(*arguments))

    monkeypatch.setattr(sources, "read_targets", relabelled)
    second = jaxcnn.train(experiment, tmp_path / "b", verbose=False)
    assert_same(select(tmp_path / "a").variables, select(tmp_path / "b").variables)
    assert rows(tmp_path / "a") == rows(tmp_path / "b") and first.test == second.test
    assert first.target != second.target


def test_a_target_changes_nothing_for_an_objective_that_does_not_use_it(tmp_path):
    without = override(BASE, {"data.target": "", "epochs": 1})
    plain = jaxcnn.train(without, tmp_path / "plain", verbose=False)
    scored = jaxcnn.train(override(without, {"data.target": TARGET}), tmp_path / "scored", verbose=False)
    assert_same(select(tmp_path / "plain").variables, select(tmp_path / "scored").variables)
    assert plain.target is None and scored.target["n"] == 40 and scored.test == plain.test
    assert "target" not in json.loads((tmp_path / "plain" / "results.json").read_text())


@pytest.mark.parametrize("seeds", [pytest.param((0, 0), marks=pytest.mark.slow), (0, 1)], ids=["one", "two"])
def test_runs_that_train_together_equal_their_lone_runs(tmp_path, seeds):
    base = override(BASE, {"objective": DeepCoral(weight=10.0), "epochs": 1, "model.rate": 0.0})
    rates = (0.02, 0.05)
    pairs = zip(seeds, rates, strict=True)
    experiments = [override(base, {"seed": seed, "optimizer.learning_rate": rate}) for seed, rate in pairs]
    found = train_members(experiments, [tmp_path / "a", tmp_path / "b"], verbose=False)
    lone = jaxcnn.train(experiments[1], tmp_path / "lone", verbose=False)
    assert found[1].target["loss"] == pytest.approx(lone.target["loss"], rel=1e-4)
    for x, y in zip(*(jax.tree.leaves(select(tmp_path / name).variables) for name in ("b", "lone")), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        AugMix(),
        CorruptionAugmentation(corruptions=("contrast", "gaussian_noise")),
        RobustPseudoLabels(),
        SelfTraining(),
        LinearProbe(),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_every_objective_trains_in_a_sweep_of_its_config(tmp_path, objective):
    experiment = override(BASE, {"objective": objective, "epochs": 1})
    records = sweep.run(sweep.grid(experiment, {"optimizer.learning_rate": [0.01, 0.02]}), tmp_path, vectorize="auto")
    assert [record.status for record in records] == ["finished"] * 2
    assert structure_key(records[0].experiment) == structure_key(records[1].experiment)
    assert all(0 <= record.results.target["accuracy"] <= 1 for record in records)


def test_a_linear_probe_keeps_the_features_of_the_run_that_it_starts_from(tmp_path):
    jaxcnn.train(override(BASE, {"epochs": 1}), tmp_path / "source", verbose=False)
    probe = override(BASE, {"objective": LinearProbe(), "data.train_count": 20, "epochs": 1})
    probe = override(probe, {"optimizer.weight_decay": 0.5, "optimizer.weight_decay_scope": "all"})
    jaxcnn.train(probe, tmp_path / "probe", init_from=tmp_path / "source", verbose=False)
    before, after = (select(tmp_path / name).variables for name in ("source", "probe"))
    assert_same(before["batch_stats"], after["batch_stats"])
    for name in ("conv", "norm"):
        assert_same(before["params"][name], after["params"][name])
    assert np.abs(before["params"]["output"]["kernel"] - after["params"]["output"]["kernel"]).max() > 1e-4


def test_the_domain_classifier_has_the_size_of_the_features():
    state = make_plan(override(BASE, {"objective": DANN(hidden=(7,))})).initial_state()
    shapes = jax.tree.map(np.shape, state.params[OWN])
    assert shapes == {
        "dense1": {"kernel": (64, 7), "bias": (7,)},
        "dense2": {"kernel": (7, 1), "bias": (1,)},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": DANN(), "data.target": ""},
            r"DANN trains on images of a target, and data\.target is empty; set",
        ),
        ({"data.target": "digits"}, r"target 'digits' has images of 32x32x1, and the run has 8x8x1\. Add @ and a size"),
        ({"data.target": "corruption:fgo:1"}, r"corruption 'fgo' is unknown; there are"),
        ({"data.target": "corruption:fog:6"}, r"must be corruption:NAME:SEVERITY, with a severity from 1 to 5"),
        ({"data.train_count": 1000}, r"Data\.train_count is 1000; there are 70 training images"),
        ({"objective": LinearProbe(layers=("fc8",))}, r"LinearProbe\.layers .* are conv, norm, output\. Name the last"),
        (
            {"objective": CorruptionAugmentation(share=0.05)},
            r"share is 0\.05; of 16 images in a batch this leaves none",
        ),
    ],
)
def test_what_does_not_fit_is_one_message_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        jaxcnn.train(override(BASE, changes), tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()


def test_an_objective_without_needs_is_not_given_the_target():
    assert make_plan(BASE).target is None and isinstance(BASE.objective, CrossEntropy)
    assert len(make_plan(override(BASE, {"objective": DeepCoral()})).target) == 70


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [DANN(hidden=(5,)), DeepCoral(weight=10.0), AugMix(), CorruptionAugmentation()],
    ids=lambda objective: type(objective).__name__,
)
def test_a_run_on_several_devices_equals_that_on_one(tmp_path, monkeypatch, objective):
    # Dropout and the noise of corruptions are those of one device too.
    experiment = override(BASE, {"objective": objective, "epochs": 1})
    one = jaxcnn.train(experiment, tmp_path / "one", verbose=False)
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:4])
    four = jaxcnn.train(experiment, tmp_path / "four", verbose=False)
    assert four.target["loss"] == pytest.approx(one.target["loss"], rel=1e-3)
    assert four.test["loss"] == pytest.approx(one.test["loss"], rel=1e-3)


@pytest.mark.slow
def test_probes_read_a_network_that_is_applied_to_two_domains(tmp_path):
    experiment = override(BASE, {"objective": DANN(hidden=(5,)), "epochs": 1, "probes.every": 2})
    probed = jaxcnn.train(experiment, tmp_path / "probed", verbose=False)
    readings = read_history(tmp_path / "probed" / "probes.npz").readings["gradients"]
    assert {"conv", "norm", "output"} <= {*readings}
    assert (readings["conv"]["gradients"]["std"] > 0).all()
    assert probed.target["n"] == 40
