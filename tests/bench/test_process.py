"""Processes are pinned, sleep between questions, and end when they are done."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from jaxcnn.bench.job import Job
from jaxcnn.bench.process import WorkerError, end, last_words, spawn, usable_cpus, working
from jaxcnn.layers import Conv, Dense, Flatten
from jaxcnn.models import Chain

NET = Chain((Conv(2, name="conv"), Flatten(name="flatten"), Dense(3, name="fc")))


def cpu_seconds(pid):
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def thread_names(pid):
    names = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # The thread has ended.
            names.append((task / "comm").read_text().strip())
    return names


@pytest.mark.slow
def test_a_worker_has_its_cpus_sleeps_and_reports_its_death(monkeypatch):
    # XLA would create at least one thread for each of the eight devices of these tests.
    monkeypatch.delenv("XLA_FLAGS")
    job = Job("jaxcnn", NET, (6, 6, 1), 4, "forward", threads=1)
    with working(job, 1) as worker:
        facts = worker.start()
        pid = worker.process.pid
        assert facts["platform"] == "cpu" and facts["compile_seconds"] > 0
        assert facts["first_step_seconds"] > facts["compile_seconds"]
        answer = worker.ask({"run": 0.02})
        assert sum(answer["milliseconds"]) >= 20 and answer["memory_bytes"] > 50e6
        assert len(worker.ask({"run": 0})["milliseconds"]) == 1
        # XLA sizes its thread pool by the CPUs of its process.
        assert len(os.sched_getaffinity(pid)) == 1
        assert thread_names(pid).count("tf_XLAEigen") == 1
        assert os.getpgid(pid) == pid != os.getpgid(0)
        time.sleep(0.2)
        before = cpu_seconds(pid)
        time.sleep(0.3)
        assert cpu_seconds(pid) == before
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"^killed by SIGKILL, perhaps out of memory"):
            worker.ask({"run": 1})
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('one'); sys.exit('no such thing')", "exit status 1: no such thing"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, perhaps out of memory"),
    ],
)
def test_last_words(code, words):
    with tempfile.TemporaryFile() as log:
        process = spawn(["-c", code], 1, os.environ, stdout=log, stderr=log)
        assert last_words(process, log) == words


def test_the_children_of_a_process_end_with_it():
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    process = spawn(["-c", code], len(usable_cpus()), os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    end(process)
    end(process)
    for _ in range(100):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "Z (zombie)" in status.read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the child of the process still runs")
