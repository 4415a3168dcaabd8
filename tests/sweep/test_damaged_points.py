"""A damaged file of one point is named, with what to do, and does not stop the other points."""

import json
from pathlib import Path

import pytest

from jaxcnn import InputError, sweep
from jaxcnn.config import to_json
from jaxcnn.runs.workdir import Results
from jaxcnn.sweep import running
from jaxcnn.sweep.points import points_of
from jaxcnn.sweep.work import Outcome
from tests.sweep.folders import BASE, write_point

SEEDS = sweep.grid(BASE, {"seed": [0, 1, 2]})
RESULTS = {"test": {"error": 0.1, "accuracy": 0.9, "loss": 0.5, "n": 10}, "steps": 2, "seconds": 1.0}
DAMAGE = {
    "config.json": ["", '{"model": ', "[]", "{}"],
    "results.json": ["", "3", '{"test": null, "steps": 2, "seconds": 1}', json.dumps(RESULTS).replace("0.5", "NaN")],
    "provenance.json": ["{", '{"code": 3}'],
}


@pytest.fixture
def finished(tmp_path):
    """Three finished points, written without training."""
    for point in points_of(SEEDS, tmp_path):
        point.workdir.mkdir()
        tree = to_json(point.experiment, folder=point.workdir)
        (point.workdir / "config.json").write_text(json.dumps(tree))
        (point.workdir / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """The folders that would be trained."""
    folders = []

    def work(experiments, workdirs, options):
        folders.extend(workdirs)
        return [Outcome("finished", Results({"loss": 0.5, "n": 8}, 2, 0.1, each)) for each in workdirs]

    monkeypatch.setattr(running, "work", work)
    monkeypatch.setattr(running, "check_plans", lambda *_: None)
    return folders


@pytest.mark.parametrize("vectorize", [None, "seed"])
@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in DAMAGE.items() for text in texts])
def test_the_point_fails_with_the_name_of_the_file_and_the_others_end(finished, trained, name, text, vectorize):
    workdirs = [point.workdir for point in points_of(SEEDS, finished)]
    (workdirs[1] / name).write_text(text)
    (workdirs[2] / "results.json").unlink()
    records = sweep.run(SEEDS, finished, vectorize=vectorize, verbose=False)
    assert [record.status for record in records] == ["finished", "failed", "finished"]
    assert f"{workdirs[1] / name} is damaged" in records[1].reason and "delete it to continue" in records[1].reason
    assert trained == [str(workdirs[2])]
    # What it says helps.
    (workdirs[1] / name).unlink()
    assert [record.status for record in sweep.run(SEEDS, finished, verbose=False)] == ["finished"] * 3


@pytest.mark.parametrize("text", ["", "{", '{"kind": "diverged"}', '{"kind": [], "reason": "x"}'])
def test_a_point_with_a_damaged_failure_is_tried_again(finished, monkeypatch, text):
    workdir = points_of(SEEDS, finished)[1].workdir
    (workdir / "results.json").unlink()
    (workdir / "failure.json").write_text(text)
    monkeypatch.setattr("jaxcnn.sweep.work.train", lambda _, workdir, **__: Results({"loss": 1.0}, 2, 0.1, workdir))
    records = sweep.run(SEEDS, finished, verbose=False)
    assert [record.status for record in records] == ["finished"] * 3 and not (workdir / "failure.json").exists()


def test_a_result_whose_config_is_lost_is_run_again(finished, trained):
    workdir = points_of(SEEDS, finished)[1].workdir
    (workdir / "config.json").unlink()
    assert [record.status for record in sweep.run(SEEDS, finished, verbose=False)] == ["finished"] * 3
    assert trained == [str(workdir)]


@pytest.mark.parametrize(
    ("name", "text", "failed"),
    [
        ("config.json", "{", 0),
        ("config.json", '{"model": {}, "data": {}, "seed": "0"}', 0),
        ("config.json", None, 0),
        ("results.json", "", 1),
        ("results.json", '{"test": 3, "steps": 2, "seconds": 1}', 1),
        ("failure.json", "{", 1),
    ],
)
def test_a_summary_names_the_file_and_has_the_other_points(tmp_path, name, text, failed):
    for seed in range(3):
        point = write_point(tmp_path, {"seed": seed}, error=0.01 * seed)
    if name == "failure.json":
        (point / "results.json").unlink()
    if text is None:
        (point / name).unlink()
    else:
        (point / name).write_text(text)
    table = sweep.summarize(tmp_path)
    (row,) = table.rows
    assert (row.n, row.mean, row.failed) == (2, pytest.approx(0.005), failed)
    (note,) = table.notes
    assert (str(point) if text is None else str(point / name)) in note and note in table.text()


def test_a_summary_of_damaged_points_alone_says_so(tmp_path):
    (write_point(tmp_path, {"seed": 0}) / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"has no finished point \(.*config.json is damaged"):
        sweep.summarize(tmp_path)


def test_curves_end_before_a_damaged_row(tmp_path):
    row = {"step": 1, "epoch": 1.0, "split": "test", "loss": 1.0, "error": 0.1}
    for seed, last in enumerate((b"null\n", b"\xff\xfe\n", b'{"step": 2\n')):
        point = write_point(tmp_path, {"seed": seed}, rows=[row, row | {"step": 2, "epoch": 2.0}])
        (point / "metrics.jsonl").write_bytes((point / "metrics.jsonl").read_bytes() + last)
    drawn = sweep.draw_summary(sweep.summarize(tmp_path), tmp_path)
    assert Path(tmp_path / "summary_curves.png") in drawn
