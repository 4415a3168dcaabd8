"""The view of a running sweep, on a recorded terminal and in a file."""

import io
import json
import time

import pytest
from rich.console import Console

import jaxcnn
from jaxcnn import Data, Experiment, Fake, sweep
from jaxcnn.models import LeNet5
from jaxcnn.runs.workdir import Results
from jaxcnn.sweep import live
from jaxcnn.sweep.live import View, last_row
from jaxcnn.sweep.points import Record, points_of

BASE = Experiment(model=LeNet5(), data=Data(source="fake", fake=Fake(shape=(32, 32, 1))), epochs=10)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sweep"


def make_points(folder, seeds):
    return points_of([jaxcnn.override(BASE, {"seed": seed}) for seed in range(seeds)], folder)


def begin(point, *rows):
    """Make the folder of a running point."""
    point.workdir.mkdir(parents=True)
    (point.workdir / ".owner.json").write_text("{}")
    (point.workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(epoch, loss):
    return {"step": 10, "epoch": epoch, "split": "train", "loss": loss}


def finished(point, seconds=1.25):
    results = Results({"error": 0.25, "loss": 0.5, "n": 16}, 10, seconds, str(point.workdir))
    return Record(point.experiment, str(point.workdir), "finished", results)


def failed(point, status, reason):
    return Record(point.experiment, str(point.workdir), status, None, reason)


def terminal(monkeypatch, width, height=24):
    """Let views write to a terminal of this size, and return its file."""
    file = io.StringIO()

    def console(**options):
        return Console(file=file, force_terminal=True, width=width, height=height, color_system=None, **options)

    monkeypatch.setattr(live, "Console", console)
    return file


def shown(view, width):
    """Return the lines of the view as they are now."""
    console = Console(file=io.StringIO(), width=width)
    console.print(view._now())
    return console.file.getvalue().splitlines()


def test_a_file_gets_a_line_at_the_start_and_one_for_every_point_that_ends(folder, capsys):
    points = make_points(folder, 3)
    records = {points[0].workdir: finished(points[0])}
    reason = "the loss of step 2 is inf; no checkpoint was saved. Lower optimizer.learning_rate or set " + "x" * 200
    with View(folder, points, records) as view:
        for point, record in (
            (points[2], finished(points[2])),
            (points[1], failed(points[1], "diverged", reason)),
        ):
            records[point.workdir] = record
            view.ended(record)
    assert capsys.readouterr().out.splitlines() == [
        f"3 points in {folder}; 1 had ended before",
        "[2/3] seed=2: finished, test error 25.00%, loss 0.5000, 1.2 s",
        "[3/3] seed=1: diverged, the loss of step 2 is inf; no checkpoint was saved",
    ]


def test_nothing_is_shown_if_not_asked_for(folder, capsys):
    points = make_points(folder, 1)
    records = {}
    with View(folder, points, records, show=False) as view:
        records[points[0].workdir] = finished(points[0])
        view.ended(records[points[0].workdir])
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_running_points_wherever_they_run_and_the_counts(folder, monkeypatch):
    terminal(monkeypatch, 80)
    points = make_points(folder, 200)
    begin(points[3])
    begin(points[5], row(1.5, 0.75), row(2.25, 0.5))
    records = {points[0].workdir: finished(points[0]), points[1].workdir: failed(points[1], "diverged", "a")}
    view = View(folder, points, records)
    assert shown(view, 80) == [
        "  seed=3: starting",
        "  seed=5: epoch 2.2 of 10, loss 0.5000",
        "1 finished, 1 diverged, 2 running, 196 waiting",
    ]
    records[points[2].workdir] = failed(points[2], "failed", "b")
    monkeypatch.setattr(time, "monotonic", lambda begun=view._begun: begun + 60)
    assert shown(view, 80)[-1] == "1 finished, 1 diverged, 1 failed, 2 running, 195 waiting; about 3 h 17 min left"
    for point in points[10:40]:
        begin(point)
    lines = shown(view, 80)
    assert len(lines) == 14 and lines[-2] == "  and 20 more" and "32 running, 165 waiting" in lines[-1]


def test_a_narrow_terminal_shows_everything(folder, monkeypatch):
    terminal(monkeypatch, 40)
    points = points_of(
        sweep.grid(BASE, {"optimizer.weight_decay_form": ["l2", "decoupled"], "seed": range(2)}),
        folder,
    )
    begin(points[0], row(3.0, 0.1234))
    lines = shown(View(folder, points, {}), 40)
    assert all(len(line) <= 40 for line in lines)
    whole = "weight_decay_form=l2,seed=0: epoch 3.0 of 10, loss 0.1234 0 finished, 1 running, 3 waiting"
    assert "".join(lines).replace(" ", "") == whole.replace(" ", "")


def test_lines_of_ended_points_stay_above_the_view_which_is_up_to_date(folder, monkeypatch):
    file = terminal(monkeypatch, 80)
    points = make_points(folder, 2)
    begin(points[0], row(10.0, 0.1))
    records = {}
    with View(folder, points, records) as view:
        records[points[0].workdir] = finished(points[0])
        view.ended(records[points[0].workdir])
        last = file.getvalue().rpartition("[1/2] seed=0: finished")[2]
    # Below the line, the point no longer runs.
    assert "seed=0" not in last and "1 finished, 0 running, 1 waiting" in last


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3599.6, "1 h 00 min"), (7380, "2 h 03 min")],
)
def test_durations(seconds, text):
    assert live._duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ('{"step": 1}\n', {"step": 1}),
        ('{"step": 1}\n{"step": 2}\n{"ste', {"step": 2}),
        ("x" * 10_000 + '\n{"step": 3}\n', {"step": 3}),
        ("x" * 10_000, None),
    ],
)
def test_the_last_complete_row(tmp_path, text, expected):
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    assert last_row(path) == expected
