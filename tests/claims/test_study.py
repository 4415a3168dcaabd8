"""Learning rates are chosen on validation images, and runs are shared and repeated as claims expect."""

import dataclasses
import statistics

import pytest

from jaxcnn import Experiment, InputError, Optimizer, sweep
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.study import TUNING_SEEDS, Study, curve, error
from jaxcnn.config import override
from jaxcnn.layers import trace
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime import compilation_cache


def experiment(study, **changes):
    base = Experiment(
        model=SmallConvNet((2,)),
        data=study.images("mnist", train=40, test=16, batch_size=16),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0),
        epochs=1,
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture
def trained(monkeypatch):
    """A function that replaces training: it sets the validation error by learning rate and seed, None for divergence,
    and returns a list that will hold the calls of sweep.run."""

    def set_errors(error_of):
        calls = []

        def run(experiments, folder, **options):
            calls.append((folder, experiments))
            return [_record(e, error_of(e.optimizer.learning_rate, e.seed)) for e in experiments]

        monkeypatch.setattr(sweep, "run", run)
        return calls

    return set_errors


def _record(point, value):
    if value is None:
        return sweep.Record(point, "", "diverged", reason="loss is nan")
    results = Results({"error": 0.5}, 1, 1.0, "", {"error": value})
    return sweep.Record(point, "", "finished", results)


def rates(call):
    return sorted({e.optimizer.learning_rate for e in call[1]})


def test_the_best_rate_has_the_least_mean_validation_error(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    calls = trained(lambda rate, seed: {0.01: 0.4, 0.1: 0.2, 1.0: 0.3}[rate] + (seed == TUNING_SEEDS[0]) / 10)
    arms = study.tune({"a": experiment(study)}, (0.1, 1, 10))
    assert arms["a"] == override(experiment(study), {"optimizer.learning_rate": 0.1})
    assert study.tunings["a"]["errors"] == pytest.approx([0.45, 0.25, 0.35])
    assert len(calls) == 1 and [e.seed for e in calls[0][1]] == list(TUNING_SEEDS) * 3
    assert all(e.data.validation > 0 and e.data.split_seed == 0 for e in calls[0][1])


def test_the_grid_grows_at_the_end_that_has_the_best_rate_and_only_for_that_arm(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    calls = trained(lambda rate, seed: abs(rate - 0.9) if rate < 2 else None)
    other = experiment(study, optimizer=Optimizer(learning_rate=0.9))
    study.tune({"a": experiment(study), "b": other}, (0.5, 1, 2))
    assert [rates(call) for call in calls] == [[0.05, 0.1, 0.2, 0.45, 0.9, 1.8], [0.4], [0.8], [1.6]]
    assert study.tunings["a"] == {
        "rates": [0.05, 0.1, 0.2, 0.4, 0.8, 1.6],
        "errors": pytest.approx([0.85, 0.8, 0.7, 0.5, 0.1, 0.7]),
        "best": 0.8,
    }


def test_the_grid_grows_downwards_if_every_rate_diverges_and_stops_after_three(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    calls = trained(lambda rate, seed: None)
    study.tune({"a": experiment(study)}, (1, 10))
    assert [rates(call) for call in calls] == [[0.1, 1.0], [0.01], [0.001], [0.0001]]
    assert study.tunings["a"]["errors"] == [None] * 5 and study.tunings["a"]["best"] == 0.0001


def test_another_criterion_than_the_validation_error_may_choose(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    trained(lambda rate, seed: {0.01: 0.4, 0.1: 0.24, 1.0: 0.2}[rate])
    study.tune({"a": experiment(study)}, (0.1, 1, 10), criterion=lambda r: abs(r.results.validation["error"] - 0.25))
    assert study.tunings["a"]["best"] == 0.1 and study.tunings["a"]["errors"] == pytest.approx([0.15, 0.01, 0.05])


def test_a_grid_of_one_rate_does_not_grow(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    calls = trained(lambda rate, seed: 0.5)
    assert study.tune({"a": experiment(study)}, (1,))["a"] == experiment(study) and len(calls) == 1


def test_a_rate_that_diverges_with_one_seed_is_never_the_best(trained, tmp_path):
    study = Study(tmp_path, seeds=5)
    trained(lambda rate, seed: {0.01: 0.8, 0.1: 0.7, 1.0: None if seed == TUNING_SEEDS[1] else 0.0}[rate])
    assert study.tune({"a": experiment(study)}, (0.1, 1, 10))["a"].optimizer.learning_rate == 0.1


def test_the_best_arm_has_the_least_error_at_any_of_its_rates(tmp_path):
    study = Study(tmp_path, seeds=2)
    study.tunings = {"a": {"errors": [0.3, 0.5]}, "b": {"errors": [None, 0.2]}, "c": {"errors": [0.2, 0.9]}}
    study.tunings["d"] = {"errors": [None, None]}
    assert study.best(["a", "d", "b", "c"]) == "b" and study.best(["d", "a"]) == "a" and study.best(["d"]) == "d"


def test_equal_arms_are_trained_once(trained, tmp_path):
    study = Study(tmp_path, seeds=3)
    calls = trained(lambda rate, seed: 0.1)
    records = study.repeat({"a": experiment(study), "b": experiment(study, epochs=2), "c": experiment(study)})
    assert [(e.epochs, e.seed) for e in calls[0][1]] == [(n, seed) for n in (1, 2) for seed in range(3)]
    assert records["a"] == records["c"] and [r.experiment.epochs for r in records["b"]] == [2] * 3


def test_a_failed_run_is_an_error_and_a_diverged_one_guesses(trained, tmp_path, monkeypatch):
    study = Study(tmp_path, seeds=2)
    trained(lambda rate, seed: None if seed else 0.25)
    found = study.repeat({"a": experiment(study)})["a"]
    assert [error(r) for r in found] == [50.0, 90.0] and error(found[0], "validation") == 25.0
    failed = sweep.Record(experiment(study), "", "failed", reason="no space left")
    monkeypatch.setattr(sweep, "run", lambda experiments, *_, **__: [failed, found[0]])
    with pytest.raises(InputError, match=r"1 of 2 runs in .* have failed, the first with: no space left"):
        study.repeat({"a": experiment(study)})


def test_the_small_network_has_its_layers_in_order():
    rows = trace(SmallConvNet((4, 8), norm="batch", hidden=6, dropout=0.5).layers(), (8, 8, 3))
    assert [row.path for row in rows] == [
        *("conv1", "norm1", "act1", "pool1", "conv2", "norm2", "act2", "pool2"),
        *("flatten", "hidden", "hidden_act", "dropout", "output"),
    ]
    parameters = (27 * 4 + 4) + 8 + (36 * 8 + 8) + 16 + (32 * 6 + 6) + (6 * 10 + 10)
    assert sum(row.info.parameters for row in rows) == parameters


@pytest.mark.slow
def test_a_grid_grows_in_the_folder_of_its_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "enable", lambda warn: None)
    start = experiment(Study(tmp_path, seeds=2, scale="tiny"), optimizer=Optimizer(learning_rate=1e-6))
    study = Study(tmp_path, seeds=2)
    arms = study.tune({"a": start, "b": override(start, {"model.norm": "batch"})}, (1, 10))
    assert set(arms) == {"a", "b"} and all(len(t["rates"]) >= 3 for t in study.tunings.values())
    assert len([*(tmp_path / "tuning").glob("*/results.json")]) == 2 * sum(
        len(t["rates"]) for t in study.tunings.values()
    )


@pytest.mark.slow
def test_runs_are_resumed_and_curves_read_from_their_folders(tmp_path):
    study = Study(tmp_path, seeds=2, scale="tiny")
    (records,) = study.repeat({"a": experiment(study, epochs=2, log_every=1)}).values()
    assert [row["step"] for row in curve(records[0], "train")] == [1, 2, 3, 4]
    assert [row["step"] for row in curve(records[0], "validation")] == [2, 4]
    assert study.repeat({"a": experiment(study, epochs=2, log_every=1)})["a"] == records
    assert statistics.mean(error(r) for r in records) <= 100
