"""Selection of a checkpoint of a run: the last, the best or that of a step."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jaxcnn
from jaxcnn.__main__ import main
from jaxcnn.config import load_config, override, to_json
from jaxcnn.runs import checkpoint
from jaxcnn.runs.selection import select
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import create_state
from jaxcnn.weights.run import export

TINY = load_config(Path(__file__).parents[1] / "tiny.py")


def weights(step):
    """Return variables whose parameters all equal the step."""
    shapes = jax.eval_shape(lambda: TINY.model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)), train=False))
    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    return ones | {"params": jax.tree.map(lambda x: step * x, ones["params"])}


def save(folder, steps, accuracies):
    with checkpoint.Checkpoints(folder / "checkpoints") as checkpoints:
        for step in steps:
            state = create_state(weights(step), optax.identity()).replace(step=np.int32(step))
            checkpoints.save(state, loop_state={}, accuracies=accuracies)


def row(step, split, accuracy):
    return json.dumps({"step": step, "epoch": 1, "split": split, "accuracy": accuracy, "loss": 1.0, "time": {}}) + "\n"


def make_run(folder, experiment, accuracies):
    """Write a run with checkpoints of steps 4 (the best), 12 and 16."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_json(experiment)))
    save(folder, [4, 8, 12, 16], accuracies)
    part = "validation" if experiment.data.validation else "test"
    (folder / "metrics.jsonl").write_text("".join(row(step, part, a) for step, a in accuracies.items()))
    assert checkpoint.steps(folder / "checkpoints") == [4, 12, 16]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Write one run without a validation split, and one with it."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "test", TINY, {4: 0.9, 8: 0.5, 12: 0.6, 16: 0.7})
    make_run(folder / "validation", override(TINY, {"data.validation": 0.3}), {4: 0.9, 8: 0.5, 12: 0.9 - 1e-9, 16: 0.7})
    return folder


def value(variables):
    (found,) = {float(x) for leaf in jax.tree.leaves(variables["params"]) for x in np.unique(leaf)}
    return found


@pytest.mark.parametrize(("choice", "step"), [("last", 16), ("best", 4), (12, 12), (4, 4)])
def test_every_use_of_a_run_reads_the_chosen_checkpoint(runs, tmp_path, choice, step, capsys):
    run = runs / "validation"
    assert value(jaxcnn.restore(run, checkpoint=choice)[1]) == step
    assert select(run, choice).step == step
    (found,) = jaxcnn.evaluate_run(run, checkpoint=choice)
    assert (found.checkpoint, found.selected_by) == (step, "validation" if choice == "best" else None)
    file = export(run, "jaxcnn", checkpoint=choice)[0]
    assert {float(x) for name, array in file.arrays.items() if "params" in name for x in array.flat} == {step}
    assert main(["convert", str(run), f"--output={tmp_path}/a.npz", f"--checkpoint={choice}"]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert {float(x) for name in arrays for x in arrays[name].flat if "params" in name} == {step}
    assert main(["evaluate", str(run), f"--checkpoint={choice}", f"--output={tmp_path}/a.json"]) == 0
    assert json.loads((tmp_path / "a.json").read_text())[0]["checkpoint"] == step
    assert "biased" not in capsys.readouterr().out


def test_the_best_by_the_test_split_is_reported_as_biased(runs, tmp_path, capsys):
    assert main(["evaluate", str(runs / "test"), "--checkpoint=best"]) == 0
    line = "step 4, the best by test accuracy, so its test error is biased low: the run has no validation split"
    assert capsys.readouterr().out.endswith(f"checkpoint: {line}\n")
    jaxcnn.train(
        override(TINY, {"seed": 1, "epochs": 1}), tmp_path / "a", init_from=runs / "test", init_from_checkpoint="best"
    )
    assert f"({line}): all weights are used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (8, "has no checkpoint of step 8; available steps: 4, 12, 16"),
        ("bst", "checkpoint is 'bst'; it must be last, best or the step of a checkpoint"),
        (True, "checkpoint is True; it must be"),
    ],
)
def test_a_missing_checkpoint_is_reported(runs, choice, words):
    with pytest.raises(InputError, match=words):
        jaxcnn.restore(runs / "test", checkpoint=choice)


def test_a_run_that_was_never_evaluated_has_no_best_checkpoint(runs, tmp_path):
    run = Path(shutil.copytree(runs / "test", tmp_path / "run"))
    (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="has no evaluated checkpoint; available steps: 4, 12, 16"):
        jaxcnn.restore(run, checkpoint="best")


def test_among_equal_accuracies_the_newest_is_the_best_and_nan_never_is():
    assert checkpoint.best({4: 0.5, 8: 0.9, 12: 0.9, 16: 0.1, 20: float("nan")}, [4, 8, 12, 16, 20]) == 12
    assert checkpoint.best({4: 0.5, 8: 0.9}, [4, 16]) == 4
    assert checkpoint.best({4: float("nan")}, [4, 8]) is None


def test_a_damaged_best_checkpoint_is_not_replaced_by_another(runs, tmp_path):
    run = Path(shutil.copytree(runs / "test", tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "4" / "variables")
    with pytest.raises(InputError, match=r"checkpoints/4 is damaged; give one of the other steps: 12, 16"):
        jaxcnn.restore(run, checkpoint="best")


@pytest.mark.parametrize("choice", ["last", "best"])
def test_a_damaged_config_is_named(runs, tmp_path, choice):
    run = Path(shutil.copytree(runs / "test", tmp_path / "run"))
    (run / "config.json").write_text("{")
    for use in (jaxcnn.restore, select):
        if (use, choice) != (select, "last"):
            with pytest.raises(InputError, match=r"run/config\.json is damaged"):
                use(run, checkpoint=choice)


def test_weights_of_an_older_checkpoint_are_said_to_be(runs, tmp_path, capsys):
    run = Path(shutil.copytree(runs / "test", tmp_path / "run"))
    for step in (12, 16):
        shutil.rmtree(run / "checkpoints" / str(step) / "variables")
    line = "step 4; newer checkpoints are damaged: 16, 12"
    with pytest.warns(UserWarning, match=line):
        assert value(jaxcnn.restore(run)[1]) == 4
    with pytest.warns(UserWarning, match=line):
        jaxcnn.evaluate_run(run)
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().err.endswith(f"run: the weights are those of {line}\n")
    jaxcnn.train(override(TINY, {"epochs": 1}), tmp_path / "a", init_from=run)
    assert f"({line}): all weights are used" in capsys.readouterr().out


@pytest.mark.parametrize(("choice", "step"), [("best", 20), ("last", 20), (4, None)])
def test_the_selection_is_repeated_if_training_removes_the_checkpoint_being_read(
    runs, tmp_path, monkeypatch, choice, step
):
    run, removed = Path(shutil.copytree(runs / "test", tmp_path / "run")), 16 if choice == "last" else 4

    def read(step_folder, *args, original=checkpoint.read_item):
        if step_folder.name == str(removed):
            with (run / "metrics.jsonl").open("a") as file:
                file.write(row(20, "test", 0.95))
            save(run, [20], {20: 0.95})
            shutil.rmtree(step_folder, ignore_errors=True)
        return original(step_folder, *args)

    monkeypatch.setattr(checkpoint, "read_item", read)
    if step is None:
        with pytest.raises(InputError, match="has no checkpoint of step 4; available steps: "):
            jaxcnn.restore(run, checkpoint=choice)
    else:
        (found,) = jaxcnn.evaluate_run(run, checkpoint=choice)
        assert found.checkpoint == step


def test_the_choice_is_part_of_the_source_of_a_run(runs, tmp_path):
    experiment = override(TINY, {"seed": 1, "epochs": 1})

    def train(**options):
        return jaxcnn.train(experiment, tmp_path / "run", verbose=False, **options)

    first = train(init_from=runs / "test", init_from_checkpoint="best")
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["init_from_checkpoint"] == "best"
    assert train(init_from=runs / "test", init_from_checkpoint=4) == first  # The same weights.
    with pytest.raises(InputError, match=r"started with init_from .*/test, checkpoint best, not last"):
        train(init_from=runs / "test")
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(InputError, match=r"started with init_from .*/test, checkpoint best, not last"):
        train(init_from=runs / "test")
    with pytest.raises(InputError, match="init_from_checkpoint is 'best', but init_from names no run"):
        train(init_from_checkpoint="best")
