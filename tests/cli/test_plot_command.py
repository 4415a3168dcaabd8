import errno
import os
import shutil
from pathlib import Path

import pytest

from jaxcnn.__main__ import main
from jaxcnn.plots import page

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FINISHED, tmp_path / "run"))


def test_the_command_draws_the_pictures_and_prints_their_names(run, capsys):
    assert main(["plot", str(run), "--checkpoint=24"]) == 0
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(map(str, run.glob("*.png"))) and len(out.splitlines()) == 4
    assert err == ""


def test_a_run_without_a_checkpoint_gets_its_curves_and_a_line(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert main(["plot", str(run)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{run}/learning_curves.png\n"
    assert err == f"{run} has no checkpoint; only its learning curves are drawn\n"


def test_a_folder_that_cannot_be_written_is_one_message(run, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(page, "replacing", refuse)
    assert main(["plot", str(run)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"error: pictures cannot be written into {run}: Permission denied.\n"


def test_a_folder_that_is_not_a_run_is_one_message(tmp_path, capsys):
    assert main(["plot", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {tmp_path} is not a run folder") and err.count("\n") == 1


@pytest.mark.parametrize("whole", [0, 3])
def test_damaged_metrics_are_named(run, whole, capsys):
    shutil.rmtree(run / "checkpoints")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:whole]) + lines[whole][:9])
    assert main(["plot", str(run)]) == (0 if whole else 2)
    err = capsys.readouterr().err.splitlines()
    assert (
        f"{run}/metrics.jsonl is damaged at " in err[-1] and ("line 4 of 4" if whole else "its first line") in err[-1]
    )
