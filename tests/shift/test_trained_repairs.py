"""Repairs that train: they start from the run, see no target label, and continue after a stop."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.runs.workdir import load_saved
from jaxcnn.shift import load_network, read, report, trained_repairs
from jaxcnn.shift.populations import read_populations
from jaxcnn.shift.report_page import report_files
from jaxcnn.shift.trained_repairs import TRAINED, train_repairs

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"
TARGET = "corruption:contrast:3"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shutil.copytree(FINISHED, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(autouse=True)
def _few_seeds(monkeypatch):
    monkeypatch.setattr(trained_repairs, "SEEDS", (0, 1))


def target_outputs(run):
    target = read_populations(load_saved(run), TARGET).target
    return read(load_network(run), target.images, target.labels)


def test_a_repair_starts_from_the_run_and_predicts_with_every_seed(run, tmp_path):
    experiment, outputs = load_saved(run), target_outputs(run)
    said = []
    (found,) = train_repairs(run, experiment, TARGET, outputs, tmp_path, names=["deep_coral"], progress=said.append)
    assert said == ["deep_coral, seed 0", "deep_coral, seed 1"] and found.refused is None
    for seed, predicted in zip((0, 1), (found.log_probabilities, *found.repeats), strict=True):
        folder = tmp_path / f"deep_coral_{seed}"
        saved = load_saved(folder)
        assert (saved.data.target, saved.seed) == (TARGET, seed)
        assert saved.epochs == max(1, experiment.epochs // 4) and saved.objective.weight == 100
        assert json.loads((folder / "provenance.json").read_text())["init_from"]
        np.testing.assert_allclose(predicted, read(load_network(folder), outputs.images).log_probabilities, atol=1e-5)
    assert not np.allclose(found.log_probabilities, found.repeats[0])
    assert not np.allclose(found.log_probabilities, outputs.log_probabilities)
    # A second call reads the finished runs.
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("results.json"))]
    (again,) = train_repairs(run, experiment, TARGET, outputs, tmp_path, names=["deep_coral"])
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("results.json"))] == times
    np.testing.assert_array_equal(again.log_probabilities, found.log_probabilities)


def test_a_repair_that_cannot_be_trained_is_refused_with_the_reason(run, tmp_path):
    experiment, outputs = load_saved(run), target_outputs(run)
    (found,) = train_repairs(run, experiment, "missing.npy", outputs, tmp_path, names=["self_training"])
    assert found.log_probabilities is None and "does not exist" in found.refused


@pytest.mark.slow
def test_the_report_has_trained_repairs_when_asked(run, tmp_path):
    found = report(run, TARGET, trained=tmp_path / "repairs", repairs=["last_layer"])
    assert [each.name for each in found.repairs] == ["last_layer", *TRAINED]
    assert {*TRAINED} <= {*found.scores}
    report_files(found, title="a", command="b")["report.html"](tmp_path / "a.html")
    assert "with 2 seeds" in (tmp_path / "a.html").read_text()
