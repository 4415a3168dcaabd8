import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from jaxcnn import InputError
from jaxcnn.sweep import processes
from jaxcnn.sweep.processes import Processes


def cores():
    return sorted(os.sched_getaffinity(0))


def test_a_worker_that_dies_costs_its_own_task_and_is_replaced():
    """Two workers share the cores; the future of a task whose worker dies says so, and further tasks run."""
    with Processes(2) as executor:
        first = [executor.submit(cores) for _ in range(2)]
        dead = executor.submit(os._exit, 9)
        with pytest.raises(BrokenProcessPool):
            dead.result()
        later = [executor.submit(cores) for _ in range(2)]
        found = [future.result() for future in (*first, *later)]
    every = cores()
    assert all(set(each) <= set(every) for each in found)
    assert len(every) == 1 or all(len(each) < len(every) for each in found)


@pytest.mark.parametrize("jobs", [1, 2, 3, 8])
def test_workers_share_the_cores(monkeypatch, jobs):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5}, raising=False)
    parts = processes._cores(jobs)
    assert len(parts) == jobs and all(parts)
    assert {core for part in parts for core in part} == {0, 1, 4, 5}
    assert sum(map(len, parts)) == max(4, jobs)


@pytest.mark.parametrize(
    ("visible", "jobs", "expected"),
    [
        ("", 2, [{}, {}]),
        ("3", 1, [{"CUDA_VISIBLE_DEVICES": "3"}]),
        ("0", 2, [{"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}] * 2),
        ("0,1", 2, [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        ("0,1,2,3", 2, [{"CUDA_VISIBLE_DEVICES": "0,2"}, {"CUDA_VISIBLE_DEVICES": "1,3"}]),
    ],
)
def test_workers_share_the_gpus(monkeypatch, visible, jobs, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert processes._variables(jobs) == expected


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2"])
def test_numbers_of_jobs_that_are_refused(jobs):
    with pytest.raises(InputError, match=r"jobs is .*; it must be an integer > 0"):
        Processes(jobs)


PARENT = """
import os, time
from jaxcnn.sweep.processes import Processes
if __name__ == "__main__":
    executor = Processes(1)
    print(executor.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _runs(worker):
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
