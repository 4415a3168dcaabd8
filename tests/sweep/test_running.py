import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import Data, Experiment, Fake, InputError, Optimizer, Preempted, load_config, sweep
from jaxcnn.config import to_json
from jaxcnn.config.importing import import_file
from jaxcnn.runs.checkpoint import SaveError
from jaxcnn.runs.failure import Failure, write_failure
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.lock import locked
from jaxcnn.runtime.provenance import software
from jaxcnn.sweep import running
from jaxcnn.sweep.points import points_of
from jaxcnn.sweep.work import Options, work_on_json


class Net(nn.Module):
    """A linear network that raises in training if it is faulty, and can end its process."""

    faulty: bool = False
    deadly: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        if train and self.faulty:
            raise RuntimeError("the network is faulty\nin detail")
        if train and self.deadly:
            os._exit(9)
        return nn.Dense(4)(x.reshape(len(x), -1))


BASE = Experiment(
    model=Net(),
    data=Data(source="fake", fake=Fake(shape=(4, 4, 1), num_classes=4, train=32, test=16), batch_size=8),
    optimizer=Optimizer(learning_rate=0.1),
    epochs=2,
)
RATES = sweep.grid(BASE, {"optimizer.learning_rate": [0.1, 0.2], "seed": [0, 1]})


def rows(workdir):
    return [{key: value for key, value in row.items() if key != "time"} for row in read_rows(workdir / "metrics.jsonl")]


def test_every_point_equals_its_lone_run_and_is_not_run_again(tmp_path, monkeypatch, capsys):
    records = sweep.run(RATES, tmp_path / "sweep")
    assert [(r.experiment, r.status, r.reason) for r in records] == [(e, "finished", None) for e in RATES]
    lone = jaxcnn.train(RATES[3], tmp_path / "lone", verbose=False)
    assert records[3].results.test == lone.test
    assert rows(Path(records[3].workdir)) == rows(tmp_path / "lone")
    out = capsys.readouterr().out
    assert out.count("finished, test error") == 4 and "[4/4] learning_rate=0.2,seed=1: finished" in out
    monkeypatch.setattr(running, "work", lambda *_: pytest.fail("a finished point ran again"))
    assert sweep.run(RATES, tmp_path / "sweep") == records
    assert capsys.readouterr().out == f"4 points in {tmp_path / 'sweep'}; 4 had ended before\n"


def test_points_are_light(tmp_path):
    (record,) = sweep.run([BASE], tmp_path, verbose=False)
    files = {path.name for path in Path(record.workdir).iterdir()}
    assert files == {"config.json", "provenance.json", "metrics.jsonl", "results.json", "checkpoints"}
    (record,) = sweep.run([jaxcnn.override(BASE, {"seed": 1})], tmp_path, keep="results", verbose=False)
    assert {path.name for path in Path(record.workdir).iterdir()} == files - {"checkpoints"}


def test_diverged_and_failed_points_do_not_stop_the_others(tmp_path, capsys):
    changes = [{"optimizer.learning_rate": 1e38}, {"model.faulty": True}, {}]
    experiments = [jaxcnn.override(BASE, each) for each in changes]
    diverged, failed, finished = sweep.run(experiments, tmp_path)
    assert [r.status for r in (diverged, failed, finished)] == ["diverged", "failed", "finished"]
    assert "is not finite" in diverged.reason or "is nan" in diverged.reason or "is inf" in diverged.reason
    assert failed.reason == "RuntimeError: the network is faulty" and failed.results is None
    written = json.loads((Path(failed.workdir) / "failure.json").read_text())
    assert written["kind"] == "failed" and "raise Run" in written["traceback"]
    assert json.loads((Path(diverged.workdir) / "failure.json").read_text())["kind"] == "diverged"
    # What diverged would diverge again; what failed is tried again.
    capsys.readouterr()
    assert sweep.run(experiments, tmp_path) == [diverged, failed, finished]
    out = capsys.readouterr().out
    assert "; 2 had ended before" in out and "failed, RuntimeError" in out and "diverged," not in out


def test_a_network_that_does_not_fit_its_data_is_refused_before_anything_runs(tmp_path):
    experiments = sweep.grid(BASE, {"data.batch_size": [8, 64]})
    with pytest.raises(InputError, match=r"batch_size=64: Data.batch_size is 64; it must be at most 32"):
        sweep.run(experiments, tmp_path / "sweep", verbose=False)
    assert not (tmp_path / "sweep").exists()


def test_missing_data_stop_the_sweep(tmp_path):
    base = jaxcnn.override(BASE, {"data.source": "arrays", "data.name": str(tmp_path / "none.npz")})
    with pytest.raises(InputError, match="there is no such file"):
        sweep.run([base], tmp_path / "sweep", verbose=False)
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match="there is no such file"):
        sweep.run([base], tmp_path / "sweep", executor=executor, verbose=False)
    assert not (tmp_path / "sweep").exists()


def test_shards_share_the_points(tmp_path):
    parts = [sweep.run(RATES, tmp_path, shard=f"{i}/2", verbose=False) for i in range(2)]
    assert [r.experiment for part in parts for r in part] == [RATES[0], RATES[2], RATES[1], RATES[3]]
    assert len([*tmp_path.iterdir()]) == 4


def test_a_locked_point_is_left_to_its_owner_and_taken_up_when_it_is_free(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "_IN_USE", 0.01)
    first = points_of(RATES, tmp_path)[0].workdir
    held, release = threading.Event(), threading.Event()

    def hold():
        with locked(first):
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    monkeypatch.setattr(running.time, "sleep", lambda _, sleep=time.sleep: (release.set(), sleep(0.05)))
    records = sweep.run(RATES, tmp_path)
    thread.join()
    assert [r.status for r in records] == ["finished"] * 4
    assert [line[:5] for line in capsys.readouterr().out.splitlines()[1:]] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_a_point_that_another_process_finishes_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_IN_USE", 0.01)
    first = points_of(RATES, tmp_path)[0].workdir
    original = running.work

    def work(experiments, workdirs, options):
        if workdirs == [str(first)]:
            original(experiments, workdirs, options)
            return [running.Outcome("in use")]
        return original(experiments, workdirs, options)

    monkeypatch.setattr(running, "work", work)
    assert [r.status for r in sweep.run(RATES, tmp_path, verbose=False)] == ["finished"] * 4


def test_a_signal_stops_the_sweep_and_the_next_call_continues_it(tmp_path, monkeypatch):
    original = running.work

    def work(experiments, workdirs, options):
        if experiments == [RATES[2]]:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(experiments, workdirs, options)

    with monkeypatch.context() as patch:
        patch.setattr(running, "work", work)
        with pytest.raises(Preempted, match="stopped with 2 of 4 points finished; the same command continues"):
            sweep.run(RATES, tmp_path / "a", verbose=False)
    records = sweep.run(RATES, tmp_path / "a", verbose=False)
    undisturbed = sweep.run(RATES, tmp_path / "b", verbose=False)
    assert [r.results.test for r in records] == [r.results.test for r in undisturbed]


def test_threads_may_run_points(tmp_path):
    with ThreadPoolExecutor(2) as executor:
        records = sweep.run(RATES, tmp_path / "a", executor=executor, verbose=False)
    alone = sweep.run(RATES, tmp_path / "b", verbose=False)
    assert [r.results.test for r in records] == [r.results.test for r in alone]


class Scripted(ThreadPoolExecutor):
    """An executor of which a function makes the futures; it counts the tasks."""

    def __init__(self, make):
        super().__init__(1)
        self.make, self.tasks = make, 0

    def submit(self, function, *arguments):
        self.tasks += 1
        future = self.make(self.tasks)
        return super().submit(function, *arguments) if future is None else future


def ended(answer=None, error=None):
    future = Future()
    future.set_exception(error) if error else future.set_result(answer)
    return future


def cancelled():
    future = Future()
    future.cancel()
    return future


def test_a_point_that_its_worker_has_stopped_is_submitted_again(tmp_path, monkeypatch):
    """A cluster preempts one worker; the others, and the sweep, go on."""
    monkeypatch.setattr(running, "_IN_USE", 0.01)
    executor = Scripted(lambda number: ended([running.Outcome("stopped", reason="a")]) if number in (2, 5) else None)
    with executor:
        records = sweep.run(RATES, tmp_path, executor=executor, verbose=False)
    assert [r.status for r in records] == ["finished"] * 4 and executor.tasks == 6


@pytest.mark.parametrize(
    ("future", "reason"),
    [
        (cancelled(), "the executor cancelled it; the same command continues it"),
        (ended(error=BrokenProcessPool("a")), "a worker died, perhaps at another point, and the whole pool with it"),
        (
            ended(error=ModuleNotFoundError("No module named 'jaxcnn'")),
            "its worker failed (ModuleNotFoundError: No mod",
        ),
        (ended(error=SystemExit(3)), "its worker failed (SystemExit: 3)"),
        (ended(error=OSError("first\n" + "x" * 300)), "its worker failed (OSError: first [...]); the same command"),
    ],
)
def test_what_an_executor_does_not_answer_is_a_failed_point(tmp_path, future, reason):
    with Scripted(lambda number: future) as executor:
        (record,) = sweep.run([BASE], tmp_path, executor=executor, verbose=False)
    assert record.status == "failed" and record.reason.startswith(reason)


def test_an_executor_that_breaks_while_points_are_submitted_cancels_the_others(tmp_path):
    waiting = Future()

    def make(number):
        if number == 2:
            raise BrokenProcessPool("a worker died")
        return waiting

    with (
        Scripted(make) as executor,
        pytest.raises(InputError, match="executor Scripted cannot start: BrokenProcessPool: a w"),
    ):
        sweep.run(RATES, tmp_path, executor=executor, verbose=False)
    assert waiting.cancelled()


def test_an_exception_while_points_run_cancels_the_others(tmp_path, monkeypatch):
    """Rich exits when the reader of its output is gone, as in `launch.py --grid... | head -1`."""
    waiting = Future()

    def leave(*_):
        raise SystemExit(1)

    monkeypatch.setattr(running.View, "ended", leave)
    with Scripted(lambda number: waiting if number == 2 else None) as executor, pytest.raises(SystemExit):
        sweep.run(RATES[:2], tmp_path, executor=executor)
    assert waiting.cancelled()
    # Nobody tells futures of an executor that has ended that they are cancelled.
    running._stop(sweep.Processes(1), [cancelled()])


def test_files_of_an_owner_that_has_died_are_removed(tmp_path):
    """Otherwise a point that was killed would count as running."""
    points = points_of(RATES, tmp_path)
    for point in points[:2]:
        point.workdir.mkdir()
        (point.workdir / ".owner.json").write_text('{"pid": 1, "host": "a", "since": "b"}')
    with locked(points[1].workdir):
        free, busy = running._split(points)
    assert busy == [points[1]] and free == [points[0], *points[2:]]
    assert not (points[0].workdir / ".owner.json").exists()


def test_a_point_that_diverged_in_another_process_is_not_trained_again(tmp_path, monkeypatch):
    first = points_of(RATES[:2], tmp_path)[0].workdir
    original = running.work

    def work(experiments, workdirs, options):
        if workdirs == [str(first)]:
            write_failure(first, Failure("diverged", "the loss of step 3 is nan"))
        return original(experiments, workdirs, options)

    monkeypatch.setattr(running, "work", work)
    records = sweep.run(RATES[:2], tmp_path, verbose=False)
    assert (records[0].status, records[0].reason) == ("diverged", "the loss of step 3 is nan")
    assert records[1].status == "finished" and not (first / "metrics.jsonl").exists()


SCRIPT = """
import sys
from flax import linen as nn
from jaxcnn import Data, Experiment, Fake, sweep


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(4)(x.reshape(len(x), -1))


data = Data(source="fake", fake=Fake(shape=(4, 4, 1), num_classes=4, train=32, test=16), batch_size=8)
experiments = sweep.grid(Experiment(model=Net(), data=data, epochs=1), {"seed": [0, 1]})
"""


def test_a_worker_that_imports_a_script_does_not_start_its_sweep_again(tmp_path):
    script = tmp_path / "script.py"
    call = f"sweep.run(experiments, {str(tmp_path / 'sweep')!r}, verbose=False)\n"
    script.write_text(SCRIPT + call)
    tree = to_json(BASE) | {"model": {"class": f"{script}:Net"}}
    (outcome,) = work_on_json([tree], [str(tmp_path / "point")], Options())
    assert outcome.status == "failed" and not (tmp_path / "sweep").exists()
    assert outcome.reason.startswith(f"the worker cannot load the experiment: {script}, line 15: this file defines")
    assert outcome.reason.endswith('start its sweep under if __name__ == "__main__":.')
    # In a process that is no worker, a file may run a sweep while it is imported.
    import_file(script, again=True)
    assert (tmp_path / "sweep").exists()


class Broken(ThreadPoolExecutor):
    def submit(self, *_, **__):
        raise FileNotFoundError("sbatch")


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (3, "executor is int, which has no method submit"),
        (Broken(1), "executor Broken cannot start: FileNotFoundError: sbatch. Give another one"),
        (ProcessPoolExecutor(1, multiprocessing.get_context("fork")), "executor forks its processes"),
    ],
)
def test_executors_that_are_refused(tmp_path, executor, message):
    with pytest.raises(InputError, match=message):
        sweep.run(RATES, tmp_path / "sweep", executor=executor, verbose=False)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectorize": "sede"}, "vectorize is 'sede'; it must be auto or among seed, .*Did you mean 'seed'"),
        ({"keep": "some"}, "keep is 'some'"),
        ({"shard": "3/3"}, "shard is 3/3"),
    ],
)
def test_options_that_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        sweep.run(RATES, tmp_path / "sweep", verbose=False, **options)
    assert not (tmp_path / "sweep").exists()


CONFIG = SCRIPT.replace("experiments = sweep.grid(", "def get_config(): return (").replace('), {"seed": [0, 1]})', "))")


def test_a_file_that_is_edited_during_a_sweep_does_not_change_its_points(tmp_path):
    """In this process the points keep the code that was loaded; a worker that finds other code does not train."""
    file = tmp_path / "nets.py"
    file.write_text(CONFIG)
    experiments = sweep.grid(load_config(file), {"seed": [0, 1]})
    points = points_of(experiments, tmp_path / "sweep")
    trees, workdirs = [to_json(each) for each in experiments], [str(point.workdir) for point in points]
    file.write_text(CONFIG.replace("nn.Dense(4)(x", "nn.Dense(4)(2 * x"))
    (record,) = sweep.run(experiments[:1], tmp_path / "sweep", config_file=file, verbose=False)
    assert (Path(record.workdir) / "config.py").read_text() == CONFIG
    (outcome,) = work_on_json(trees[1:], workdirs[1:], Options())
    assert outcome.status == "failed" and outcome.reason.startswith("its code, its data or jaxcnn's version differ")
    assert not points[1].workdir.exists()


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_uses_processes(tmp_path, guarded):
    """A script whose workers import it needs a main guard; with networks of other files it needs none. The script's
    own process never asks for devices, which would reserve the memory of a GPU."""
    text = SCRIPT if guarded else SCRIPT.replace("model=Net()", "model=nets.Net()").replace("sys\n", "sys, nets\n", 1)
    (tmp_path / "nets.py").write_text(SCRIPT)
    call = f"""
from jax._src import xla_bridge
records = sweep.run(experiments, {str(tmp_path / "sweep")!r}, executor=sweep.Processes(2))
print([r.status for r in records], xla_bridge.backends_are_initialized())
"""
    if guarded:
        call = 'if __name__ == "__main__":' + call.replace("\n", "\n    ")
    (tmp_path / "script.py").write_text(text + call)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("['finished', 'finished'] False\n"), done.stderr


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_point_only(tmp_path):
    experiments = sweep.grid(BASE, {"seed": [0, 1, 2, 3]})
    experiments[1] = jaxcnn.override(experiments[1], {"model.deadly": True})
    with sweep.Processes(2) as executor:
        records = sweep.run(experiments, tmp_path, executor=executor, verbose=False)
    assert [r.status for r in records] == ["finished", "failed", "finished", "finished"]
    assert records[1].reason.startswith("its worker died (exit status 9); ")
    alone = sweep.run(experiments[:1], tmp_path / "alone", verbose=False)
    np.testing.assert_allclose(records[0].results.test["loss"], alone[0].results.test["loss"], rtol=1e-5)


def test_vectorized_points_equal_lone_points_and_record_their_group(tmp_path):
    alone = sweep.run(RATES, tmp_path / "alone", verbose=False)
    for vectorize, members in (("seed", 2), (["seed", "optimizer.learning_rate"], 4)):
        records = sweep.run(RATES, tmp_path / str(members), vectorize=vectorize, verbose=False)
        for one, other in zip(records, alone, strict=True):
            assert one.results.test["loss"] == pytest.approx(other.results.test["loss"], rel=1e-5)
            record = json.loads((Path(one.workdir) / "provenance.json").read_text())
            assert len(record["members"]) == members


def test_automatic_vectorization_asks_where_the_points_train(tmp_path):
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match="name numbers, for example"):
        sweep.run(RATES, tmp_path, executor=executor, vectorize="auto", verbose=False)
    # The multiply-adds of a network of a user are not known, so on a CPU its points train alone.
    records = sweep.run(RATES, tmp_path, vectorize="auto", verbose=False)
    assert "members" not in json.loads((Path(records[0].workdir) / "provenance.json").read_text())


def test_pictures_and_keep_also_apply_to_points_that_have_ended(tmp_path, monkeypatch):
    experiments = sweep.grid(BASE, {"seed": [0, 1]})

    def names():
        return [{path.name for path in Path(record.workdir).iterdir()} for record in records]

    records = sweep.run(experiments, tmp_path, keep="all", verbose=False)
    for record in records:
        (Path(record.workdir) / "learning_curves.png").unlink()
    checkpoints = [sorted(os.listdir(Path(record.workdir) / "checkpoints")) for record in records]
    assert sweep.run(experiments, tmp_path, verbose=False) == records
    assert [sorted(os.listdir(Path(record.workdir) / "checkpoints")) for record in records] == checkpoints
    monkeypatch.setattr("jaxcnn.runs.launch.run_group", lambda *_, **__: pytest.fail("a finished point ran again"))
    assert sweep.run(experiments, tmp_path, plots=True, verbose=False) == records
    assert all("learning_curves.png" in each for each in names())
    assert sweep.run(experiments, tmp_path, keep="last", verbose=False) == records
    assert [os.listdir(Path(record.workdir) / "checkpoints") for record in records] == [["8"], ["8"]]
    assert sweep.run(experiments, tmp_path, keep="results", verbose=False) == records
    assert not any("checkpoints" in each for each in names())


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written: Not a directory\. Give another"):
        sweep.run(RATES, tmp_path / "file" / "sweep", verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiments": BASE}, "experiments is Experiment; it must be a list of Experiment"),
        ({"experiments": 3}, "experiments is int; it must be a list"),
        ({"folder": 3}, "workdir is 3; it must be the path of a folder"),
        ({"shard": 3}, "shard is 3; it must be I/N"),
        ({"keep": 3}, "keep is 3; it must be one of all, last, results"),
        ({"vectorize": 3}, "vectorize is 3"),
        ({"config_file": 3}, "config_file is 3; it must be the path of a file"),
    ],
)
def test_wrong_types_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        sweep.run(**{"experiments": RATES, "folder": tmp_path / "sweep", "verbose": False} | options)
    assert not (tmp_path / "sweep").exists()


def test_an_error_of_a_file_is_a_reason_without_a_traceback(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise SaveError("workdir a can no longer be written: no space")

    monkeypatch.setattr("jaxcnn.sweep.work.train", fail)
    (record,) = sweep.run([BASE], tmp_path, verbose=False)
    assert (record.status, record.reason) == ("failed", "workdir a can no longer be written: no space")


def test_a_worker_records_the_command_of_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcnn.sweep.work.train", lambda *_, **__: Results({}, len(software()["command"]), 0.1, "a"))
    workdir = str(points_of([BASE], tmp_path)[0].workdir)
    (outcome,) = work_on_json([to_json(BASE)], [workdir], Options(command=("python", "launch.py", "--jobs=2")))
    assert outcome.results.steps == 3
