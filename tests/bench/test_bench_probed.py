"""The price of the probes: a step with and without them."""

import pytest

from jaxcnn.bench import probed
from jaxcnn.bench.cases import CASES, Case
from jaxcnn.bench.probed import Probed, measure
from jaxcnn.cli import bench as command
from jaxcnn.config import from_json, to_json
from jaxcnn.models import LeNet5


def test_ratios_by_hand(monkeypatch):
    calls = []

    def program(job, options):
        name, times = ("probed", iter([12.0, 30.0] * 10)) if options else ("plain", iter([10.0, 20.0] * 10))

        def run(seconds):
            calls.append((name, seconds))
            return next(times)

        return run, {"plain": 1.0, "probed": 4.0}[name]

    monkeypatch.setattr(probed, "_program", program)
    found = measure(Probed.of(CASES["lenet5"], 2.0))
    assert calls[:4] == [("plain", 0.1), ("probed", 0.1)] * 2 and len(calls) == 40
    assert found["milliseconds"] == {"plain": 15.0, "probed": 21.0}
    assert found["ratio"]["median"] == pytest.approx(1.35) and found["compile_seconds"] == {"plain": 1.0, "probed": 4.0}


def test_the_measured_networks_are_those_of_the_promise():
    assert [(case.name, case.batch_size, case.shape) for case in command.PROBED] == [
        ("lenet5", 256, (32, 32, 1)),
        ("vgg_d_bn_32", 32, (32, 32, 3)),
    ]
    job = Probed.of(command.PROBED[1], 1.0)
    assert from_json(to_json(job)) == job


@pytest.mark.slow
def test_a_small_network_is_measured_in_a_process_of_its_own():
    found = command._probed(Case("lenet5", LeNet5(), (32, 32, 1), 2), 0.5, 1)
    low, high = found["ratio"]["quartiles"]
    assert 1 < low <= found["ratio"]["median"] <= high and min(found["milliseconds"].values()) > 0
    assert found["case"] == "lenet5" and found["image"] == [32, 32, 1] and "error" not in found
