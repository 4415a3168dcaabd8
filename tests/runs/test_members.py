"""Runs that train together equal their lone runs, and neither kills nor divergence changes that."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import Data, Experiment, Fake
from jaxcnn.config import load_config, override, run_id
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten, MaxPool
from jaxcnn.models import Chain, LeNet5
from jaxcnn.runs import checkpoint
from jaxcnn.runs.failure import read_failure
from jaxcnn.runs.launch import train
from jaxcnn.runs.members import structure_key, train_members, worth_vectorizing
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.stacking import stack, unstack
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import InUse, locked
from jaxcnn.training.non_finite import NonFinite
from tests.runs.launches import TINY, assert_same, interrupted, newest, rows

pytestmark = pytest.mark.usefixtures("compile_once")

NETWORK = Chain(
    (
        Flatten(name="flatten"),
        Dense(8, name="hidden"),
        BatchNorm(name="norm"),
        Activation("relu", name="relu"),
        Dropout(0.1, name="drop"),
        Dense(4, name="output"),
    )
)
BASE = override(TINY, {"model": NETWORK, "epochs": 3, "checkpoint_every": 1})
STEPS = 12  # 3 epochs of 4 full batches
RATES = [override(BASE, {"optimizer.learning_rate": rate}) for rate in (0.02, 0.05)]  # The same batches.
# Each seed has its own training and validation images.
SEEDED = override(BASE, {"data.validation": 0.3})
SEEDS = [override(SEEDED, {"seed": seed, "optimizer.momentum": 0.9 - 0.2 * seed}) for seed in (0, 1)]
COLORS = [override(e, {"augment.pca_color": 0.5, "data.fake.shape": (8, 8, 3)}) for e in SEEDS]


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)


def folders(parent, experiments):
    return [parent / f"{number}" for number in range(len(experiments))]


def together(experiments, parent, **options):
    """Train experiments together in the folders 0, 1, ... and return what became of them."""
    return train_members(experiments, folders(parent, experiments), verbose=False, **options)


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """Return the folder of an undisturbed group."""
    parent = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        _one_device.__wrapped__(patch)
        together(RATES, parent)
    return parent


def values(row):
    return {name: value for name, value in json.loads(row).items() if isinstance(value, float | int)}


def assert_equal_up_to_rounding(workdir, lone, experiment):
    """Check the rows, the results and the state of a member against those of its lone run."""
    found, expected = rows(workdir), rows(lone)
    assert [json.loads(row)["split"] for row in found] == [json.loads(row)["split"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert values(row) == pytest.approx(values(other), rel=1e-4)
    results, others = (json.loads((folder / "results.json").read_text()) for folder in (workdir, lone))
    assert results.keys() == others.keys() and results["run_id"] == others["run_id"]
    assert results["test"] == pytest.approx(others["test"], rel=1e-4)
    state, alone = newest(workdir, experiment), newest(lone, experiment)
    assert_same((state.step, state.key, state.hyper), (alone.step, alone.key, alone.hyper))
    leaves = jax.tree_util.tree_leaves_with_path((state.variables, state.opt_state))
    for (path, ours), theirs in zip(leaves, jax.tree.leaves((alone.variables, alone.opt_state)), strict=True):
        # The gradient of a bias before batch normalization is only rounding error.
        if "hidden/bias" not in jax.tree_util.keystr(path, simple=True, separator="/"):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    "experiments", [RATES, SEEDS, pytest.param(COLORS, marks=pytest.mark.slow)], ids=["rates", "seeds", "colors"]
)
def test_members_equal_their_lone_runs(tmp_path, experiments):
    """The network has batch normalization and dropout, images are mirrored, and the rate falls on a plateau."""
    outcomes = together(experiments, tmp_path)
    for number, (experiment, results) in enumerate(zip(experiments, outcomes, strict=True)):
        lone = train(experiment, tmp_path / f"lone{number}", verbose=False)
        assert_equal_up_to_rounding(tmp_path / f"{number}", tmp_path / f"lone{number}", experiment)
        found = dataclasses.asdict(results) | {"seconds": 0}
        saved = json.loads((tmp_path / f"{number}" / "results.json").read_text())
        assert found["test"] == saved["test"] and found["validation"] == saved.get("validation")
        assert (results.steps, results.workdir) == (lone.steps, str(tmp_path / f"{number}"))


@pytest.mark.slow
@pytest.mark.parametrize("experiments", [RATES, SEEDS], ids=["rates", "seeds"])
def test_convolutional_members_on_eight_devices_equal_lone_runs_on_eight_devices(tmp_path, monkeypatch, experiments):
    monkeypatch.undo()
    assert len(jax.devices()) == 8
    _, _, *rest = NETWORK.records
    network = Chain((Conv(4, name="hidden"), *rest[:2], MaxPool(2, name="pool"), Flatten(name="flatten"), *rest[2:]))
    experiments = [override(experiment, {"model": network}) for experiment in experiments]
    together(experiments, tmp_path)
    for number, experiment in enumerate(experiments):
        train(experiment, tmp_path / f"lone{number}", verbose=False)
        assert_equal_up_to_rounding(tmp_path / f"{number}", tmp_path / f"lone{number}", experiment)


def test_each_member_has_the_folder_of_a_lone_run(rates, tmp_path):
    train(RATES[0], tmp_path / "lone", keep="last", verbose=False)
    expected = {path.relative_to(tmp_path / "lone").parts[:2] for path in (tmp_path / "lone").rglob("*")}
    for number, experiment in enumerate(RATES):
        folder = rates / f"{number}"
        assert {path.relative_to(folder).parts[:2] for path in folder.rglob("*")} == expected
        assert jaxcnn.runs.workdir.load_saved(folder).optimizer == experiment.optimizer
        record = json.loads((folder / "provenance.json").read_text())
        assert record["members"] == [run_id(each) for each in RATES] and record["member"] == number
        assert record["run_id"] == run_id(experiment) and record["workdir"] == str(folder)
    assert jaxcnn.evaluate_run(rates / "1")[0].top1_error == pytest.approx(
        json.loads((rates / "1" / "results.json").read_text())["test"]["error"]
    )


def test_rows_are_passed_on_with_the_number_of_their_run(tmp_path):
    passed = {0: [], 1: []}
    file = Path(__file__).parents[1] / "tiny.py"
    together(RATES, tmp_path, keep="results", on_row=lambda i, row: passed[i].append(row), config_file=file)
    for number, found in passed.items():
        folder = tmp_path / f"{number}"
        assert [json.dumps({k: v for k, v in row.items() if k != "time"}) for row in found] == rows(folder)
        assert not (folder / "checkpoints").exists() and (folder / "config.py").read_text() == file.read_text()


# --- divergence


def test_a_member_that_diverges_does_not_disturb_the_others(rates, tmp_path, monkeypatch):
    """Also if the others are stopped and resumed after that: they do not go back to the beginning for its sake."""
    points = [RATES[0], override(BASE, {"optimizer.learning_rate": 1e36}), RATES[1]]
    with interrupted(monkeypatch, at_step=9):
        together(points, tmp_path)
    first, failed, last = together(points, tmp_path)
    assert isinstance(failed, NonFinite) and "the loss of step 2 is" in str(failed)
    assert read_failure(tmp_path / "1").kind == "diverged" and read_failure(tmp_path / "1").reason == str(failed)
    assert {path.name for path in (tmp_path / "1" / "checkpoints").iterdir()} == set()
    assert rows(tmp_path / "1") == [] and not (tmp_path / "1" / "results.json").exists()
    for results, number, own in ((first, 0, "0"), (last, 1, "2")):
        assert results.steps == STEPS
        assert_equal_up_to_rounding(tmp_path / own, rates / f"{number}", RATES[number])
    assert str(together(points, tmp_path)[1]) == str(failed)


def test_weights_that_are_not_finite_end_a_member(tmp_path):
    """There is one step per epoch; with the warm-up the first update is 0 and the second is too large."""
    changes = {"data.batch_size": 64, "optimizer.schedule.warmup_epochs": 1, "optimizer.learning_rate": 1e36}
    points = [override(BASE, changes | {"optimizer.weight_decay": decay, "eval_every": 3}) for decay in (1e-6, 1e9)]
    loss, weight = together(points, tmp_path)
    assert "the loss of step 3 is" in str(loss) and "last good checkpoint is step" in str(loss)
    assert "a weight is not finite after step 2; the last good checkpoint is step 1 in" in str(weight)
    assert checkpoint.steps(tmp_path / "1" / "checkpoints") == [1]


# --- stopping and resuming


def assert_same_group(parent, expected, experiments=RATES):
    for number, experiment in enumerate(experiments):
        folder, other = parent / f"{number}", expected / f"{number}"
        assert_same(newest(folder, experiment), newest(other, experiment))
        assert rows(folder) == rows(other)
        found, results = (json.loads((f / "results.json").read_text()) for f in (folder, other))
        assert found | {"seconds": 0} == results | {"seconds": 0}


def test_a_group_that_is_stopped_ends_like_one_that_was_not(rates, tmp_path, monkeypatch):
    for where in (
        {"at_step": 0},
        {"at_step": 5},
        {"at_evaluation": 0, "cut": True},
        {"at_step": 9, "cut": True},
        {"at_evaluation": 0},
    ):
        with interrupted(monkeypatch, **where) as caught:
            together(RATES, tmp_path)
        if not where.get("cut"):
            step = int(newest(tmp_path / "0", RATES[0]).step)
            assert str(caught.value) == f"stopped at step {step}; the same command continues these runs"
        assert not list(tmp_path.rglob("results.json"))
    together(RATES, tmp_path)
    assert_same_group(tmp_path, rates)


def test_a_group_with_its_own_batches_resumes_bit_for_bit(tmp_path, monkeypatch):
    together(SEEDS, tmp_path / "whole")
    with interrupted(monkeypatch, at_step=6):
        together(SEEDS, tmp_path / "stopped")
    together(SEEDS, tmp_path / "stopped")
    assert_same_group(tmp_path / "stopped", tmp_path / "whole", SEEDS)


def cut_at(monkeypatch, parent, step):
    with interrupted(monkeypatch, at_step=step, cut=True):
        together(RATES, parent)


def test_a_group_resumes_at_the_newest_step_that_all_have(rates, tmp_path, monkeypatch, capsys):
    """A power cut came between two saves of step 8, and damaged one of step 4 as well."""
    cut_at(monkeypatch, tmp_path, 10)
    assert [checkpoint.steps(tmp_path / f"{n}" / "checkpoints")[-2:] for n in range(2)] == [[4, 8], [4, 8]]
    shutil.rmtree(tmp_path / "1" / "checkpoints" / "8")
    with interrupted(monkeypatch, at_step=4, cut=True):
        train_members(RATES, folders(tmp_path, RATES))
    assert "2 runs train as one program, from step 4\n" in capsys.readouterr().out
    assert [checkpoint.steps(tmp_path / f"{n}" / "checkpoints") for n in range(2)] == [[4], [4]]
    assert {json.loads(row)["step"] for row in rows(tmp_path / "0")} == {3, 4}
    for path in (tmp_path / "0" / "checkpoints" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    train_members(RATES, folders(tmp_path, RATES))
    said = capsys.readouterr().out
    assert f"{tmp_path}/0: checkpoint 4 is damaged" in said and "2 runs train as one program, from step 0\n" in said
    assert_same_group(tmp_path, rates)


def test_members_without_a_common_checkpoint_start_from_the_beginning(rates, tmp_path, monkeypatch):
    cut_at(monkeypatch, tmp_path, 10)
    shutil.rmtree(tmp_path / "0" / "checkpoints")
    together(RATES, tmp_path)
    assert_same_group(tmp_path, rates)


def test_a_lone_run_and_a_group_continue_each_other(tmp_path, monkeypatch):
    for number, experiment in enumerate(SEEDS):
        train(experiment, tmp_path / f"lone{number}", verbose=False)
    with interrupted(monkeypatch, at_step=5):
        together(SEEDS, tmp_path)
    for number, experiment in enumerate(SEEDS):
        with interrupted(monkeypatch, at_step=8):
            train(experiment, tmp_path / f"{number}", keep="last", verbose=False)
    record = json.loads((tmp_path / "1" / "provenance.json").read_text())
    assert "members" not in record and len(record["earlier"][0]["members"]) == 2
    together(SEEDS, tmp_path)
    for number, experiment in enumerate(SEEDS):
        assert_equal_up_to_rounding(tmp_path / f"{number}", tmp_path / f"lone{number}", experiment)


def test_finished_members_are_not_run_again(rates, tmp_path):
    shutil.copytree(rates / "0", tmp_path / "0")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "0").rglob("*")}
    results = together(RATES, tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "0").rglob("*")}
    assert results[0].test == json.loads((rates / "0" / "results.json").read_text())["test"]
    # The other one has trained alone.
    assert "members" not in json.loads((tmp_path / "1" / "provenance.json").read_text())
    assert_equal_up_to_rounding(tmp_path / "1", rates / "1", RATES[1])
    assert together(RATES, tmp_path) == results


# --- bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": LeNet5()}, r"model.class is .*LeNet5 in experiments\[1\], but .*Chain in experiments\[0\]"),
        ({"epochs": 4}, r"epochs is 4 in experiments\[1\], but 3 in experiments\[0\]"),
        ({"optimizer.weight_decay": 0.0}, r"optimizer.weight_decay is 0.0 in experiments\[1\], but 0.0005 in"),
        ({"optimizer.nesterov": True}, "optimizer.nesterov is True"),
        ({"data.batch_size": 8}, "data.batch_size is 8"),
        ({"eval_every": 2}, "eval_every is 2"),
        ({"optimizer.clip_norm": 1.0}, "optimizer.clip_norm is 1.0"),
    ],
)
def test_different_structures_are_refused(tmp_path, changes, words):
    other = override(override(BASE, {"seed": 1}), changes)
    with pytest.raises(InputError, match=f"^{words}") as caught:
        together([BASE, other], tmp_path)
    assert "may differ in seed, learning_rate" in str(caught.value) and "\n" not in str(caught.value)
    assert structure_key(other) != structure_key(BASE) and list(tmp_path.iterdir()) == []


def test_a_structure_key_does_not_depend_on_numbers():
    changes = {"seed": 7, "optimizer.learning_rate": 1.0, "optimizer.weight_decay": 0.1, "optimizer.momentum": 0.0}
    assert structure_key(override(BASE, changes)) == structure_key(BASE)
    adam = [override(BASE, {"optimizer.algorithm": "adam", "optimizer.clip_norm": c, "optimizer.b1": 0.5 * c})
            for c in (1.0, 0.5)]  # fmt: skip
    assert structure_key(adam[0]) == structure_key(adam[1]) != structure_key(BASE)


@pytest.mark.parametrize(
    ("experiments", "workdirs", "words"),
    [
        ([], [], "experiments is empty"),
        ([BASE, "x"], ["a", "b"], r"experiments\[1\] is str; it must be Experiment"),
        (RATES, ["a"], "there are 2 experiments and 1 workdirs"),
        (RATES, ["a", "./a"], r"workdirs\[0\] and workdirs\[1\] are both .*/a; give each run its own"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(tmp_path, monkeypatch, experiments, workdirs, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{words}"):
        train_members(experiments, workdirs, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_in_use_is_refused(tmp_path):
    with locked(tmp_path / "1"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InUse, match=f"{tmp_path}/1 is in use"):
            together(RATES, tmp_path)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_noticed_for_all_members(tmp_path, monkeypatch):
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(make_plan(BASE).state))
    usage = shutil.disk_usage(tmp_path)._replace(free=2**24 + 4 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"0 and 1 others need \d+ MB, but \d+ MB are free"):
        together(RATES, tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- parts


@pytest.mark.parametrize("seeds", [(4, 4), (4, 5)])
def test_stacked_states_come_apart_as_they_were(seeds):
    states = []
    for number, seed in enumerate(seeds):
        changes = {"seed": seed, "optimizer.learning_rate": 0.1 + number}
        states.append(jax.device_get(make_plan(override(BASE, changes)).initial_state()))
    stacked = stack(states)
    assert stacked.step.shape == () and stacked.key.shape == ((2,) if seeds[0] == seeds[1] else (2, 2))
    assert stacked.params["output"]["kernel"].shape == (2, 8, 4)
    for state, found in zip(states, unstack(jax.device_put(stacked), 2), strict=True):
        assert_same(found, state)
        assert all(leaf.flags.owndata for leaf in jax.tree.leaves(found))


def dense(width):
    return Chain((Flatten(name="f"), Dense(width, name="d"), Dense(10, name="o")))


@pytest.mark.parametrize(
    ("model", "batch_size", "shape", "worth"),
    [
        (LeNet5(), 8, (32, 32, 1), True),
        (LeNet5(), 128, (32, 32, 1), False),
        (dense(100), 60, (28, 28, 1), True),
        (dense(100), 1000, (28, 28, 1), False),
        (load_config(Path(__file__).parents[1] / "tiny.py").model, 8, (8, 8, 1), False),
    ],
)
def test_small_batches_of_small_networks_are_worth_vectorizing_on_a_cpu(model, batch_size, shape, worth):
    data = Data(source="fake", batch_size=batch_size, fake=Fake(shape=shape))
    assert worth_vectorizing([Experiment(model=model, data=data)]) is worth


def test_on_an_accelerator_vectorizing_is_worth_it():
    experiment = Experiment(model=LeNet5(), data=Data(batch_size=512))
    assert worth_vectorizing([experiment], "gpu") and not worth_vectorizing([experiment])
