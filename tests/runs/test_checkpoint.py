"""Checkpoints are restored bit for bit, the latest and the best are kept, and a failed save raises."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.config import Optimizer
from jaxcnn.runs import checkpoint
from jaxcnn.runs.checkpoint import Checkpoints, SaveError
from jaxcnn.runtime.errors import InputError
from tests.runs.checkpoints import LOOP_STATE, abstract, bits, make_state, restore, write

# After a failed save, orbax raises errors in its threads and in destructors.
pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
    ),
]


def test_a_state_is_restored_bit_for_bit(saved):
    state, loop_state, lines = restore(saved)
    assert bits(state) == bits(make_state(2))
    assert loop_state == LOOP_STATE and lines == []


def test_variables_are_restored_bit_for_bit_without_a_template(saved):
    step, variables = checkpoint.restore_variables(saved)
    assert step == 2 and all(isinstance(x, np.ndarray) for x in jax.tree.leaves(variables))
    assert bits(variables) == bits(make_state(2).variables)


def test_no_checkpoint_is_none_for_a_state_and_an_error_for_variables(tmp_path):
    assert restore(tmp_path / "checkpoints") == (None, None, [])
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        checkpoint.restore_variables(tmp_path / "checkpoints")


def test_eight_devices_to_one_and_back(tmp_path):
    eight = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec())
    one = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec())
    state = make_state(1)
    for name, before, after in (("down", eight, one), ("up", one, eight)):
        with Checkpoints(tmp_path / name) as checkpoints:
            checkpoints.save(jax.device_put(state, before), loop_state={}, accuracies={})
        restored, _, _ = restore(tmp_path / name, abstract(state, after))
        assert bits(restored) == bits(state)
        assert {x.sharding for x in jax.tree.leaves(restored)} == {after}


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ({}, [4, 5]),
        ({1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6, 5: 0.5}, [1, 4, 5]),
        ({1: 0.5, 2: 0.6, 3: 0.6, 4: 0.1, 5: 0.2}, [3, 4, 5]),
    ],
    ids=["never evaluated", "worse at every save", "the newest of equals"],
)
def test_the_latest_two_and_the_best_are_kept_over_a_restart(tmp_path, accuracies, kept):
    folder = tmp_path / "checkpoints"
    write(folder, [1, 2, 3], accuracies)
    write(folder, [4, 5], accuracies)
    assert checkpoint.steps(folder) == kept
    state, _, _ = restore(folder)
    assert bits(state) == bits(make_state(5))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 9), st.sampled_from([0.1, 0.5, 0.9])), st.sets(st.integers(0, 9), min_size=1))
def test_the_policy_keeps_the_latest_two_and_at_most_one_other(accuracies, steps):
    saved = sorted(steps)
    policy = checkpoint._LatestAndBest()
    policy.accuracies = accuracies
    flags = policy.should_preserve([SimpleNamespace(step=step) for step in saved], context=None)
    kept = {step for step, flag in zip(saved, flags, strict=True) if flag}
    others = kept - set(saved[-2:])
    assert set(saved[-2:]) <= kept and len(others) <= 1
    evaluated = [accuracies[step] for step in saved if step in accuracies]
    if evaluated:
        assert max(evaluated) in [accuracies.get(step) for step in kept]


def test_an_older_half_deleted_checkpoint_does_no_harm(copy):
    """A run that is killed while orbax deletes a step leaves the folder with some of its files."""
    for name in ("info", "_CHECKPOINT_METADATA", "commit_success.txt"):
        path = copy / "1" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert restore(copy)[2] == []
    write(copy, [3], {3: 0.5})
    assert checkpoint.steps(copy) == [2, 3]


def test_an_interrupted_save_is_ignored_and_removed(copy):
    unfinished = copy / "3.orbax-checkpoint-tmp"
    shutil.copytree(copy / "2", unfinished)
    (unfinished / "variables").rename(unfinished / "variables.orbax-checkpoint-tmp")
    state, _, lines = restore(copy)
    assert int(state.step) == 2 and lines == [] and checkpoint.steps(copy) == [1, 2]
    write(copy, [3])
    assert sorted(path.name for path in copy.iterdir()) == ["2", "3"]


UNPATCHED = """
import logging, sys, warnings
from pathlib import Path
import orbax.checkpoint
import jax
jax.devices()

def patched():
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    return sys.unraisablehook, sys.excepthook, list(warnings.filters), [list(logger.filters) for logger in loggers]

before = patched()
from jaxcnn.runs import checkpoint
checkpoint.restore_variables(Path(sys.argv[1]))
with checkpoint.Checkpoints(Path(sys.argv[2])):
    pass
assert patched() == before, (before, patched())
"""


def test_checkpoints_change_no_hook_logger_or_warning_of_the_process(saved, tmp_path):
    command = [sys.executable, "-c", UNPATCHED, str(saved), str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.replace(params={**state.params, "conv": {"kernel": jnp.zeros((5, 5, 1, 4))}}),
            r"another network: params/conv/bias was float32\[4\] and is now absent",
        ),
        (
            lambda state: state.replace(params={**state.params, "dense": {"kernel": jnp.zeros((64, 10))}}),
            r"another network: params/dense/kernel was float32\[64, 128\] and is now float32\[64, 10\]",
        ),
        (
            lambda state: state.replace(model_state=jax.tree.map(lambda x: x.astype("float32"), state.model_state)),
            r"another network: batch_stats/norm/half was bfloat16\[4\] and is now float32\[4\]",
        ),
        (
            lambda _: make_state(0, Optimizer(algorithm="adam")),
            r"another optimizer: opt_state/adam/count was absent and is now int32\[\]",
        ),
    ],
    ids=["layer", "shape", "dtype", "optimizer"],
)
def test_a_checkpoint_of_another_network_or_optimizer_is_refused(copy, change, message):
    with pytest.raises(InputError, match=message) as caught:
        restore(copy, abstract(change(make_state(0))))
    assert f"init_from={copy.parent}" in str(caught.value) and "\n" not in str(caught.value)
    assert checkpoint.steps(copy) == [1, 2]


def test_a_folder_that_cannot_be_created_raises(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"(N|n)ot a directory"):
        write(tmp_path / "file" / "checkpoints", [1])


def test_saving_a_step_that_exists_raises(copy):
    with pytest.raises(SaveError, match=r"checkpoint of step 2 could not be saved in .*already exists"):
        write(copy, [2])


def test_saving_to_a_deleted_folder_raises(copy):
    with (
        pytest.raises(SaveError, match=f"step 3 could not be saved in {copy}: .*Not a directory"),
        Checkpoints(copy) as c,
    ):
        # A file in its place stops even root.
        shutil.rmtree(copy)
        copy.touch()
        c.save(make_state(3), loop_state={}, accuracies={})


@pytest.fixture
def renamed(monkeypatch):
    """Make the last action of a save fail, the renaming of its folder, and return an event that is set then."""
    from orbax.checkpoint._src.path import async_path

    failed = threading.Event()

    async def rename(source, target):
        failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(async_path, "rename", rename)
    return failed


@pytest.mark.parametrize("where", ["next save", "end"])
def test_a_write_that_fails_in_the_background_is_raised(copy, renamed, where):
    message = f"^a checkpoint could not be saved in {copy}: .*No space left on device"
    with pytest.raises(SaveError, match=message), Checkpoints(copy) as checkpoints:
        checkpoints.save(make_state(3), loop_state={}, accuracies={})
        assert renamed.wait(60)
        if where == "next save":
            checkpoints.save(make_state(4), loop_state={}, accuracies={})
    assert checkpoint.steps(copy) == [1, 2]


def test_a_write_that_fails_in_the_background_is_raised_once_by_check(copy, renamed):
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(make_state(3), loop_state={}, accuracies={})
        assert renamed.wait(60)
        with pytest.raises(SaveError, match="No space left on device"):
            for _ in range(600):
                checkpoints.check()
                time.sleep(0.1)


def test_a_disk_that_fills_up(small_disk):
    folder = small_disk("300k") / "checkpoints"
    with pytest.raises(SaveError, match="No space left on device"):
        write(folder, range(1, 9), dict.fromkeys(range(1, 9), 0.5))
    steps = checkpoint.steps(folder)
    state, _, lines = restore(folder)
    assert bits(state) == bits(make_state(steps[-1])) and lines == []


@pytest.mark.parametrize("left", ["nothing", "some files"])
def test_a_newer_checkpoint_is_read_if_a_run_removes_the_one_being_read(saved, tmp_path, monkeypatch, left):
    """The run keeps its best checkpoint, which is old and must not be used instead of the newest."""
    folder = Path(shutil.copytree(saved, tmp_path / "checkpoints"))

    def read(step_folder, *args, original=checkpoint.read_item):
        if step_folder.name == "2":
            write(folder, [3], {1: 0.9})
            shutil.rmtree(folder / "2" / "variables" if left == "some files" else folder / "2", ignore_errors=True)
        return original(step_folder, *args)

    monkeypatch.setattr(checkpoint, "read_item", read)
    step, variables = checkpoint.restore_variables(folder)
    assert step == 3 and bits(variables) == bits(make_state(3).variables)
