"""A run is identified by its settings, code and data, wherever their files are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.__main__ import main
from jaxcnn.config import load_config, override, run_id
from jaxcnn.runs.launch import train
from jaxcnn.runs.run_evaluation import evaluate_run
from jaxcnn.runs.workdir import check_workdir, load_saved, restore
from jaxcnn.runtime.errors import InputError

CONFIG = '''
"""A config file with its network in a file beside it."""
from jaxcnn import Data, Experiment, Fake
from {module} import Net

def get_config():
    data = Data(source="fake", fake=Fake(shape=(4, 4, 1), num_classes=3, train=16, test=8), batch_size=8)
    return Experiment(model=Net(), data=data, epochs=1)
'''
NETWORK = """
from flax import linen as nn

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.relu(nn.Dense(3)(x.mean((1, 2))))
"""


@pytest.fixture
def project(tmp_path):
    """Return a folder with a config file, the file that defines its network, and a finished run."""
    project = tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    (project / "configs" / "my_model.py").write_text(NETWORK)
    (project / "configs" / "mine.py").write_text(CONFIG.format(module="my_model"))
    launch(project)
    return project


@pytest.fixture
def alone(tmp_path):
    """Return the same, with a network that the config file itself defines."""
    project = tmp_path / "alone"
    (project / "configs").mkdir(parents=True)
    (project / "configs" / "mine.py").write_text(CONFIG.replace("from {module} import Net", NETWORK))
    launch(project)
    return project


def launch(project, **options):
    file = project / "configs" / "mine.py"
    return train(load_config(file), project / "run", config_file=file, verbose=False, **options)


def change(path):
    path.write_text(path.read_text().replace("nn.relu(nn.Dense", "nn.relu(2 * nn.Dense"))


def provenance(run):
    return json.loads((run / "provenance.json").read_text())


# --- code


@pytest.mark.parametrize("done", [True, False])
def test_changed_code_is_refused_unless_it_is_accepted(project, done):
    network, run = project / "configs" / "my_model.py", project / "run"
    if not done:
        (run / "results.json").unlink()
    network.write_text(NETWORK.replace("class", "# a comment\nclass"))
    launch(project)
    before = provenance(run)["code"]
    if not done:
        (run / "results.json").unlink()
    change(network)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as error:
        launch(project)
    assert f"{run} was trained with other code: Net ({network}) has changed." in str(error.value)
    assert "accept_changed_code" in str(error.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    assert launch(project, accept_changed_code=True).steps == 2
    assert (provenance(run)["code"] == before) is done  # A finished run is only read.


def test_a_run_without_a_record_of_its_code_is_accepted(project):
    record = provenance(project / "run")
    del record["code"]
    (project / "run" / "provenance.json").write_text(json.dumps(record))
    change(project / "configs" / "my_model.py")
    assert launch(project).steps == 2


def test_another_network_of_the_same_name_is_refused_without_a_record_too(project, tmp_path):
    record = provenance(project / "run")
    del record["code"]
    (project / "run" / "provenance.json").write_text(json.dumps(record))
    other = Path(shutil.copytree(project / "configs", tmp_path / "other"))
    change(other / "my_model.py")
    with pytest.raises(InputError, match=r"Net \(.*other/my_model.py\) has changed"):
        train(load_config(other / "mine.py"), project / "run", verbose=False)


def test_weights_of_changed_code_are_used_with_a_warning(project, capsys):
    change(project / "configs" / "my_model.py")
    with pytest.warns(UserWarning, match=r"run was trained with other code: Net \(.*/my_model.py\) has changed"):
        restore(project / "run")
    with pytest.warns(UserWarning, match=r"run was trained with other code: Net \(.*/my_model.py\) has changed"):
        evaluate_run(project / "run")
    assert main(["evaluate", str(project / "run")]) == 0
    assert "was trained with other code: Net" in capsys.readouterr().err


def test_a_network_of_the_config_file_is_restored_from_the_runs_own_copy(alone):
    before = evaluate_run(alone / "run")[0]
    change(alone / "configs" / "mine.py")
    assert evaluate_run(alone / "run")[0].nll == before.nll
    (alone / "configs" / "mine.py").unlink()
    assert evaluate_run(alone / "run")[0].nll == before.nll
    with pytest.raises(InputError, match="has changed"):
        (alone / "configs" / "mine.py").write_text(CONFIG.replace("from {module} import Net", NETWORK))
        change(alone / "configs" / "mine.py")
        launch(alone)


# --- places


def test_a_project_may_move(project, tmp_path):
    experiment, before = load_saved(project / "run"), evaluate_run(project / "run")[0]
    moved = Path(shutil.move(project, tmp_path / "elsewhere" / "project"))
    again = load_saved(moved / "run")
    assert run_id(again) == run_id(experiment) == provenance(moved / "run")["run_id"]
    assert type(again.model).__module__ != type(experiment.model).__module__
    assert evaluate_run(moved / "run")[0].nll == before.nll
    assert launch(moved).steps == 2
    assert "project" not in (moved / "run" / "config.json").read_text()


@pytest.mark.parametrize("kind", ["project", "alone"])
def test_a_run_may_move_alone(kind, request, tmp_path):
    project = request.getfixturevalue(kind)
    run = Path(shutil.move(project / "run", tmp_path / "a" / "deeper" / "run"))
    (restored, _), expected = restore(run), load_config(project / "configs" / "mine.py").model
    assert type(restored).__module__ == type(expected).__module__  # The file is at its original place.
    shutil.rmtree(project)
    if kind == "alone":
        restore(run)
    else:
        with pytest.raises(InputError, match=r"my_model.py:Net is named in a saved configuration but cannot be"):
            restore(run)


def test_a_saved_absolute_path_still_loads(project):
    path = project / "run" / "config.json"
    saved = json.loads(path.read_text())
    saved["model"]["class"] = f"{project}/configs/my_model.py:Net"
    path.write_text(json.dumps(saved))
    assert launch(project).steps == 2


# --- data


@pytest.fixture
def arrays(tmp_path, project):
    """Return an experiment on an .npz file, of which there is a finished run."""
    random = np.random.default_rng(0)
    values = {
        f"{part}_{name}": value
        for part in ("train", "test")
        for name, value in (
            ("images", random.integers(0, 256, (16, 4, 4, 1), np.uint8)),
            ("labels", np.arange(16) % 3),
        )
    }
    np.savez(tmp_path / "data.npz", **values)
    changes = {"data.source": "arrays", "data.name": str(tmp_path / "data.npz")}
    experiment = override(load_config(project / "configs" / "mine.py"), changes)
    train(experiment, tmp_path / "run", verbose=False)
    return experiment


def test_a_file_of_images_may_move(arrays, tmp_path):
    (tmp_path / "data.npz").rename(tmp_path / "moved.npz")
    moved = override(arrays, {"data.name": str(tmp_path / "moved.npz")})
    assert run_id(moved) == provenance(tmp_path / "run")["run_id"]
    assert train(moved, tmp_path / "run", verbose=False).steps == 2


def test_a_file_of_other_images_is_refused(arrays, tmp_path):
    with np.load(tmp_path / "data.npz") as file:
        values = dict(file)
    np.savez(tmp_path / "data.npz", **values | {"test_labels": 2 - values["test_labels"]})
    with pytest.raises(InputError, match=r"data.name: .*data.npz differs from the file that was trained on"):
        train(arrays, tmp_path / "run", verbose=False)
    assert run_id(arrays) != provenance(tmp_path / "run")["run_id"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """A shell does not expand it in --workdir=~/runs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_workdir("~/runs/a") == tmp_path / "runs" / "a"
    assert check_workdir("runs/~a") == Path.cwd() / "runs" / "~a"
