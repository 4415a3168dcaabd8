"""Checkpoints come back bit for bit, or are passed over with a line, or the save raises."""

import errno
import gc
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
from jaxcnn.runs.checkpoint import Checkpoints, RestoreError, SaveError
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.optim import make_optimizer
from jaxcnn.training.state import TrainState

CARRY = {"sums": {"loss": 0.1 + 0.2, "n": 16.0}, "seconds": 1e-300}
# Values that an inexact copy would change: negative zero, a subnormal, infinity, a NaN with a payload.
ODD = np.array([0x80000000, 0x00000001, 0x7F800000, 0x7FC0BEEF], np.uint32).view(np.float32)

# What orbax leaves of a save that failed complains from its threads, and when it is collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)


@pytest.fixture(autouse=True)
def collected():
    """Nothing of a failed save is left for another file's tests."""
    yield
    gc.collect()


def make_state(step, optimizer=None):
    """A state as training has it, its values drawn by step; large enough that orbax writes arrays as files."""
    rng = np.random.default_rng(step)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    params = {"conv": {"kernel": normal(3, 3, 1, 4), "bias": ODD}, "dense": {"kernel": normal(64, 128)}}
    stats = {"batch_stats": {"norm": {"mean": normal(4), "half": normal(4).astype(jnp.bfloat16)}}}
    key, hyper = rng.integers(0, 2**32, 2, np.uint32), {"learning_rate": np.float32(step)}
    optimizer = optimizer or Optimizer()
    opt_state = make_optimizer(optimizer, params, steps_per_epoch=5, total_steps=50).init(params)
    opt_state = jax.tree.map(lambda x: (normal(*x.shape) + step).astype(x.dtype), opt_state)
    return jax.tree.map(jnp.asarray, TrainState(np.int32(step), key, hyper, params, stats, opt_state))


def abstract(state, sharding=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), state)


def bits(tree):
    """Structure, types and bytes."""
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def write(folder, steps, accuracies=None):
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            known = {s: a for s, a in (accuracies or {}).items() if s <= step}
            checkpoints.save(make_state(step), carry=CARRY, accuracies=known)


def restore(folder, like=None):
    """Restored state, what was carried, and the lines reported."""
    lines = []
    state, carry = checkpoint.restore_state(folder, like or abstract(make_state(0)), lines.append) or (None, None)
    return state, carry, lines


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2; copy it before changing it."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    write(folder, [1, 2])
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def test_a_state_comes_back_bit_for_bit(saved):
    state, carry, lines = restore(saved)
    assert bits(state) == bits(make_state(2))
    assert carry == CARRY and lines == []


def test_variables_come_back_bit_for_bit_without_being_described(saved):
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
            checkpoints.save(jax.device_put(state, before), carry={}, accuracies={})
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
    ids=["never evaluated", "worse at every save", "of equals the newest"],
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
def test_what_the_policy_keeps(accuracies, steps):
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


def empty(content, _):
    return b""


def truncate(content, _):
    return content[: len(content) // 2]


def flip(content, rng):
    changed = np.frombuffer(content, np.uint8).copy()
    changed[rng.integers(0, len(changed), 5)] ^= np.uint8(1) << rng.integers(0, 8, 5, dtype=np.uint8)
    return changed.tobytes()


def good_or_reported(folder, sure=False):
    """Restore either exactly step 2, or say that it is damaged and restore exactly step 1; then save on."""
    state, carry, lines = restore(folder)
    step = int(state.step)
    assert bits(state) == bits(make_state(step)) and carry == CARRY
    assert lines == ([] if step == 2 else ["checkpoint 2 is damaged, using 1"])
    assert not sure or step == 1
    write(folder, range(step + 1, 4))
    assert checkpoint.steps(folder) == [2, 3]
    again, _, lines = restore(folder)
    assert bits(again) == bits(make_state(3)) and lines == []


def files(folder):
    return sorted(path for path in (folder / "2").rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", [empty, truncate, flip])
def test_damaged_description(copy, damage):
    path = copy / "2" / "info" / "metadata"
    path.write_bytes(damage(path.read_bytes(), np.random.default_rng(0)))
    good_or_reported(copy, sure=True)


@pytest.mark.parametrize("item", ["variables", "optimizer"])
def test_one_flipped_bit_in_an_array(copy, item):
    path = max((p for p in files(copy) if item in p.parts), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    good_or_reported(copy, sure=True)


def test_a_changed_number_in_what_the_loop_carries(copy):
    path = copy / "2" / "info" / "metadata"
    assert path.read_text().count('"n": 16.0') == 1
    path.write_text(path.read_text().replace('"n": 16.0', '"n": 17.0'))
    good_or_reported(copy, sure=True)


def test_an_empty_step_folder(copy):
    shutil.rmtree(copy / "2")
    (copy / "2").mkdir()
    step, _ = checkpoint.restore_variables(copy)
    assert step == 1 and checkpoint.steps(copy) == [1, 2]
    good_or_reported(copy, sure=True)


def test_no_good_checkpoint_is_left(copy):
    for step in (1, 2):
        (copy / str(step) / "info" / "metadata").write_text("garbage")
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        checkpoint.restore_variables(copy)
    state, _, lines = restore(copy)
    assert state is None
    assert lines == ["checkpoint 2 is damaged, using 1", "checkpoint 1 is damaged, using the initial weights"]
    assert checkpoint.steps(copy) == [] and checkpoint.steps(copy.with_name("checkpoints_damaged")) == [1, 2]


def test_an_older_checkpoint_that_was_half_deleted_is_in_nobodys_way(copy):
    """A run killed while orbax deletes a step leaves the folder with some of its files."""
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


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import good_or_reported
for folder in map(Path, sys.argv[1:]):
    good_or_reported(folder)
"""


def run(folders):
    """`good_or_reported` in its own process, for orbax's threads and destructors may complain when it ends."""
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_damaged_checkpoints_are_passed_over_until_the_process_ends(saved, tmp_path):
    folders = [Path(shutil.copytree(saved, tmp_path / name / "checkpoints")) for name in "abcd"]
    shutil.rmtree(folders[0] / "2")
    (folders[0] / "2").mkdir()
    (folders[1] / "2" / "_CHECKPOINT_METADATA").write_text("garbage")
    (folders[2] / "2" / "variables" / "_METADATA").write_text("{}")
    for path in files(folders[3]):
        path.write_bytes(flip(path.read_bytes(), np.random.default_rng(0)))
    run(folders)


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


@pytest.mark.slow
@pytest.mark.parametrize("damage", [empty, truncate, flip, None], ids=["empty", "truncate", "flip", "remove"])
def test_every_file(saved, tmp_path, damage):
    rng = np.random.default_rng(0)
    folders = []
    for number, original in enumerate(files(saved)):
        folders.append(Path(shutil.copytree(saved, tmp_path / str(number) / "checkpoints")))
        path = folders[-1] / original.relative_to(saved)
        if damage:
            path.write_bytes(damage(path.read_bytes(), rng))
        else:
            path.unlink()
    assert len(folders) > 20
    run(folders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.replace(params={**state.params, "conv": {"kernel": jnp.zeros((5, 5, 1, 4))}}),
            r"another network: params/conv/bias was float32\[4\], is now absent",
        ),
        (
            lambda state: state.replace(params={**state.params, "dense": {"kernel": jnp.zeros((64, 10))}}),
            r"another network: params/dense/kernel was float32\[64, 128\], is now float32\[64, 10\]",
        ),
        (
            lambda state: state.replace(model_state=jax.tree.map(lambda x: x.astype("float32"), state.model_state)),
            r"another network: batch_stats/norm/half was bfloat16\[4\], is now float32\[4\]",
        ),
        (
            lambda _: make_state(0, Optimizer(algorithm="adam")),
            r"another optimizer: opt_state/adam/count was absent, is now int32\[\]",
        ),
    ],
    ids=["layer", "shape", "dtype", "optimizer"],
)
def test_another_network_or_optimizer_is_named(copy, change, message):
    with pytest.raises(InputError, match=message) as caught:
        restore(copy, abstract(change(make_state(0))))
    assert f"init_from={copy.parent}" in str(caught.value) and "\n" not in str(caught.value)
    assert checkpoint.steps(copy) == [1, 2]


def test_a_folder_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"(N|n)ot a directory"):
        write(tmp_path / "file" / "checkpoints", [1])


def test_a_step_that_exists_is_not_passed_over(copy):
    with pytest.raises(SaveError, match=r"checkpoint of step 2 could not be saved in .*already exists"):
        write(copy, [2])


def test_a_folder_that_goes_away(copy):
    with (
        pytest.raises(SaveError, match=f"step 3 could not be saved in {copy}: .*Not a directory"),
        Checkpoints(copy) as c,
    ):
        # A file in its place stops root as well.
        shutil.rmtree(copy)
        copy.touch()
        c.save(make_state(3), carry={}, accuracies={})


@pytest.fixture
def renamed(monkeypatch):
    """An event: the last act of a save, to rename its folder, has failed in the background."""
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
        checkpoints.save(make_state(3), carry={}, accuracies={})
        assert renamed.wait(60)
        if where == "next save":
            checkpoints.save(make_state(4), carry={}, accuracies={})
    assert checkpoint.steps(copy) == [1, 2]


def test_a_write_that_fails_in_the_background_is_raised_once_by_check(copy, renamed):
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(make_state(3), carry={}, accuracies={})
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


def restore_newest(folder):
    return checkpoint.restore_state(folder, abstract(make_state(0)), pytest.fail)[0]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("PERMISSION_DENIED: Error opening file"),
        ValueError("RESOURCE_EXHAUSTED: Out of memory"),
        ValueError("DATA_LOSS: Error reading: Input/output error [OS error 5]"),
        RuntimeError("UNAVAILABLE: connection reset"),
    ],
    ids=str,
)
@pytest.mark.parametrize("item", ["info", "variables"])
def test_an_error_that_is_not_the_checkpoints_own_condemns_none(copy, monkeypatch, error, item):
    import orbax.checkpoint as ocp

    def restore(self, path, *args, original=ocp.Checkpointer.restore, **kwargs):
        if Path(path).name == item:
            raise error
        return original(self, path, *args, **kwargs)

    before = sorted(copy.parent.rglob("*"))
    monkeypatch.setattr(ocp.Checkpointer, "restore", restore)
    with pytest.raises(RestoreError, match=r"checkpoint .*/2 could not be read: .*Nothing was changed"):
        restore_newest(copy)
    assert sorted(copy.parent.rglob("*")) == before
    monkeypatch.undo()
    assert bits(restore_newest(copy)) == bits(make_state(2))


@pytest.mark.parametrize("left", ["nothing", "some files"])
def test_variables_are_of_a_newer_checkpoint_where_a_run_removes_the_one_being_read(saved, tmp_path, monkeypatch, left):
    """The run keeps its best checkpoint, which is old and must not be taken for the newest."""
    folder = Path(shutil.copytree(saved, tmp_path / "checkpoints"))

    def read(step_folder, *args, original=checkpoint._read_item):
        if step_folder.name == "2":
            write(folder, [3], {1: 0.9})
            shutil.rmtree(folder / "2" / "variables" if left == "some files" else folder / "2", ignore_errors=True)
        return original(step_folder, *args)

    monkeypatch.setattr(checkpoint, "_read_item", read)
    step, variables = checkpoint.restore_variables(folder)
    assert step == 3 and bits(variables) == bits(make_state(3).variables)


def test_a_step_folder_that_cannot_be_listed_is_not_damaged(copy, monkeypatch):
    def iterdir(self, original=Path.iterdir):
        if self == copy / "2":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(self)

    shutil.rmtree(copy / "2" / "info")
    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(RestoreError, match="Permission denied"):
        restore_newest(copy)
    monkeypatch.undo()
    assert checkpoint.steps(copy) == [1, 2]


def test_nothing_is_moved_before_a_checkpoint_has_been_restored(copy, monkeypatch):
    shutil.rmtree(copy / "2" / "info")

    def fail(*_):
        raise RestoreError("no memory")

    monkeypatch.setattr(checkpoint, "_read_item", fail)
    with pytest.raises(RestoreError):
        checkpoint.restore_state(copy, abstract(make_state(0)), lambda line: None)
    assert checkpoint.steps(copy) == [1, 2]
