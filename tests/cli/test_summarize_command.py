import csv
import errno
import json
import os

import pytest

from jaxcnn import sweep
from jaxcnn.__main__ import main
from jaxcnn.plots import page
from tests.sweep.folders import write_point

NORMS = ("none", "batch")


def rows(error):
    return [
        {"step": step, "epoch": step / 2, "split": split, "loss": error, "accuracy": 1 - error, "error": error}
        for step in (2, 4)
        for split in ("train", "validation")
    ]


@pytest.fixture
def norms(tmp_path):
    for i, norm in enumerate(NORMS):
        for seed in range(3):
            error = 0.01 * (3 - i) + 0.002 * seed
            write_point(tmp_path / "sweep", {"model.norm": norm, "seed": seed}, error=error, rows=rows(error))
    return tmp_path / "sweep"


@pytest.fixture
def rates(tmp_path):
    for i, norm in enumerate(NORMS):
        for j, rate in enumerate((0.001, 0.01, 0.1)):
            changes = {"model.norm": norm, "optimizer.learning_rate": rate}
            write_point(tmp_path / "sweep", changes, error=0.01 * (1 + i + j), rows=rows(0.1))
    return tmp_path / "sweep"


def pictures(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def test_the_table_is_printed_and_the_pictures_are_named_on_stderr(norms, capsys):
    assert main(["summarize", str(norms), "--by=model.norm", "--baseline=none"]) == 0
    out, err = capsys.readouterr()
    assert out == sweep.summarize(norms, by="model.norm", baseline="none").text() + "\n"
    assert "difference from none" in out
    assert pictures(norms) == ["summary_curves.png", "summary_strip.png"]
    assert err.splitlines() == [f"drew {norms}/summary_{name}.png" for name in ("strip", "curves")]


@pytest.mark.parametrize("format", ["markdown", "csv", "json"])
def test_the_other_formats(norms, format, capsys):
    assert main(["summarize", str(norms), "--metric=validation.accuracy", f"--format={format}"]) == 0
    out = capsys.readouterr().out
    assert out == getattr(sweep.summarize(norms, metric="validation.accuracy"), format)() + "\n"
    if format == "csv":
        assert [line["model.norm"] for line in csv.DictReader(out.splitlines())] == ["batch", "none"]
    if format == "json":
        assert json.loads(out)["metric"] == "validation.accuracy"


def test_two_settings_have_a_heat_map_and_a_number_has_a_response(rates, capsys):
    assert main(["summarize", str(rates)]) == 0
    capsys.readouterr()
    names = ["summary_curves.png", "summary_heat_map.png", "summary_response.png", "summary_strip.png"]
    assert pictures(rates) == names
    assert main(["summarize", str(rates), "--by=model.norm", "--select=validation.error"]) == 0
    assert "optimizer.learning_rate (selected)" in capsys.readouterr().out
    # Those of another summary are gone.
    assert pictures(rates) == ["summary_curves.png", "summary_strip.png"]


def test_a_folder_that_cannot_be_written_gets_a_line(norms, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(page, "replacing", refuse)
    assert main(["summarize", str(norms)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("test error, %") and pictures(norms) == []
    assert err == f"pictures cannot be written into {norms}: Permission denied\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by=model.nrm"], "by has the unknown field 'model.nrm'. Did you mean 'model.norm'?"),
        (["--baseline=nune"], "baseline is 'nune', which is not among the values of model.norm: batch; none."),
        (["--metric=test.eror"], "metric is test.eror, which no run has."),
        (["--select=test.error"], "select is test.error; settings must not be chosen on the test split."),
    ],
)
def test_what_does_not_fit_is_one_message_and_draws_nothing(norms, options, message, capsys):
    assert main(["summarize", str(norms), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1
    assert pictures(norms) == []


def test_a_folder_of_another_kind_is_one_message(norms, tmp_path, capsys):
    for folder, message in (
        (tmp_path / "missing", "is not a folder"),
        (norms / "norm=none,seed=0", "give the folder above"),
    ):
        assert main(["summarize", str(folder)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.startswith(f"error: {folder}") and err.count("\n") == 1


def test_an_error_leaves_no_picture_of_an_earlier_summary(rates, monkeypatch):
    sweep.draw_summary(sweep.summarize(rates), rates)
    monkeypatch.setattr("jaxcnn.sweep.pictures.learning_curves_of_arms", lambda *_, **__: 1 / 0)
    table = sweep.summarize(rates, by="model.norm", select="validation.error")
    with pytest.raises(ZeroDivisionError):
        sweep.draw_summary(table, rates)
    assert pictures(rates) == ["summary_strip.png"]


def test_an_empty_folder_name_is_one_message(capsys):
    for command, what in (("summarize", "folder is ''; give the folder of a sweep"), ("plot", "run is ''; it must be")):
        assert main([command, ""]) == 2
        assert capsys.readouterr().err.startswith(f"error: {what}")
