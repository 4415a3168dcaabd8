"""Sweeps with executors of other libraries: a worker that dies costs its point only, and a signal stops all of them."""

import contextlib
import dataclasses
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import InputError, load_config, sweep
from jaxcnn.config import run_id
from jaxcnn.runs.metrics import read_rows
from jaxcnn.sweep.work import Options, work_on_json

submitit = pytest.importorskip("submitit", reason="submitit is the `slurm` extra")
psutil = pytest.importorskip("psutil")
distributed = pytest.importorskip("distributed", reason="distributed is the `dask` extra")

ROOT = Path(__file__).parents[2]
BASE = load_config(ROOT / "tests" / "tiny.py")
POINTS = sweep.grid(jaxcnn.override(BASE, {"epochs": 2}), {"seed": [0, 1, 2]})
# A point that trains for long enough to be killed, and short ones after it.
LONG = [jaxcnn.override(BASE, {"epochs": 40, "seed": 7}), *POINTS[:2]]


@contextlib.contextmanager
def processes(folder):
    with sweep.Processes(2) as executor:
        yield executor


@contextlib.contextmanager
def pool(folder):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        yield executor


@contextlib.contextmanager
def slurm(folder):
    executor = submitit.LocalExecutor(folder / "jobs")
    executor.update_parameters(timeout_min=10)
    yield executor


@contextlib.contextmanager
def dask(folder):
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(folder)}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


EXECUTORS = [processes, pool, slurm, dask]


def rows(record):
    path = Path(record.workdir) / "metrics.jsonl"
    return [{key: value for key, value in row.items() if key != "time"} for row in read_rows(path)]


def check_same(records, others):
    """Check that records are equal up to rounding, which depends on the number of cores."""
    assert [r.status for r in records] == ["finished"] * len(others)
    for record, other in zip(records, others, strict=True):
        assert record.results.test == pytest.approx(other.results.test, rel=1e-4)
        for row, expected in zip(rows(record), rows(other), strict=True):
            assert row.pop("split") == expected.pop("split") and row == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return the records of the points in this process."""
    return sweep.run([*POINTS, LONG[0]], tmp_path_factory.mktemp("here"), verbose=False)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(4)(x.reshape(len(x), -1))


# Submitit does not close its log files.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO .*DEBUG_:pytest.PytestUnraisableExceptionWarning")
def test_points_run_in_submitits_debug_executor(tmp_path):
    point = jaxcnn.override(dataclasses.replace(BASE, model=Linear()), {"epochs": 1})
    (found,) = sweep.run([point], tmp_path / "a", executor=submitit.DebugExecutor(tmp_path / "jobs"), verbose=False)
    (alone,) = sweep.run([point], tmp_path / "b", verbose=False)
    assert found.status == "finished" and found.results.test == alone.results.test
    gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_points_in_workers_equal_those_in_this_process(tmp_path, here, executor):
    with executor(tmp_path) as workers:
        records = sweep.run(POINTS, tmp_path / "sweep", executor=workers, verbose=False)
    check_same(records, here[:3])


def owner(folder, seconds=120):
    """Return the process that runs the long point, once it has saved a checkpoint, and the first row of its metrics."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.02)
        with contextlib.suppress(OSError, ValueError, StopIteration):
            point = next(folder.glob(f"*-{run_id(LONG[0])}"))
            saved = [step for step in (point / "checkpoints").iterdir() if step.name.isdigit()]
            process = json.loads((point / ".owner.json").read_text())["pid"]
            if saved:
                return process, read_rows(point / "metrics.jsonl")[0]
    raise TimeoutError(f"no point in {folder} has an owner and a checkpoint after {seconds} s")


def check_resumed(record, first_row):
    """Check that a point was continued: one that was started again would have new times in its first row."""
    assert read_rows(Path(record.workdir) / "metrics.jsonl")[0] == first_row
    assert json.loads((Path(record.workdir) / "provenance.json").read_text())["earlier"]


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_worker_that_is_killed_costs_its_point_only_and_the_next_call_resumes_it(
    tmp_path, here, executor, monkeypatch
):
    monkeypatch.setattr(submitit.core.core.Job, "_results_timeout_s", 0.1)
    folder, found = tmp_path / "sweep", []

    def kill():
        found.extend(owner(folder))
        os.kill(found[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with executor(tmp_path) as workers:
        records = sweep.run(LONG, folder, executor=workers, verbose=False)
    thread.join()
    reason = {
        processes: "its worker died (killed by SIGKILL, perhaps because memory ran out); the same command continues it",
        pool: "a worker died, perhaps at another point, and the whole pool with it (unlike sweep.Processes); the same ",
        slurm: "its worker failed (UncompletedJobError: Job ",
    }
    if executor is dask:  # It tries a task again on another worker, which continues the point.
        check_resumed(records[0], found[1])
    else:
        assert records[0].status == "failed" and records[0].reason.startswith(reason[executor])
    if executor is not pool:
        check_same(records[1:], here[:2])
    again = sweep.run(LONG, folder, verbose=False)
    check_resumed(again[0], found[1])
    check_same(again, [here[3], *here[:2]])


DRIVER = """
import signal, sys
from pathlib import Path

from jaxcnn import Preempted, sweep
from tests.sweep import test_executors

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name, folder = sys.argv[1], Path(sys.argv[2])
    try:
        with getattr(test_executors, name)(folder) as workers:
            sweep.run(test_executors.LONG, folder / "sweep", executor=workers)
    except Preempted as stop:
        print(stop)
        sys.exit(75)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "number"),
    # Only the process of the sweep handles the signal, so one executor is enough for Ctrl-C.
    [*((executor, signal.SIGTERM) for executor in EXECUTORS), (EXECUTORS[0], signal.SIGINT)],
)
def test_a_signal_ends_the_sweep_and_its_workers_and_the_next_call_continues(tmp_path, here, executor, number):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), executor.__name__, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        worker, first_row = owner(tmp_path / "sweep")
        begun = time.monotonic()
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command continues" in output
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(worker).wait(timeout=20)
    assert time.monotonic() - begun < 30
    records = sweep.run(LONG, tmp_path / "sweep", verbose=False)
    check_resumed(records[0], first_row)
    check_same(records, [here[3], *here[:2]])


@pytest.mark.slow
def test_a_job_of_submitit_at_its_time_limit_is_queued_again_and_continues(tmp_path, here):
    found = []

    def limit():
        found.extend(owner(tmp_path / "sweep"))
        os.kill(found[0], signal.SIGUSR2)  # SLURM sends it before the limit.

    thread = threading.Thread(target=limit, daemon=True)
    thread.start()
    with slurm(tmp_path) as executor:
        records = sweep.run(LONG[:1], tmp_path / "sweep", executor=executor, verbose=False)
    thread.join()
    check_resumed(records[0], found[1])
    check_same(records, here[3:])


def test_submitit_queues_the_same_call_again():
    arguments = ([{}], ["folder"], Options())
    again = submitit.core.utils.DelayedSubmission(work_on_json, *arguments)._checkpoint_function()
    assert (again.function, again.args) == (work_on_json, arguments)


def slurm_without_sbatch(tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda *_: 2)
    monkeypatch.setenv("PATH", str(tmp_path))
    return submitit.SlurmExecutor(tmp_path / "jobs")


def dask_closed(tmp_path, monkeypatch):
    options = {"n_workers": 1, "processes": False, "dashboard_address": None, "local_directory": str(tmp_path)}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        return client.get_executor()


def pool_shut_down(tmp_path, monkeypatch):
    with pool(tmp_path) as executor:
        return executor


def processes_shut_down(tmp_path, monkeypatch):
    with processes(tmp_path) as executor:
        return executor


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (slurm_without_sbatch, r"executor SlurmExecutor cannot start: FileNotFoundError: .*sbatch"),
        (dask_closed, "executor ClientExecutor cannot start: its client is closed. Give another one, or None"),
        (pool_shut_down, "executor ProcessPoolExecutor cannot start: RuntimeError: cannot schedule new futures"),
        (processes_shut_down, "executor Processes cannot start: cannot schedule new futures after shutdown. Give"),
    ],
)
def test_executors_that_cannot_start(tmp_path, monkeypatch, make, message):
    executor = make(tmp_path, monkeypatch)
    with pytest.raises(InputError, match=message):
        sweep.run(POINTS, tmp_path / "sweep", executor=executor, verbose=False)
    assert not (tmp_path / "sweep").exists()
