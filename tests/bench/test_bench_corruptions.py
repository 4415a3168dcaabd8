"""The speed of the corruptions against their plain form."""

import numpy as np
import pytest

from jaxcnn.bench import corruptions
from jaxcnn.bench.corruptions import Corruptions, measure
from jaxcnn.bench.plain_corruptions import PLAIN, Draws, corrupt
from jaxcnn.cli import bench as command
from jaxcnn.config import from_json, to_json

JOB = Corruptions((28, 28, 1), 256, 3.0)


def test_ratios_by_hand(monkeypatch):
    calls = []

    def form(which, times):
        def made(name, images):
            assert images.shape == (256, 28, 28, 1) and images.dtype == np.float32

            def run(severity, seconds):
                calls.append((which, name, severity, seconds))
                return times[name] * severity

            return run

        return made

    monkeypatch.setattr(corruptions, "CORRUPTIONS", dict.fromkeys(("fog", "snow", "rotate")))
    monkeypatch.setattr(corruptions, "_ours", form("jaxcnn", {"fog": 1.0, "snow": 2.0, "rotate": 5.0}))
    monkeypatch.setattr(corruptions, "_plain", form("plain", {"fog": 4.0, "snow": 20.0, "rotate": 2.5}))
    found = measure(JOB)
    assert [call[2] for call in calls[:20:2]] == [1, 2, 3, 4, 5] * 2 and len(calls) == 60
    assert calls[0] == ("jaxcnn", "fog", 1, pytest.approx(0.1)) and calls[1][:2] == ("plain", "fog")
    assert found["milliseconds"]["snow"] == {"jaxcnn": 6.0, "plain": 60.0}
    assert {name: each["median"] for name, each in found["ratios"].items()} == {"fog": 4.0, "snow": 10.0, "rotate": 0.5}
    # The whole family: 12 + 60 + 7.5 milliseconds against 3 + 6 + 15.
    assert found["total"] == pytest.approx(79.5 / 24)


def test_the_job_is_sent_as_json():
    assert from_json(to_json(JOB)) == JOB


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_plain_forms_draw_from_a_generator(shape):
    image = np.random.default_rng(0).random(shape)
    for name in PLAIN:
        found = corrupt(name, image, 5, Draws(np.random.PCG64(0)))
        assert found.shape == shape and np.isfinite(found).all() and np.abs(found - image).mean() > 1e-3


def test_draws_are_uniform():
    draws = Draws(np.random.PCG64(0))
    assert {tuple(draws.move(0, 0, 0, 1)) for _ in range(50)} == {(-1, -1), (-1, 0), (0, -1), (0, 0)}
    assert 400 < sum(draws.coin(0, 0, 0) for _ in range(1000)) < 600
    assert sorted({draws.sign() for _ in range(50)}) == [-1, 1]


@pytest.mark.slow
def test_a_few_images_are_measured_in_a_process_of_its_own():
    found = command._corrupted(2, 0.1, 1)
    assert found["case"] == "MNIST" and found["image"] == [28, 28, 1] and "error" not in found
    assert [*found["milliseconds"]] == [*PLAIN] and found["total"] > 0
