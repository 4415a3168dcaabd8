"""Sweeps from the command line: points, exit statuses, dry runs, and one short message for every error."""

import json
import os
import signal

import pytest

from jaxcnn import Preempted, load_config
from jaxcnn.cli import sweep as command
from jaxcnn.cli.launch import main
from jaxcnn.config import to_json
from jaxcnn.runs.workdir import Results
from jaxcnn.sweep import running
from jaxcnn.sweep.points import points_of
from jaxcnn.sweep.work import Outcome

CONFIG = """
from flax import linen as nn

from jaxcnn import Data, Experiment, Fake, Optimizer


class Net(nn.Module):
    width: int = 4
    faulty: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        if train and self.faulty:
            raise RuntimeError("the network is faulty")
        return nn.Dense(4)(nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1))))


def get_config():
    fake = Fake(shape=(4, 4, 1), num_classes=4, train=16, test=8)
    return Experiment(
        model=Net(), data=Data(source="fake", fake=fake, batch_size=8), optimizer=Optimizer(learning_rate=0.1), epochs=1
    )


def sweep_widths():
    for width in (4, 5):
        yield {"model.width": width}


def sweep_outcomes():
    yield {}
    yield {"optimizer.learning_rate": 1e38, "epochs": 2}
    yield {"model.faulty": True}


def sweep_typo():
    yield {"model.widht": 5}


def sweep_nothing():
    return []


def sweep_numbers():
    yield 3


def sweep_wrong():
    yield {"epochs": -1}


def sweep_none():
    yield {"model.width": 3}


def sweep_algorithms():
    for algorithm in ("sgd", "adam"):
        yield {"optimizer.algorithm": algorithm}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def call(config, tmp_path, capsys):
    """Run a command line with the config file and a folder; return its status, the folder and the output."""

    def call(*arguments):
        folder = tmp_path / "sweep"
        try:
            status = main([f"--config={config}", f"--workdir={folder}", *arguments], prog="launch.py")
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, folder, captured.out + captured.err

    return call


def test_every_point_finished_gives_status_0_and_says_how_to_compare_them(call):
    status, folder, text = call("--grid.seed=0,1")
    assert status == 0
    assert f"2 of 2 points are finished in {folder}" in text and f"python -m jaxcnn summarize {folder}" in text
    names = sorted(path.name.rpartition("-")[0] for path in folder.iterdir())
    assert names == ["seed=0", "seed=1"]
    assert all((path / "config.py").read_text() == CONFIG for path in folder.iterdir())


def test_a_failed_point_gives_status_1_and_is_listed(call):
    status, folder, text = call("--sweep=outcomes")
    assert status == 1
    _, _, listed = text.partition("1 of 3 points are finished")
    assert "  diverged: faulty=false,learning_rate=1e+38,epochs=2-" in listed
    assert "  failed: faulty=true,learning_rate=0.1,epochs=1-" in listed
    assert "RuntimeError: the network is faulty\n" in listed and "Lower optimizer.learning_rate" not in text
    assert "failure.json in the folder of a point says more" in listed and "Traceback" not in text
    (failed,) = folder.glob("*faulty=true*")
    assert "raise RuntimeError" in json.loads((failed / "failure.json").read_text())["traceback"]
    _, _, text = call("--sweep=outcomes", "--dry_run")
    states = {line.split()[1] for line in text.splitlines() if line.startswith("faulty=")}
    assert states == {"finished", "diverged", "failed"}


def outcomes(monkeypatch, **by_seed):
    """Let points end without training, each as its seed says."""

    def work(experiments, workdirs, options):
        status = by_seed.get(f"seed{experiments[0].seed}", "finished")
        if status == "stopped":
            os.kill(os.getpid(), signal.SIGTERM)
        if status == "finished":
            return [Outcome(status, Results({"loss": 0.5, "n": 8}, 2, 0.1, workdirs[0]))]
        return [Outcome(status, reason="its reason. What to do.")]

    monkeypatch.setattr(running, "work", work)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, 0),
        ({"seed1": "diverged"}, 3),
        ({"seed0": "failed", "seed1": "diverged"}, 1),
        ({"seed0": "diverged", "seed1": "diverged"}, 3),
    ],
)
def test_the_exit_status_says_how_points_ended(call, monkeypatch, ends, expected):
    outcomes(monkeypatch, **ends)
    status, folder, text = call("--grid.seed=0,1")
    assert status == expected
    assert f"{2 - len(ends)} of 2 points are finished in {folder}\n" in text
    assert text.count("its reason\n") == 2 * len(ends) and "What to do" not in text
    assert ("summarize" in text) == (len(ends) < 2)


def test_a_signal_gives_status_75(call, monkeypatch):
    outcomes(monkeypatch, seed1="stopped")
    status, _, text = call("--grid.seed=0,1,2")
    assert status == 75
    assert text.endswith("launch.py: stopped with 1 of 3 points finished; the same command continues\n")


def test_ctrl_c_before_training_gives_status_130(call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    status, _, text = call("--grid.seed=0,1")
    assert status == 130 and text == "launch.py: interrupted; the same command continues from the newest checkpoint\n"


def test_jobs_are_processes_that_end_with_the_sweep(call, monkeypatch):
    made = []

    class Processes(command.Processes):
        def __init__(self, jobs):
            super().__init__(jobs)
            made.append(self)

    def run(points, folder, *, executor, **_):
        assert executor is made[0]
        raise Preempted("stopped")

    monkeypatch.setattr(command, "Processes", Processes)
    monkeypatch.setattr(command, "run", run)
    assert call("--grid.seed=0,1", "--jobs=2")[0] == 75
    with pytest.raises(RuntimeError, match="after shutdown"):
        made[0].submit(len, "")


def test_a_dry_run_shows_the_points_and_writes_nothing(call):
    status, folder, text = call("--sweep=widths", "--grid.seed=0,1", "--dry_run")
    assert status == 0 and not folder.exists()
    assert "4 points in" in text and f"workdir: {folder} (nothing was written)" in text
    lines = [line.split() for line in text.splitlines() if line.startswith("width=")]
    assert [line[0] for line in lines] == [f"width={width},seed={seed}" for width in (4, 5) for seed in (0, 1)]
    assert {line[1] for line in lines} == {"new"}


def test_a_sweep_of_the_file_is_crossed_with_the_grid_and_shared_out(call):
    status, _, text = call("--sweep=widths", "--grid.seed=0,1", "--shard=1/2", "--dry_run")
    assert status == 0
    assert [line.split()[0] for line in text.splitlines() if "alone" in line] == ["width=4,seed=1", "width=5,seed=1"]


def test_the_default_folder_follows_from_the_names(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option, folder in (("--sweep=widths", "runs/nets_widths"), ("--grid.seed=0,1", "runs/nets_sweep")):
        assert main([f"--config={config}", option, "--dry_run"], prog="launch.py") == 0
        assert f"workdir: {tmp_path / folder} (nothing" in capsys.readouterr().out


MISTAKES = {
    "unknown sweep": (["--sweep=width"], "has no sweep 'width'. Did you mean 'widths'? It has widths, outcomes"),
    "empty sweep": (["--sweep=nothing"], "sweep_nothing() of"),
    "not a dict": (["--sweep=numbers"], "point 0 of sweep_numbers() is 3; it must be a dict such as"),
    "unknown field of a sweep": (["--sweep=typo"], "unknown field 'model.widht'. Did you mean 'model.width'?"),
    "unknown field": (["--grid.sed=0,1"], "--grid.sed is not a field of this experiment. Did you mean --grid.seed?"),
    "no values": (["--grid.seed="], "--grid.seed has no values"),
    "value twice": (["--grid.seed=1,1"], "seed has the value 1 twice"),
    "wrong value": (["--grid.seed=0,a"], "--grid.seed has the value 'a'; it must be an integer"),
    "changes nothing": (["--grid.data.data_dir=a,b"], "changes nothing"),
    "same point twice": (["--sweep=widths", "--grid.model.width=4,5"], "are the same run"),
    "jobs": (["--grid.seed=0,1", "--jobs=0"], "jobs is 0; it must be an integer > 0"),
    "shard": (["--grid.seed=0,1", "--shard=2/2"], "shard is 2/2; of 2 shards the first number must be from 0 to 1"),
    "slurm": (["--grid.seed=0,1", "--shard=slurm"], "start the command in a job array"),
    "vectorize": (["--grid.seed=0,1", "--vectorize=sede"], "vectorize is 'sede'; it must be auto or among"),
    "init_from": (["--grid.seed=0,1", "--init_from=a"], "--init_from is not available in a sweep"),
    "jobs without a sweep": (["--jobs=2"], "--jobs is for a sweep; name its points by --grid.FIELD=VALUE,VALUE or"),
    "shard without a sweep": (["--shard=0/2"], "--shard is for a sweep"),
    "vectorize without a sweep": (["--vectorize=seed"], "--vectorize is for a sweep"),
    "plots without a sweep": (["--plots"], "--plots is for a sweep"),
    "jobs of a dry run": (["--jobs=2", "--dry_run"], "--jobs is for a sweep"),
    "jobs of a dry sweep": (["--grid.seed=0,1", "--jobs=0", "--dry_run"], "jobs is 0; it must be an integer > 0"),
    "jobs that is no number": (["--grid.seed=0,1", "--jobs=a"], "jobs is 'a'; it must be an integer > 0"),
    "auto among names": (["--grid.seed=0,1", "--vectorize=auto,seed"], "auto means all numbers, so give it alone"),
    "sweep twice": (["--sweep=widths", "--sweep=outcomes"], "--sweep is given twice; give it once. A sweep is one"),
    "sweep of a field": (["--sweep=model.width=4,5"], "To vary a field, write --grid.FIELD=VALUE,VALUE"),
    "sweep without a name": (["--sweep="], "--sweep is ''; it must be NAME of a function sweep_NAME()"),
    "wrong value of a sweep": (["--sweep=wrong"], "point 0 of sweep_wrong(): Experiment.epochs is -1"),
    "out of bounds": (["--grid.seed=0,-1"], "--grid.seed has the value '-1'; it must be an integer >= 0"),
    "off": (
        ["--grid.optimizer.b1=0.1,0.2"],
        "axis optimizer.b1 changes nothing: it acts only if optimizer.algorithm",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_short_message_and_nothing_is_written(mistake, call, monkeypatch):
    for name in ("ID", "COUNT"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    arguments, words = MISTAKES[mistake]
    status, folder, text = call(*arguments)
    assert status == 2
    assert words in text and "Traceback" not in text and text.count("\n") == 1
    assert not folder.exists()


def test_a_folder_of_another_sweep_or_run_is_refused(call, config, tmp_path):
    (point, *_) = points_of([load_config(config)], tmp_path / "sweep")
    point.workdir.mkdir(parents=True)
    tree = to_json(point.experiment, folder=point.workdir)
    (point.workdir / "config.json").write_text(json.dumps(tree))
    status, folder, text = call("--grid.seed=0,1", "--config.model.width=7")
    assert status == 2 and f"{folder} holds another sweep: its model.width is 4, not 7" in text
    (folder / "config.json").write_text(json.dumps(tree))
    status, _, text = call("--grid.seed=0,1")
    assert status == 2 and "holds a single run; give another folder to the sweep" in text


def test_help_names_the_options_of_sweeps(call):
    status, _, text = call("--help")
    flat = " ".join(text.replace("│", " ").split())
    assert status == 0
    for words in (
        "With --grid.FIELD=VALUE,VALUE for one field or more, train a run for each combination",
        "--sweep",
        "--jobs",
        "--shard",
        "--vectorize",
        "--plots",
        "--keep",
    ):
        assert words in flat


def test_a_sweep_may_be_named_none(call):
    status, _, text = call("--sweep=none", "--grid.seed=0,1", "--dry_run")
    assert status == 0 and "2 points in" in text


def test_an_axis_may_act_in_some_points_of_a_sweep(call):
    status, _, text = call("--sweep=algorithms", "--grid.optimizer.momentum=0.8,0.9", "--dry_run")
    assert status == 0 and "3 points in" in text
    names = [line.split()[0] for line in text.splitlines() if line.startswith("algorithm=")]
    assert names == ["algorithm=sgd,momentum=0.8", "algorithm=sgd,momentum=0.9", "algorithm=adam,momentum=0.9"]


def test_one_point_is_singular(call):
    _, folder, text = call("--grid.seed=0")
    assert f"1 point in {folder}\n" in text and f"1 of 1 point is finished in {folder}\n" in text


def test_a_dry_run_names_a_damaged_file(call):
    _, folder, _ = call("--grid.seed=0,1")
    damaged = next(folder.glob("seed=1-*")) / "config.json"
    damaged.write_text("{")
    status, _, text = call("--grid.seed=0,1", "--dry_run")
    assert status == 0 and f"{damaged} is damaged" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("seed=")] == ["finished", "failed"]


def test_workers_record_the_command_that_was_given(call, monkeypatch):
    monkeypatch.setattr("sys.argv", ["launch.py", "--jobs=1"])
    status, folder, text = call("--grid.seed=0", "--jobs=1")
    assert status == 0, text
    (record,) = folder.glob("*/provenance.json")
    assert json.loads(record.read_text())["command"][1:] == ["launch.py", "--jobs=1"]


def test_help_lists_the_axes(call):
    assert "--grid.seed=0,1,2" in call("--help")[2]


def test_a_dry_run_plans_one_point_of_each_structure(call, monkeypatch):
    planned = []
    monkeypatch.setattr("jaxcnn.sweep.work.make_plan", planned.append)
    assert call("--grid.model.width=3,4", "--grid.seed=0,1,2,3", "--dry_run")[0] == 0
    assert sorted(experiment.model.width for experiment in planned) == [3, 4]
