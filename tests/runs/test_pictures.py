import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxcnn
from jaxcnn import InputError, override, plots, train
from jaxcnn.data import load, make_preprocess
from jaxcnn.runs.pictures import draw_pictures
from jaxcnn.runs.workdir import load_saved
from tests.tiny import get_config

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"
STOPPED = FINISHED.with_name("stopped_run")
NAMES = ["learning_curves.png", "confusion_matrix.png", "confident_errors.png", "first_layer_filters.png"]


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FINISHED, tmp_path / "run"))


def drawn(run, **options):
    """Return the bytes of the pictures, by name, and the reported lines."""
    lines = []
    paths = draw_pictures(run, report=lines.append, **options)
    assert {*paths} == {*run.glob("*.png")}
    return {path.name: path.read_bytes() for path in paths}, lines


@pytest.mark.slow
def test_the_pictures_of_a_light_run_are_those_of_a_run_that_keeps_all(tmp_path):
    experiment = override(get_config(), {"epochs": 1})
    train(experiment, tmp_path / "whole", verbose=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "light", ignore=shutil.ignore_patterns("*.png"))
    pictures, lines = drawn(tmp_path / "light")
    assert [*pictures] == NAMES and lines == []
    assert pictures == {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}


def test_the_pictures_show_the_answers_of_the_network(run, monkeypatch):
    calls = {}
    for name in ("confusion_matrix", "confident_errors", "first_layer_filters"):
        monkeypatch.setattr(plots, name, lambda *values, name=name, **options: calls.update({name: (values, options)}))
    draw_pictures(run)
    experiment, (model, variables) = load_saved(run), jaxcnn.restore(run)
    test = load(experiment.data, experiment.seed).test
    logits = np.asarray(model.apply(variables, make_preprocess(experiment.data)(test.images), train=False), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    (labels, predictions, names, _), _ = calls["confusion_matrix"]
    np.testing.assert_array_equal(labels, test.labels)
    np.testing.assert_array_equal(predictions, logits.argmax(axis=1))
    assert len(names) == 10
    np.testing.assert_allclose(calls["confident_errors"][0][2], probabilities, rtol=1e-5)
    (kernel, _), options = calls["first_layer_filters"]
    np.testing.assert_array_equal(kernel, variables["params"]["conv1"]["kernel"])
    assert options == {"channel_order": "rgb"}


@pytest.mark.slow
def test_another_checkpoint_has_the_same_curves_and_other_filters(run):
    last, _ = drawn(run)
    earlier, lines = drawn(run, checkpoint=24)
    assert [name for name in NAMES if last[name] == earlier[name]] == ["learning_curves.png"]
    # The validation accuracy of step 24 is the highest.
    assert drawn(run, checkpoint="best")[0] == earlier and lines == []


def test_without_a_checkpoint_only_the_curves_are_drawn(run):
    shutil.rmtree(run / "checkpoints")
    pictures, lines = drawn(run)
    assert [*pictures] == NAMES[:1] and lines == [f"{run} has no checkpoint; only its learning curves are drawn"]
    with pytest.warns(UserWarning, match="only its learning curves"):
        draw_pictures(run)
    with pytest.raises(InputError, match="has no checkpoint of step 24; available steps: none"):
        draw_pictures(run, checkpoint=24)


def test_a_run_that_is_not_finished_is_drawn_at_its_newest_checkpoint(tmp_path):
    run = Path(shutil.copytree(STOPPED, tmp_path / "run"))
    pictures, lines = drawn(run)
    assert [*pictures] == NAMES and lines == [f"{run} is not finished; its pictures are those of step 16"]


def test_a_damaged_checkpoint_is_reported(run):
    for path in (run / "checkpoints" / "32" / "variables").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    _, lines = drawn(run)
    assert lines == [f"{run}: the weights are those of step 24; newer checkpoints are damaged: 32"]


def test_arrays_in_memory_are_given_again(run):
    tree = json.loads((run / "config.json").read_text())
    tree["data"] |= {"source": "arrays", "validation": 0.0}
    (run / "config.json").write_text(json.dumps(tree))
    rng = np.random.default_rng(0)
    arrays = {"test_images": rng.integers(0, 256, (20, 8, 8, 1), np.uint8), "test_labels": np.arange(20) % 10}
    pictures, _ = drawn(run, arrays=arrays)
    assert [*pictures] == NAMES


def test_what_cannot_be_drawn_is_one_message_and_draws_nothing(run, tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        draw_pictures(tmp_path)
    with pytest.raises(InputError, match="has no checkpoint of step 5; available steps: 24, 32"):
        draw_pictures(run, checkpoint=5)
    tree = json.loads((run / "config.json").read_text())
    tree["data"] |= {"source": "tfds", "name": "mnist", "data_dir": str(tmp_path)}
    (run / "config.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match="mnist"):
        draw_pictures(run)
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="has no metrics yet"):
        draw_pictures(run)
    assert not list(run.glob("*.png"))
