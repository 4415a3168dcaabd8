"""Libraries alternate; if one fails, the others are still reported."""

import contextlib

import pytest

from jaxcnn.bench import comparison
from jaxcnn.bench.cases import Case
from jaxcnn.bench.comparison import compare
from jaxcnn.bench.process import WorkerError
from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten
from jaxcnn.models import Chain

NET = Chain((Conv(2, name="conv"), BatchNorm(name="norm"), Flatten(name="flatten"), Dropout(name="drop"),
             Dense(3, name="fc")))  # fmt: skip
CASE = Case("tiny", NET, (6, 6, 1), 4)


@pytest.mark.slow
def test_training_of_a_tiny_network_against_plain_flax(monkeypatch):
    # The eight devices of these tests would share the one thread.
    monkeypatch.delenv("XLA_FLAGS")
    found = compare(CASE, "train", ("jaxcnn", "flax"), seconds=0.1, threads=1)
    assert found["errors"] == {}
    assert {k: found[k] for k in ("case", "mode", "dtype", "batch_size", "image")} == {
        "case": "tiny", "mode": "train", "dtype": "float32", "batch_size": 4, "image": [6, 6, 1],
    }  # fmt: skip
    assert list(found["variants"]) == ["jaxcnn", "flax"]
    for variant in found["variants"].values():
        low, high = variant["quartiles"]
        assert 0 < low <= variant["milliseconds"] <= high
        assert variant["steps"] > 1 and variant["compile_seconds"] > 0
        assert len(variant["round_peak_gflops"]) == len(variant["round_milliseconds"]) > 1
        assert min(variant["round_peak_gflops"]) > 1
        assert variant["gflops"] * variant["milliseconds"] == pytest.approx(1e3 * found["gflop"])
        assert variant["temporary_bytes"] is not None and variant["peak_memory_bytes"] > 50e6
    ours, peer = found["variants"].values()
    shared = min(len(variant["round_milliseconds"]) for variant in (ours, peer))
    assert ours["round_peak_gflops"][:shared] == peer["round_peak_gflops"][:shared]
    low, high = found["ratios"]["flax"]["quartiles"]
    assert low <= found["ratios"]["flax"]["ratio"] <= high


class Scripted:
    """A worker whose steps take a given time, until it dies."""

    def __init__(self, log, name, milliseconds, dies_at):
        self.log, self.name, self.milliseconds, self.left = log, name, milliseconds, dies_at

    def start(self):
        self._live()
        return {"platform": "gpu", "compile_seconds": 1.0, "first_step_seconds": 2.0}

    def ask(self, question):
        self._live()
        if "peak" in question:
            self.log.append("peak")
            return {"peak_gflops": float(self.log.count("peak"))}
        self.log.append(self.name)
        steps = max(1, round(1e3 * question["run"] / self.milliseconds))
        return {"milliseconds": [self.milliseconds] * steps, "memory_bytes": 1}

    def _live(self):
        if self.left == 0:
            raise WorkerError("killed by SIGKILL")
        self.left -= 1


def scripted(monkeypatch, workers):
    """Call compare() with these workers: by library, milliseconds per step and questions until it dies (-1: never)."""
    log, ended, platforms = [], [], {}

    @contextlib.contextmanager
    def working(job, threads):
        platforms[job.library] = job.platform
        yield Scripted(log, job.library, *workers[job.library])
        ended.append(job.library)

    monkeypatch.setattr(comparison, "working", working)
    found = compare(CASE, "forward", list(workers), seconds=2.0, threads=1)
    assert sorted(ended) == sorted(workers)
    return found, log, platforms


def test_rounds_alternate_until_each_library_has_its_time(monkeypatch):
    found, log, platforms = scripted(monkeypatch, {"jaxcnn": (10.0, -1), "torch": (900.0, -1)})
    # The first round warms up. A step of torch is longer than a round, so torch finishes first. A round has a peak.
    assert log == ["jaxcnn", "torch"] + ["jaxcnn", "torch", "peak"] * 3 + ["jaxcnn", "peak"] * 17
    assert found["variants"]["torch"]["round_peak_gflops"] == [1.0, 2.0, 3.0]
    assert found["variants"]["jaxcnn"]["round_peak_gflops"] == [float(n) for n in range(1, 21)]
    assert {name: v["steps"] for name, v in found["variants"].items()} == {"jaxcnn": 200, "torch": 3}
    assert found["ratios"] == {"torch": {"ratio": 90.0, "quartiles": [90.0, 90.0], "rounds": 3}}
    assert platforms == {"jaxcnn": "cpu", "torch": "gpu"}


@pytest.mark.parametrize("dies_at", [0, 1, 5, 21])
def test_a_worker_that_dies_is_an_error_and_the_others_are_reported(monkeypatch, dies_at):
    found, _, _ = scripted(monkeypatch, {"jaxcnn": (100.0, -1), "flax": (100.0, dies_at), "torch": (200.0, -1)})
    assert found["errors"] == {"flax": "killed by SIGKILL"}
    assert list(found["variants"]) == ["jaxcnn", "torch"]
    assert found["ratios"]["torch"]["ratio"] == 2.0


def test_if_a_worker_dies_in_the_matrix_product_the_next_one_measures_the_peak(monkeypatch):
    found, log, _ = scripted(monkeypatch, {"jaxcnn": (100.0, 3), "torch": (200.0, -1)})
    assert found["errors"] == {"jaxcnn": "killed by SIGKILL"} and log.count("peak") == 10
    assert found["variants"]["torch"]["round_peak_gflops"] == [float(n) for n in range(1, 11)]


def test_without_ours_there_is_no_ratio(monkeypatch):
    found, _, _ = scripted(monkeypatch, {"jaxcnn": (1.0, 0), "torch": (1.0, -1)})
    assert found["ratios"] == {} and list(found["variants"]) == ["torch"]
