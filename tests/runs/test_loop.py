"""A run that is stopped, killed, damaged or moved ends like one that was not, and an error is one line."""

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import data
from jaxcnn.config import from_json, load_config, override
from jaxcnn.objectives import Classification
from jaxcnn.runs import checkpoint
from jaxcnn.runs.checkpoint import SaveError
from jaxcnn.runs.launch import train
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import locked
from jaxcnn.training.non_finite import NonFinite
from tests.runs.launches import STEPS, TINY, assert_same, assert_same_run, interrupted, newest, rows

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the workdir of an undisturbed run."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    train(TINY, workdir, verbose=False)
    return workdir


@pytest.fixture
def unfinished(whole, tmp_path):
    """Return a copy of that workdir as if the run had been stopped before its final evaluation."""
    workdir = Path(shutil.copytree(whole, tmp_path / "unfinished"))
    (workdir / "results.json").unlink()
    return workdir


def test_a_finished_run_has_all_its_files(whole):
    results = json.loads((whole / "results.json").read_text())
    assert results.keys() == {"test", "steps", "seconds", "seed", "run_id"}
    assert results["test"].keys() == {"accuracy", "error", "loss", "n"}
    assert results["steps"] == STEPS and results["test"]["n"] == 40 and results["seconds"] > 0
    assert results["test"]["accuracy"] == pytest.approx(1 - results["test"]["error"])
    # Loaded again: other tests load the file too, and each load creates classes, the last of which are found.
    expected = load_config(Path(__file__).parents[1] / "tiny.py")
    assert from_json(json.loads((whole / "config.json").read_text()), folder=whole) == expected
    assert json.loads((whole / "provenance.json").read_text())["seed"] == TINY.seed
    assert list((whole / "tensorboard").iterdir())
    pictures = {path.stem for path in whole.glob("*.png")}
    assert pictures == {"learning_curves", "confusion_matrix", "confident_errors", "first_layer_filters"}
    assert not list(whole.glob(".*"))


def test_a_run_has_all_its_rows(whole):
    found = [json.loads(row) for row in rows(whole)]
    logged = [row["step"] for row in found if row["split"] == "train"]
    evaluated = [row["step"] for row in found if row["split"] == "test"]
    assert logged == list(range(3, STEPS + 1, 3)) and evaluated == list(range(4, STEPS + 1, 4))
    assert [row["step"] for row in found] == sorted(logged + evaluated)
    assert all(row["epoch"] == row["step"] / 4 for row in found)
    assert found[-1]["accuracy"] == json.loads((whole / "results.json").read_text())["test"]["accuracy"]


@pytest.mark.parametrize(("keep", "left"), [("last", [str(STEPS)]), ("results", None)])
def test_a_light_run_keeps_what_was_asked_for_and_passes_its_rows_on(whole, tmp_path, capsys, keep, left):
    passed = []
    results = train(TINY, tmp_path / "run", keep=keep, on_row=passed.append)
    folder = tmp_path / "run"
    assert [json.dumps({k: v for k, v in row.items() if k != "time"}) for row in passed] == rows(folder) == rows(whole)
    files = {"config.json", "provenance.json", "metrics.jsonl", "results.json"}
    assert {path.name for path in folder.iterdir()} == files | ({"checkpoints"} if left else set())
    assert left is None or [path.name for path in (folder / "checkpoints").iterdir()] == left
    assert "png" not in (out := capsys.readouterr().out) and ("checkpoints/: the last\n" in out) == bool(left)
    assert train(TINY, folder, keep=keep, verbose=False) == results


def test_an_unknown_value_of_keep_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"keep is 'result'; it must be one of .*results. Did you mean 'results'"):
        train(TINY, tmp_path, keep="result")


@pytest.mark.parametrize("stop", [None, 22])
def test_the_last_row_averages_its_steps_and_those_of_the_previous_row(tmp_path, monkeypatch, stop):
    """The same holds for a run that was stopped after the previous row."""
    every = {n: override(TINY, {"log_every": n, "eval_every": 6}) for n in (1, 10)}
    for n, experiment in every.items():
        if n == 10 and stop is not None:
            with interrupted(monkeypatch, at_step=stop):
                train(experiment, tmp_path / f"{n}", verbose=False)
        train(experiment, tmp_path / f"{n}", verbose=False)
    single, shown = (
        {row["step"]: row for row in map(json.loads, rows(tmp_path / f"{n}")) if row["split"] == "train"} for n in every
    )
    assert list(shown) == [10, 20, STEPS]
    for last, first in ((10, 1), (20, 11), (STEPS, 11)):
        for metric in ("loss", "accuracy"):
            mean = np.mean([single[step][metric] for step in range(first, last + 1)])
            assert shown[last][metric] == pytest.approx(mean, rel=1e-6), (last, metric)
    assert shown[STEPS]["learning_rate"] == single[STEPS]["learning_rate"]


def test_a_run_draws_its_filters_in_the_order_of_its_channels(tmp_path, monkeypatch):
    orders = []
    monkeypatch.setattr("jaxcnn.plots.first_layer_filters", lambda *_, channel_order: orders.append(channel_order))
    experiment = override(TINY, {"data.fake.shape": (8, 8, 3), "data.channel_order": "bgr", "epochs": 1})
    train(experiment, tmp_path / "run", verbose=False)
    assert orders == ["bgr"]


def test_training_learns(whole):
    assert json.loads((whole / "results.json").read_text())["test"]["accuracy"] >= 0.9  # chance is 0.25


@dataclasses.dataclass(frozen=True)
class Three(Classification):
    def losses(self, logits, labels):
        return 0 * logits[:, 0] + 3


def test_the_objective_of_the_experiment_is_trained_on_and_reported(tmp_path):
    results = train(override(TINY, {"objective": Three(), "epochs": 1}), tmp_path / "run", verbose=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [results.test["loss"], *(row["loss"] for row in rows)] == [3.0] * 4


def test_restore_gives_the_network_of_the_results(whole):
    model, variables = jaxcnn.restore(whole)
    test = data.load(TINY.data, TINY.seed).test
    images = (test.images / np.float32(255) - 0.4) / 0.3
    logits = model.apply(variables, images.astype(np.float32), train=False)
    accuracy = np.mean(np.argmax(logits, -1) == test.labels)
    assert accuracy == json.loads((whole / "results.json").read_text())["test"]["accuracy"]


def test_a_finished_run_is_not_run_again(whole, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["jaxcnn.runs.launch"], "make_plan", lambda *_: pytest.fail("it was"))
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    results = train(TINY, whole)
    assert dataclasses.asdict(results)["test"] == json.loads((whole / "results.json").read_text())["test"]
    assert "finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def test_a_run_stopped_many_times_ends_like_one_that_was_not_stopped(whole, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    for where in (
        {"at_step": 0},
        {"at_step": 1, "cut": True},
        {"at_step": 5},
        {"at_evaluation": 0},  # of step 8, where a checkpoint is due as well
        {"at_step": 10, "cut": True},  # after the row of that evaluation
        {"at_step": 9},
        {"at_evaluation": 0},  # of step 12, where none is due
        {"at_evaluation": 0, "cut": True},
        {"at_step": 18},
        {"at_evaluation": 1, "cut": True},  # of step 24
    ):
        with interrupted(monkeypatch, **where) as caught:
            train(TINY, workdir)
        if not where.get("cut"):
            step = int(newest(workdir).step)
            assert str(caught.value) == f"stopped at step {step}; the same command continues this run"
        assert not (workdir / "results.json").exists()
    said = capsys.readouterr().out
    resumed = [int(line.split()[3]) for line in said.splitlines() if line.startswith("resuming")]
    assert resumed == [1, 1, 6, 8, 8, 10, 12, 12, 19]
    before, step = checkpoint.steps(workdir / "checkpoints")[-2:]
    for path in (workdir / "checkpoints" / str(step)).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    with interrupted(monkeypatch, at_evaluation=1):  # that of the last step
        train(TINY, workdir)
    train(TINY, workdir)
    assert f"checkpoint {step} is damaged, using {before}" in capsys.readouterr().out
    assert_same_run(workdir, whole)


def test_a_run_on_random_windows_resumes_bit_for_bit(tmp_path, monkeypatch):
    window = {"augment.crop": 6, "augment.crop_pad": 1, "augment.pca_color": 0.5}
    experiment = override(TINY, {"data.fake.shape": (8, 9, 3), "epochs": 2, "checkpoint_every": 1, **window})
    train(experiment, tmp_path / "whole", verbose=False)
    with interrupted(monkeypatch, at_step=6):
        train(experiment, tmp_path / "run", verbose=False)
    train(experiment, tmp_path / "run", verbose=False)
    assert_same(newest(tmp_path / "run", experiment), newest(tmp_path / "whole", experiment))
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    # 4 maps of 3x3: the network is built for the window, in training and in evaluation.
    assert newest(tmp_path / "run", experiment).params["output"]["kernel"].shape == (36, 4)


def test_a_second_ctrl_c_takes_effect_at_once(whole, tmp_path, monkeypatch):
    def train_batches(*args, original=data.train_batches, **kwargs):
        for number, batch in enumerate(original(*args, **kwargs)):
            if number == 9:
                for _ in range(2):
                    signal.raise_signal(signal.SIGINT)
                    ctypes.pythonapi.PyErr_CheckSignals()  # Otherwise two may be merged, or wait for another thread.
                pytest.fail("it did not")
            yield batch

    # Tests that a script starts in the background ignore Ctrl-C.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(data, "train_batches", train_batches)
            train(TINY, tmp_path / "run", verbose=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
    train(TINY, tmp_path / "run", verbose=False)
    assert_same_run(tmp_path / "run", whole)


def test_a_run_moved_from_eight_devices_to_one_and_back(whole, tmp_path, monkeypatch):
    one = jax.devices()[:1]
    with interrupted(monkeypatch, at_step=10):
        train(TINY, tmp_path / "run", verbose=False)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", lambda: one)
        with interrupted(monkeypatch, at_step=18):
            train(TINY, tmp_path / "run", verbose=False)
    train(TINY, tmp_path / "run", verbose=False)
    found, expected = ([json.loads(row) for row in rows(workdir)] for workdir in (tmp_path / "run", whole))
    assert [(r["step"], r["split"]) for r in found] == [(r["step"], r["split"]) for r in expected]
    for a, b in zip(found, expected, strict=True):
        # Sums over a batch are rounded in another order on another number of devices.
        assert a["loss"] == (b["loss"] if b["step"] < 11 else pytest.approx(b["loss"], rel=1e-4))


@pytest.mark.slow
def test_one_and_eight_devices_differ_by_less_than_seeds_do(tmp_path, monkeypatch):
    devices, accuracy = jax.devices(), {}
    for number in (1, 8):
        monkeypatch.setattr(jax, "devices", lambda number=number: devices[:number])
        for seed in range(3):
            experiment = override(TINY, {"seed": seed, "epochs": 3, "data.fake.test": 400})
            results = train(experiment, tmp_path / f"{number}-{seed}", verbose=False)
            accuracy[number, seed] = results.test["accuracy"]
    spread = np.ptp([accuracy[1, seed] for seed in range(3)])
    assert 0 < spread < 0.4
    assert max(abs(accuracy[1, seed] - accuracy[8, seed]) for seed in range(3)) < spread


def test_settings_that_may_change_on_resume_change_no_weight(whole, tmp_path, monkeypatch):
    with interrupted(monkeypatch, at_step=5):
        train(TINY, tmp_path / "run", verbose=False)
    changes = {"log_every": 1, "eval_every": 3, "checkpoint_every": 5, "data.data_dir": "x", "data.eval_batch_size": 8}
    train(override(TINY, changes), tmp_path / "run", verbose=False)
    assert_same(newest(tmp_path / "run"), newest(whole))
    changed = [json.loads(row) for row in rows(tmp_path / "run")]
    assert [r["step"] for r in changed if r["split"] == "train"] == [3, *range(6, STEPS + 1)]
    assert [r["step"] for r in changed if r["split"] == "test"] == [4, 12, 24]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.learning_rate": 0.5}, "optimizer.learning_rate: saved 0.02, now 0.5"),
        ({"model.features": 8}, "model.features: saved 4, now 8"),
        ({"seed": 1}, "seed: saved 0, now 1"),
    ],
)
def test_another_experiment_in_the_workdir_is_refused(whole, changes, message):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    with pytest.raises(InputError, match=message) as caught:
        train(override(TINY, changes), whole, verbose=False)
    assert f"init_from={whole}" in str(caught.value) and "\n" not in str(caught.value)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


@pytest.mark.parametrize("done", [True, False])
def test_more_epochs_are_refused_with_advice(whole, unfinished, done):
    run = whole if done else unfinished
    with pytest.raises(InputError) as caught:
        train(override(TINY, {"epochs": 8, "eval_every": 2}), run, verbose=False)
    assert str(caught.value) == (
        f"{run} holds a run of 6 epochs, not 8; the length of a run is fixed, because its schedule depends on it. "
        f"To train further, give a new workdir with init_from={run}."
    )


def test_a_checkpoint_of_another_network_in_the_workdir_is_refused(whole, tmp_path):
    shutil.copytree(whole / "checkpoints", tmp_path / "run" / "checkpoints")
    with pytest.raises(InputError, match=r"network: batch_stats/norm/mean was float32\[4\] and is now float32\[8\]"):
        train(override(TINY, {"model.features": 8}), tmp_path / "run", verbose=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]


def test_a_resume_on_another_machine_says_that_bits_may_differ(tmp_path, monkeypatch, capsys):
    def resume(step, cores=4, model="A"):
        monkeypatch.setattr("jaxcnn.runtime.provenance._cpu", lambda: {"model": model, "cores": cores})
        with interrupted(monkeypatch, at_step=step):
            train(TINY, tmp_path / "run")
        return [line for line in capsys.readouterr().out.splitlines() if "may differ" in line]

    assert resume(2) == [] and resume(4) == []
    assert resume(6, cores=2) == [
        "the machine has changed (cpu cores 4, now 2): results are equal up to rounding, but bits may differ"
    ]
    assert "cpu model A, now B" in resume(8, cores=2, model="B")[0]
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    assert "devices 8, now 1" in resume(10, cores=2, model="B")[0]


def test_the_text_of_the_config_file_and_the_generator_are_kept(tmp_path):
    file = Path(__file__).parents[1] / "tiny.py"
    train(override(TINY, {"epochs": 1}), tmp_path / "run", config_file=file, verbose=False)
    assert (tmp_path / "run" / "config.py").read_text() == file.read_text()
    with pytest.raises(InputError, match=r"config_file nowhere\.py cannot be read: No such file"):
        train(TINY, tmp_path / "other", config_file="nowhere.py", verbose=False)
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["random"] == {"implementation": "threefry2x32", "partitionable": True}


def test_init_from_uses_only_the_weights(whole, tmp_path, monkeypatch):
    other = override(TINY, {"optimizer.algorithm": "adam", "seed": 3})
    with interrupted(monkeypatch, at_step=0):
        # One step at a negligible learning rate.
        train(override(other, {"optimizer.learning_rate": 1e-30}), tmp_path / "run", init_from=whole, verbose=False)
    state = newest(tmp_path / "run", other)
    _, variables = jaxcnn.restore(whole)
    assert_same(state.params, variables["params"])
    assert int(state.step) == 1 and int(state.opt_state["adam"].count) == 1
    with pytest.raises(InputError, match=f"started with init_from {whole}, not without it"):
        train(override(other, {"optimizer.learning_rate": 1e-30}), tmp_path / "run", verbose=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.features": 8},
            r"another network: batch_stats/norm/mean has shape \(4,\); this network needs \(8,\)",
        ),
        ({"model.hidden": (5,)}, r"another network: params/hidden0/bias is absent; this network needs \(5,\)"),
    ],
)
def test_init_from_another_network_is_refused(whole, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(override(TINY, changes), tmp_path / "run", init_from=whole, verbose=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["nothing", "checkpoints"])
def test_init_from_a_folder_without_a_run_is_refused(whole, tmp_path, source):
    (tmp_path / "checkpoints" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        train(TINY, tmp_path / "run", init_from=tmp_path / source, verbose=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        (0.0, "the loss of step 3 is (nan|inf); the last good checkpoint is step 2 in "),
        (1e9, "a weight is not finite after step 2; the last good checkpoint is step 1 in "),
    ],
)
def test_a_loss_or_a_weight_that_is_not_finite_ends_the_run(tmp_path, decay, message):
    """There is one step per epoch; with the warm-up the first update is 0 and the second is too large."""
    changes = {"data.batch_size": 64, "optimizer.schedule.warmup_epochs": 1, "checkpoint_every": 1, "eval_every": 6}
    changes |= {"optimizer.learning_rate": 1e36, "optimizer.weight_decay": decay}
    with pytest.raises(NonFinite, match=message) as caught:
        train(override(TINY, changes), tmp_path / "run", verbose=False)
    assert str(tmp_path / "run" / "checkpoints") in str(caught.value)
    _, variables = jaxcnn.restore(tmp_path / "run")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))
    assert not (tmp_path / "run" / "results.json").exists()


class Overflowing(nn.Module):
    """A network whose logits are NaN in evaluation after a number of updates."""

    after: int

    @nn.compact
    def __call__(self, x, *, train):
        updates = self.variable("count", "updates", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            updates.value += 1
        logits = nn.Dense(4)(x.reshape(len(x), -1))
        return logits if train else jnp.where(updates.value >= self.after, jnp.nan, logits)


def test_an_evaluation_that_is_not_finite_ends_the_run_and_leaves_strict_json(tmp_path):
    experiment = override(TINY, {"model": Overflowing(8), "checkpoint_every": 1})
    for _ in range(2):  # The second time after a resume.
        with pytest.raises(NonFinite) as caught:
            train(experiment, tmp_path / "run", verbose=False)
        assert str(caught.value).startswith(
            "the evaluation on the test split after step 8 failed: the loss is nan; the logits of 40 of 40 images are "
            f"not finite; the last good checkpoint is step 4 in {tmp_path}/run/checkpoints. Lower optimizer."
        )
        assert "labels outside 0..classes-1" in str(caught.value)
        assert not (tmp_path / "run" / "results.json").exists()
        assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [4]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=pytest.fail)


def test_a_loss_that_is_not_finite_before_any_checkpoint(tmp_path):
    with pytest.raises(NonFinite, match=r"the loss of step [23] is (nan|inf); no checkpoint was saved"):
        train(override(TINY, {"optimizer.learning_rate": 1e36}), tmp_path / "run", verbose=False)


def test_arrays_in_memory_a_validation_split_and_no_output(tmp_path, capfd, monkeypatch):
    made = data.load(TINY.data, 0)
    arrays = {f"{n}_{k}": getattr(getattr(made, n), k) for n in ("train", "test") for k in ("images", "labels")}
    experiment = override(TINY, {"data.source": "arrays", "data.validation": 0.5, "epochs": 2})
    monkeypatch.chdir(tmp_path)
    results = train(experiment, "run", arrays=arrays, verbose=False)
    assert results.workdir == str(tmp_path / "run")
    assert results.test["n"] == 40 and results.validation["n"] == 35 and results.steps == 2 * (35 // 16)
    assert json.loads(Path("run/results.json").read_text())["validation"] == results.validation
    assert [json.loads(row)["split"] for row in rows(tmp_path / "run")] == [
        "validation",
        "train",
        "train",
        "validation",
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [1, 13, 10_000])
def test_results_do_not_depend_on_the_evaluation_batch(whole, unfinished, size):
    results = train(override(TINY, {"data.eval_batch_size": size}), unfinished, verbose=False)
    expected = json.loads((whole / "results.json").read_text())["test"]
    assert results.test == expected | {"loss": pytest.approx(expected["loss"], rel=1e-6)}


def test_a_run_in_a_thread(whole, unfinished):
    """Signals belong to the main thread; a run in another thread does not handle them."""
    thread = threading.Thread(target=train, args=(TINY, unfinished), kwargs={"verbose": False})
    thread.start()
    thread.join()
    assert_same_run(unfinished, whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of orbax's threads
def test_a_failed_save_ends_the_run(tmp_path, monkeypatch):
    from orbax.checkpoint._src.path import async_path

    async def rename(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(async_path, "rename", rename)
    with pytest.raises(SaveError, match="No space left on device"):
        train(TINY, tmp_path / "run", verbose=False)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == []
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of orbax's threads
def test_a_row_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    def write(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxcnn.runs.metrics.Writer.write", write)
    with pytest.raises(SaveError, match=f"{tmp_path}/run can no longer be written: .*No space left on device"):
        train(TINY, tmp_path / "run", verbose=False)


@pytest.mark.parametrize("damage", [lambda text: text[:20], lambda _: "[]"], ids=["cut", "other"])
@pytest.mark.parametrize("name", ["config.json", "results.json", "provenance.json"])
def test_the_message_names_a_damaged_json_file(whole, unfinished, name, damage):
    shutil.copy(whole / name, unfinished)
    (unfinished / name).write_text(damage((whole / name).read_text()))
    with pytest.raises(InputError, match=f"{unfinished}/{name} is damaged .* delete it") as caught:
        train(TINY, unfinished, verbose=False)
    assert "\n" not in str(caught.value)
    (unfinished / name).unlink()
    train(TINY, unfinished, verbose=False)
    assert_same_run(unfinished, whole)


@pytest.mark.filterwarnings("ignore:Error (read|writ)ing persistent compilation cache")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o700)
    me = os.geteuid()
    tmp_path.chmod(0o755)
    if me == 0:
        os.seteuid(65534)  # nobody
    else:
        (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(InputError, match=f"workdir {tmp_path}/locked/run cannot be written: Permission denied"):
            train(TINY, tmp_path / "locked" / "run", verbose=False)
    finally:
        os.seteuid(me)
        (tmp_path / "locked").chmod(0o700)
    assert list((tmp_path / "locked").iterdir()) == []


@pytest.mark.parametrize("workdir", ["gs://bucket/run", "s3:/bucket/run", "", " "])
def test_a_workdir_that_is_not_a_folder(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^workdir is"):
        train(TINY, workdir, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_init_from_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^init_from is empty"):
        train(TINY, tmp_path / "run", init_from="", verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_a_second_launch_in_the_same_folder_changes_nothing(tmp_path):
    with locked(tmp_path / "run"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "):
            train(TINY, tmp_path / "run", verbose=False)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_being_written_can_be_restored(whole):
    with locked(whole):
        jaxcnn.restore(whole)


def test_a_folder_that_holds_runs_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs" / "a")
    with pytest.raises(InputError, match=r"runs holds other runs, for example a\. Give the run another workdir"):
        train(TINY, tmp_path / "runs", verbose=False)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


def test_a_finished_run_is_refused_with_other_initial_weights(whole):
    with pytest.raises(InputError, match=r"was started with init_from None, not /.*/elsewhere"):
        train(TINY, whole, init_from="elsewhere", verbose=False)


def test_the_folder_is_checked_again_after_it_is_locked(whole, tmp_path, monkeypatch):
    """Another experiment runs in the folder after the first check."""
    module = sys.modules["jaxcnn.runs.launch"]

    def plan(*args, original=module.make_plan):
        shutil.copytree(whole, tmp_path / "run", dirs_exist_ok=True)
        return original(*args)

    monkeypatch.setattr(module, "make_plan", plan)
    with pytest.raises(InputError, match="holds another experiment; seed: saved 0, now 1"):
        train(override(TINY, {"seed": 1}), tmp_path / "run", verbose=False)
    assert_same_run(tmp_path / "run", whole)
    assert train(TINY, tmp_path / "other", verbose=False).steps == STEPS


def start_from(source, workdir, experiment=TINY):
    return train(override(experiment, {"seed": 3, "epochs": 1}), workdir, init_from=source, verbose=False)


def test_init_from_is_identified_by_its_weights(whole, tmp_path, monkeypatch):
    """A moved folder with the same weights is the same source; another run in a folder of the same name is not."""
    source = Path(shutil.copytree(whole, tmp_path / "a" / "source"))
    monkeypatch.chdir(tmp_path / "a")
    first = start_from("source", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["init_from"] == str(source)
    source.rename(tmp_path / "moved")
    assert start_from(tmp_path / "moved", tmp_path / "run") == first
    train(override(TINY, {"seed": 5, "epochs": 1}), source, verbose=False)
    with pytest.raises(InputError, match=r"was started with init_from .*/a/source, whose weights have changed"):
        start_from("source", tmp_path / "run")


def test_a_stopped_run_resumes_even_if_its_source_has_changed_or_is_missing(whole, tmp_path):
    """Its weights are in its own checkpoint; its original source stays recorded."""
    source = Path(shutil.copytree(whole, tmp_path / "source"))
    start_from(source, tmp_path / "run")
    digest = json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from_digest"]
    results = (tmp_path / "run" / "results.json").read_text()
    for change in (lambda: shutil.rmtree(source / "checkpoints" / "24"), lambda: shutil.rmtree(source)):
        change()
        (tmp_path / "run" / "results.json").unlink()
        start_from(source, tmp_path / "run")
        assert json.loads((tmp_path / "run" / "results.json").read_text())["test"] == json.loads(results)["test"]
        assert json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from_digest"] == digest


def test_a_finished_run_is_refused_with_other_arrays(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.normal(size=(24, 8, 8)), "train_labels": np.arange(24) % 4,
              "test_images": rng.normal(size=(8, 8, 8)), "test_labels": np.arange(8) % 4}  # fmt: skip
    experiment = override(TINY, {"data": data_of_arrays(TINY), "epochs": 1})
    first = train(experiment, tmp_path / "run", arrays=arrays, verbose=False)
    again = {name: array.copy() for name, array in reversed(arrays.items())}
    assert train(experiment, tmp_path / "run", arrays=again, verbose=False) == first
    again["train_images"][3, 2, 1] += 1
    with pytest.raises(InputError, match="was started with other arrays"):
        train(experiment, tmp_path / "run", arrays=again, verbose=False)


def data_of_arrays(experiment):
    return dataclasses.replace(experiment.data, source="arrays", batch_size=8, validation=0.0)


def test_a_signal_between_two_checks_loses_no_metrics(whole, tmp_path, monkeypatch):
    """The signal arrives after the loop has checked for one and before its next check."""

    class Late:
        checks = 0

        def __get__(self, signals, _):
            self.checks += 1
            return self.checks > 6  # Not at the check of step 5, but at the next one.

        def __set__(self, signals, value):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(Signals, "received", Late(), raising=False)
        with pytest.raises(Preempted):
            train(TINY, tmp_path / "run", verbose=False)
    train(TINY, tmp_path / "run", verbose=False)
    assert_same_run(tmp_path / "run", whole)


def test_pictures_that_cannot_be_drawn_are_reported_in_one_line(tmp_path, monkeypatch, capsys):
    from jaxcnn import plots

    def fail(*_):
        assert (tmp_path / "run" / "results.json").exists()
        raise ValueError("no font\nin many lines")

    monkeypatch.setattr(plots, "learning_curves", fail)
    results = train(override(TINY, {"epochs": 1}), tmp_path / "run")
    assert results.test["n"] > 0
    printed = capsys.readouterr().out
    assert "pictures could not be drawn: ValueError: no font\n" in printed and "many lines" not in printed


def test_images_per_second_count_only_training_even_after_a_resume(tmp_path, monkeypatch):
    """They include neither the time before the first step nor images of the previous launch."""
    module = sys.modules["jaxcnn.runs.loop"]
    monkeypatch.setattr(module, "read_rows", lambda *args, original=read_rows: time.sleep(3) or original(*args))
    with interrupted(monkeypatch, at_step=2):
        train(override(TINY, {"epochs": 2}), tmp_path / "run", verbose=False)
    train(override(TINY, {"epochs": 2}), tmp_path / "run", verbose=False)
    found = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["time"]["images_per_second"] for row in found if row["split"] == "train"}
    # Three steps of 16 images; with the pause before the first step it would be less than 16 per second.
    assert rates.keys() == {3, 6, 8} and min(rates[3], rates[6]) > 32


def test_the_last_evaluation_is_not_done_twice(tmp_path, monkeypatch):
    module, parts = sys.modules["jaxcnn.runs.group"], []

    def evaluate(*args, original=module.evaluate, **kwargs):
        parts.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "evaluate", evaluate)
    train(override(TINY, {"epochs": 2}), tmp_path / "run", verbose=False)
    assert len(parts) == 2


def test_a_resume_needs_no_space_for_existing_checkpoints(unfinished, monkeypatch):
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(make_plan(TINY).state))
    free = SimpleNamespace(free=2**24 + 2 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    train(TINY, unfinished, verbose=False)
    with pytest.raises(InputError, match=r"needs \d+ MB, but \d+ MB are free"):
        train(TINY, unfinished.parent / "another", verbose=False)


@pytest.mark.parametrize("partitionable", [True, False])
def test_no_setting_of_the_generator_changes_a_run(whole, tmp_path, partitionable):
    with jax.threefry_partitionable(partitionable), jax.default_prng_impl("rbg"):
        train(TINY, tmp_path / "run", verbose=False)
    assert_same_run(tmp_path / "run", whole)
