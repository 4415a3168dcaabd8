"""Readings of the probes while a run trains: probes.npz, TensorBoard, resumption, members."""

import contextlib
import io
import json
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

import jaxcnn
from jaxcnn import Hook, InputError, Probes
from jaxcnn.config import load_config, override, run_id
from jaxcnn.probes import EDGES, Instruments, read_history
from jaxcnn.runs.members import train_members
from jaxcnn.runs.plan import make_plan

PLAIN = override(load_config(Path(__file__).parents[1] / "tiny.py"), {"epochs": 3, "checkpoint_every": 1})
TINY = override(PLAIN, {"probes.every": 5, "probes.instruments": ("gradients", "ics")})
STEPS = [0, 5, 10]  # Of 12 updates.


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The folder of a run, and what it printed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as text:
        jaxcnn.train(TINY, workdir)
    return workdir, text.getvalue()


@pytest.fixture(scope="module")
def whole(printed):
    return printed[0]


def readings(workdir):
    return read_history(workdir / "probes.npz")


def assert_equal(found, expected, **tolerance):
    assert list(found.steps) == list(expected.steps) and found.settings == expected.settings
    others = dict(jax.tree.leaves_with_path(found.readings))
    for path, value in jax.tree.leaves_with_path(expected.readings):
        compare = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
        compare(others.pop(path), value, err_msg=jax.tree_util.keystr(path), **tolerance)
    assert not others


def test_readings_are_made_before_the_first_update_and_then_at_the_interval(whole):
    found = readings(whole)
    assert list(found.steps) == STEPS
    assert found.settings["instruments"] == ["gradients", "ics"]
    assert list(found.readings["gradients"]) == ["conv", "norm", "output"]
    plan = make_plan(TINY)
    batch = next(jaxcnn.data.train_batches(plan.dataset.train, 16, seed=TINY.seed, sharding=plan.batch_sharding))
    *_, (_, (expected,)) = plan.programs.train_step(
        plan.initial_state(), batch, plan.colors, readings=(Instruments(TINY.probes),)
    )
    std = found.readings["gradients"]["conv"]["gradients"]["std"]
    assert std[0] == pytest.approx(float(expected["gradients"]["conv"]["gradients"]["std"]), rel=1e-5)
    assert np.all(std > 0) and np.all(found.readings["ics"]["layers"]["conv"]["difference"] == 0)
    assert np.all(found.readings["ics"]["layers"]["output"]["difference"] > 0)


def test_probes_are_no_part_of_a_runs_identity():
    assert run_id(TINY) == run_id(PLAIN)


def test_without_probes_there_is_one_program_and_no_file(tmp_path, capsys):
    jaxcnn.train(override(PLAIN, {"epochs": 1}), tmp_path / "run")
    assert capsys.readouterr().out.count("compiled the training step") == 1
    assert not list((tmp_path / "run").rglob("*probes*"))


def events(workdir):
    """Yield the events of the probes in TensorBoard's format: length, its checksum, data, its checksum."""
    for path in sorted((workdir / "tensorboard" / "probes").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event()
            event.ParseFromString(data[12 : 12 + length])
            yield event
            data = data[16 + length :]


def test_tensorboard_has_histograms_and_numbers(whole):
    found = readings(whole).readings
    summaries = [(event.step, value) for event in events(whole) for value in event.summary.value]
    assert sorted({step for step, _ in summaries}) == STEPS
    first = {value.tag: value for step, value in summaries if step == 0}
    cosine = first["ics/layers/output/cosine"].simple_value
    assert cosine == pytest.approx(found["ics"]["layers"]["output"]["cosine"][0], rel=1e-6)
    histogram, expected = first["gradients/conv/gradients"].histo, found["gradients"]["conv"]["gradients"]
    counts, limits = np.array(histogram.bucket), np.array(histogram.bucket_limit)
    assert len(counts) == len(limits) and counts[0] == 0 and counts.sum() == histogram.num
    places = np.searchsorted(EDGES, limits)
    np.testing.assert_array_equal(EDGES[places], limits)
    np.testing.assert_array_equal(counts[1:], expected["histogram"][0][places[1:] - 1])
    assert histogram.num == expected["histogram"][0].sum()
    assert histogram.sum_squares / histogram.num == pytest.approx(
        expected["std"][0] ** 2 + expected["mean"][0] ** 2, rel=1e-5
    )
    ratio = found["gradients"]["conv"]["parameters"]["kernel"]["update_ratio"][0]
    assert first["gradients/conv/parameters/kernel/update_ratio"].simple_value == pytest.approx(ratio, rel=1e-6)


class Stops(Hook):
    def __init__(self, step):
        self.step = step

    def on_step(self, run, step, sums, readings):
        if step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [7, *(pytest.param(step, marks=pytest.mark.slow) for step in (3, 11))])
def test_a_stopped_run_ends_with_the_readings_of_one_that_was_not(stop, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(TINY, tmp_path / "run", hooks=[Stops(stop)], verbose=False)
    jaxcnn.train(TINY, tmp_path / "run", verbose=False)
    assert_equal(readings(tmp_path / "run"), readings(whole))
    assert (
        json.loads((tmp_path / "run" / "results.json").read_text())["test"]
        == (json.loads((whole / "results.json").read_text())["test"])
    )


@pytest.mark.slow
def test_probes_may_be_turned_off_and_on_when_a_run_resumes(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(TINY, tmp_path / "run", hooks=[Stops(6)], verbose=False)
    jaxcnn.train(override(TINY, {"probes.every": 11}), tmp_path / "run", verbose=False)
    assert list(readings(tmp_path / "run").steps) == [0, 11]


@pytest.mark.slow
def test_a_run_that_keeps_only_results_keeps_its_readings(whole, tmp_path):
    jaxcnn.train(TINY, tmp_path / "run", keep="results", verbose=False)
    assert_equal(readings(tmp_path / "run"), readings(whole))
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.slow
def test_members_have_the_readings_of_lone_runs(whole, tmp_path):
    other = override(TINY, {"seed": 7, "optimizer.learning_rate": 0.05})
    jaxcnn.train(other, tmp_path / "alone", verbose=False)
    folders = [tmp_path / "a", tmp_path / "b"]
    train_members([TINY, other], folders, verbose=False)
    for folder, expected in zip(folders, (whole, tmp_path / "alone"), strict=True):
        found, lone = readings(folder), readings(expected)
        for layer in ("conv", "norm", "output"):
            for what in ("activations", "gradients"):
                np.testing.assert_allclose(
                    found.readings["gradients"][layer][what]["std"],
                    lone.readings["gradients"][layer][what]["std"],
                    rtol=1e-2,
                )


@pytest.mark.parametrize(
    ("probes", "words"),
    [
        ({"every": 0}, "Probes.every is 0; it must be an integer > 0 or None."),
        ({"every": 5, "instruments": ()}, "Probes.instruments is empty; name at least one"),
        ({"every": 5, "instruments": ("gradient",)}, "Probes.instruments is ('gradient',); it must be a tuple"),
        ({"every": 5, "activations": ("conv",)}, "Probes.activations has 'conv'; write LAYER=FUNCTION"),
        ({"every": 5, "activations": ("con=relu",)}, "activations has 'con', which is no layer. Did you mean 'conv'?"),
        ({"every": 5, "layers": ("cnv",)}, "layers has 'cnv', which matches no layer. Did you mean 'conv'?"),
        ({"every": 5, "instruments": ("lags",)}, "the network has no flax.linen.RNN, so that it has no time lags."),
    ],
)
def test_probes_that_do_not_fit_are_refused_before_anything_is_written(probes, words, tmp_path):
    with pytest.raises(InputError) as error:
        jaxcnn.train(override(PLAIN, {"probes": Probes(**probes)}), tmp_path / "run", verbose=False)
    assert str(error.value).startswith(words) and not (tmp_path / "run").exists()


def test_readings_of_other_settings_are_not_mixed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(TINY, tmp_path / "run", hooks=[Stops(6)], verbose=False)
    with pytest.raises(InputError, match=r"has readings with other settings than probes now; use the same, or move"):
        jaxcnn.train(override(TINY, {"probes.layers": ("conv",)}), tmp_path / "run", verbose=False)
    (tmp_path / "run" / "probes.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"probes\.npz cannot be read as readings of probes: "):
        jaxcnn.train(TINY, tmp_path / "run", verbose=False)


def test_the_price_of_further_gradients_is_printed_once(printed):
    lines = [line for line in printed[1].splitlines() if "the probes" in line]
    assert lines == ["a reading of the probes takes further gradients: ics 3; about 60% more time per step"]
    assert f"{printed[0]}/probes.npz: the readings, for jaxcnn.probes.read_history" in printed[1]
