"""Runs, checkpoints and settings saved by revision 648889a still work; tests/fixtures/make.py made them."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn.config import from_json, to_json
from jaxcnn.runs import checkpoint
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.workdir import load_saved

FIXTURES = Path(__file__).parents[1] / "fixtures"


NORMALIZED = {"params/conv1/bias", *(f"params/conv{stage}_{i}/bias" for stage in range(1, 6) for i in (1, 2))}


def close(found, expected, *, relative=1e-5):
    """Compare up to a fraction of each leaf's largest value, without biases before batch normalization, whose gradients
    are only rounding errors."""
    assert found.keys() == expected.keys()
    for name in expected.keys() - (NORMALIZED if any("batch_stats" in name for name in expected) else set()):
        largest = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=relative * largest, err_msg=name)


def leaves(variables):
    named = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in named}


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "relative"),
    # CPUs differ in rounding, and a deep network with batch normalization amplifies the differences at each step.
    [("lenet5", 20, 1e-5), ("vgg", 3, 1e-4)],
)
def test_training_reproduces_the_saved_weights(name, steps, relative, tmp_path, monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    experiment = from_json(json.loads((FIXTURES / "weights.json").read_text())[name])
    assert jaxcnn.train(experiment, tmp_path / "run", verbose=False).steps == steps
    expected = dict(np.load(FIXTURES / f"{name}_{steps}_steps.npz"))
    close(leaves(jaxcnn.restore(tmp_path / "run")[1]), expected, relative=relative)


@pytest.mark.slow
def test_a_saved_stopped_run_resumes_and_ends_like_the_run_that_was_not_stopped(tmp_path):
    run = Path(shutil.copytree(FIXTURES / "stopped_run", tmp_path / "run"))
    jaxcnn.train(load_saved(run), run, verbose=False)
    close(leaves(jaxcnn.restore(run)[1]), leaves(jaxcnn.restore(FIXTURES / "finished_run")[1]))
    found, expected = rows(run), rows(FIXTURES / "finished_run")
    # The last training row used to average steps 31 and 32 only; it now includes the three steps of the previous row.
    *_, before, last = (row for row in expected if row["split"] == "train")
    assert (before["step"], last["step"]) == (30, 32)
    last |= {name: (3 * before[name] + 2 * last[name]) / 5 for name in ("loss", "accuracy")}
    assert [(row["step"], row["split"]) for row in found] == [(row["step"], row["split"]) for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys()
        for metric in row.keys() - {"time", "split"}:
            assert row[metric] == pytest.approx(other[metric], rel=1e-4), (row, other)


def test_a_saved_finished_run_is_recognized_as_finished(tmp_path, capsys):
    run = Path(shutil.copytree(FIXTURES / "finished_run", tmp_path / "run"))
    results = jaxcnn.train(load_saved(run), run)
    assert results.steps == 32 and "finished" in capsys.readouterr().out


def test_key_hyperparameters_and_momentum_are_added_to_a_checkpoint_without_them(tmp_path):
    """A momentum of 0 used to have no stage; a stage that is added starts at 0."""
    plan = make_plan(load_saved(FIXTURES / "stopped_run"))
    folder = Path(shutil.copytree(FIXTURES / "stopped_run" / "checkpoints", tmp_path / "checkpoints"))
    state, _ = checkpoint.restore_state(folder, plan.state, pytest.fail)
    np.testing.assert_array_equal(state.key, jax.random.key_data(jax.random.key(3)))
    assert {name: float(x) for name, x in state.hyper.items()} == pytest.approx(
        {"learning_rate": 0.01, "weight_decay": 5e-4, "momentum": 0.9}
    )
    without = state.replace(opt_state={k: v for k, v in state.opt_state.items() if k != "momentum"})
    with checkpoint.Checkpoints(tmp_path / "without") as checkpoints:
        checkpoints.save(without, loop_state={}, accuracies={})
    again, _ = checkpoint.restore_state(tmp_path / "without", plan.state, pytest.fail)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert all(float(np.abs(x).max()) == 0 for x in jax.tree.leaves(again.opt_state["momentum"]))


def test_saved_settings_survive_a_round_trip():
    saved = json.loads((FIXTURES / "configs.json").read_text())
    for name, entry in saved.items():
        experiment = from_json(entry["config"])
        assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment, name
