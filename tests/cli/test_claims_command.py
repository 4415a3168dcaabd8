"""`python -m jaxcnn claims`: the list, a run, and messages about invalid input."""

import dataclasses

import pytest

from jaxcnn.__main__ import main
from jaxcnn.claims import running
from jaxcnn.claims.catalogue import NAMES, find
from jaxcnn.claims.study import Study
from jaxcnn.cli import claims


def test_without_a_name_all_claims_are_listed_with_source_and_verdict(capsys):
    assert main(["claims"]) == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    for name in NAMES:
        assert name in words
    assert "Ioffe & Szegedy 2015" in words and ("holds" in words or "not run yet" in words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_norm_rate"], "'batch_norm_rate' is not a claim. Did you mean 'batch_norm_rates'? Claims are "),
        (["LRN_PLACE"], "'LRN_PLACE' is not a claim. Did you mean 'lrn_place'? Claims are "),
        (["lrn-place"], "'lrn-place' is not a claim. Did you mean 'lrn_place'? Claims are "),
        (["batch_norm_rates", "--seeds=1"], "seeds is 1; it must be 2 or more"),
        (["batch_norm_rates", "--seeds=-3"], "seeds is -3; it must be 2 or more"),
        (["batch_norm_rates", "--workdir="], "workdir is empty"),
    ],
)
def test_invalid_input_is_one_line(arguments, message, capsys):
    assert main(["claims", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_data_that_are_not_prepared_say_how_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    assert main(["claims", "batch_norm_rates", f"--workdir={tmp_path / 'runs'}"]) == 2
    err = capsys.readouterr().err
    assert "data set 'cifar10' is not prepared" in err and "python -m jaxcnn prepare cifar10 --data_dir=" in err
    assert err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_workdir_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "_check_data", lambda claim: None)
    (tmp_path / "file").write_text("")
    assert main(["claims", "batch_norm_rates", f"--workdir={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err == (
        f"error: workdir {tmp_path / 'file'} cannot be written: Not a directory. Give another.\n"
    )


def test_a_run_prints_rule_verdict_and_files(tmp_path, monkeypatch, capsys):
    losses = {"none": [[0.5] * 5, [None] * 5], "batch": [[0.5] * 5, [0.4] * 5]}
    seen = []

    def measure(study: Study):
        seen.append((study.folder, list(study.seeds), study.scale))
        return {"rates": [0.1, 1.0], "losses": losses}

    claim = dataclasses.replace(find("batch_norm_rates"), measure=measure)
    monkeypatch.setattr(claims, "find", lambda name: claim)
    monkeypatch.setattr(running, "_check_data", lambda claim: None)
    assert main(["claims", claim.name, f"--workdir={tmp_path}", "--scale=full", "--seeds=4"]) == 0
    assert seen == [(tmp_path / claim.name, [0, 1, 2, 3], "full")]
    out = capsys.readouterr().out
    assert f"rule: {claim.rule}\nverdict: holds\n" in out
    assert f"record: {tmp_path / claim.name / claim.name}.json, picture: " in out


def test_the_list_has_the_width_of_columns(monkeypatch, capsys):
    for columns, width in (("60", 60), ("140", 140), (None, 100)):
        monkeypatch.delenv("COLUMNS") if columns is None else monkeypatch.setenv("COLUMNS", columns)
        assert main(["claims"]) == 0
        longest = max(map(len, capsys.readouterr().out.splitlines()))
        assert width - 10 <= longest <= width
