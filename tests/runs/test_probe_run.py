"""Training with probes in memory: the same readings as those of a run, from the start or from its checkpoint."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import InputError
from jaxcnn.config import load_config, override
from jaxcnn.models import PlainNet
from jaxcnn.probes import read_history
from jaxcnn.runs.probe_run import probe_run
from jaxcnn.training.non_finite import NonFinite

# One epoch has 4 updates. The learning rate is constant, so that it does not depend on the length of a run.
CHANGES = {"optimizer.schedule.name": "constant", "probes.every": 2}
TINY = override(load_config(Path(__file__).parents[1] / "tiny.py"), CHANGES)


def digests(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def assert_same(record, history, at):
    places = [list(history.steps).index(step) for step in record.steps]
    assert list(record.steps) == at
    expected = dict(jax.tree.leaves_with_path(history.readings))
    for path, value in jax.tree.leaves_with_path(record.history.readings):
        np.testing.assert_allclose(value, expected[path][places], rtol=2e-4, atol=1e-6, err_msg=str(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 12 updates with readings, and with a checkpoint of step 4 as well as of step 8."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    jaxcnn.train(override(TINY, {"epochs": 3, "checkpoint_every": 1}), workdir, verbose=False)
    return workdir


@pytest.fixture(scope="module")
def history(run):
    return read_history(run / "probes.npz")


@pytest.mark.slow
def test_the_last_reading_is_of_the_weights_at_the_end():
    record = probe_run(TINY, steps=5, verbose=False)
    # Those after the fifth update are of an odd step, at which the run has none.
    assert list(record.steps) == [0, 2, 4, 5] and len(record.losses) == 6


def test_readings_are_those_of_a_run_of_the_same_experiment(history):
    record = probe_run(TINY, steps=4, verbose=False)
    assert_same(record, history, [0, 2, 4])
    assert record.diverged is None and record.images == 16
    assert record.units["conv"] == 4 * 4 * 4 and record.units["output"] == 4


@pytest.mark.slow
def test_a_run_is_continued_from_its_newest_checkpoint_and_not_changed(run):
    before = digests(run)
    record = probe_run(TINY, steps=4, run=run, verbose=False)
    longer = run.parent / "longer"
    jaxcnn.train(override(TINY, {"epochs": 5}), longer, verbose=False)
    assert_same(record, read_history(longer / "probes.npz"), [12, 14, 16])
    assert digests(run) == before


def test_other_numbers_of_the_optimizer_hold_from_the_checkpoint_on(run):
    slow = override(TINY, {"optimizer.learning_rate": 1e-6, "optimizer.momentum": 0.0})
    moved = probe_run(slow, steps=1, run=run, verbose=False).update_ratios()["conv"]
    assert moved[0] < 1e-4 < probe_run(TINY, steps=1, run=run, verbose=False).update_ratios()["conv"][0]


def test_damaged_checkpoints_are_left_where_they_are(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints" / "12").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    before = digests(copy)
    assert probe_run(TINY, steps=1, run=copy, verbose=False).steps[0] == 8
    assert digests(copy) == before


def test_a_run_without_a_checkpoint_says_so(run, tmp_path):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"has no checkpoint to continue from\. Give a run with one"):
        probe_run(TINY, steps=1, run=tmp_path, verbose=False)


def test_training_that_diverges_keeps_its_readings_and_says_when():
    wild = override(TINY, {"optimizer.learning_rate": 1e30, "probes.every": 1})
    record = probe_run(wild, steps=20, verbose=False)
    assert record.diverged is not None and "of step" in record.diverged and len(record.steps) < 20


@pytest.mark.slow
def test_a_first_loss_that_is_not_finite_is_an_error():
    wild = PlainNet(depth=3, width=4, kind="dense", norm="none", kernel_init=1e30, num_classes=4)
    with pytest.raises(NonFinite, match="the loss of step 1 is"):
        probe_run(dataclasses.replace(TINY, model=wild), steps=1, verbose=False)
