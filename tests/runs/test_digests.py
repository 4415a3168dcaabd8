"""A damaged checkpoint is reported and skipped; an error of the machine does not count as damage."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.runs import checkpoint
from jaxcnn.runs.digests import RestoreError
from jaxcnn.runtime.errors import InputError
from tests.runs.checkpoints import abstract, bits, good_or_reported, make_state, restore

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
    ),
]


def empty(content, _):
    return b""


def truncate(content, _):
    return content[: len(content) // 2]


def flip(content, rng):
    changed = np.frombuffer(content, np.uint8).copy()
    changed[rng.integers(0, len(changed), 5)] ^= np.uint8(1) << rng.integers(0, 8, 5, dtype=np.uint8)
    return changed.tobytes()


def files(folder):
    return sorted(path for path in (folder / "2").rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", [empty, truncate, flip])
def test_damaged_info(copy, damage):
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


def test_a_changed_number_in_the_carry(copy):
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


def test_without_a_good_checkpoint_a_run_starts_again(copy):
    for step in (1, 2):
        (copy / str(step) / "info" / "metadata").write_text("garbage")
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        checkpoint.restore_variables(copy)
    state, _, lines = restore(copy)
    assert state is None
    assert lines == ["checkpoint 2 is damaged, using 1", "checkpoint 1 is damaged, using the initial weights"]
    assert checkpoint.steps(copy) == [] and checkpoint.steps(copy.with_name("checkpoints_damaged")) == [1, 2]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.runs.checkpoints import good_or_reported
for folder in map(Path, sys.argv[1:]):
    good_or_reported(folder)
"""


def run(folders):
    """Call `good_or_reported` in its own process, because orbax's threads and destructors may raise when it ends."""
    script = SCRIPT.format(tests=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", script, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_damaged_checkpoints_are_skipped_until_the_process_ends(saved, tmp_path):
    folders = [Path(shutil.copytree(saved, tmp_path / name / "checkpoints")) for name in "abcd"]
    shutil.rmtree(folders[0] / "2")
    (folders[0] / "2").mkdir()
    (folders[1] / "2" / "_CHECKPOINT_METADATA").write_text("garbage")
    (folders[2] / "2" / "variables" / "_METADATA").write_text("{}")
    for path in files(folders[3]):
        path.write_bytes(flip(path.read_bytes(), np.random.default_rng(0)))
    run(folders)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [empty, truncate, flip, None], ids=["empty", "truncate", "flip", "remove"])
def test_damage_to_any_file(saved, tmp_path, damage):
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
def test_an_error_of_the_machine_does_not_count_as_damage(copy, monkeypatch, error, item):
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

    monkeypatch.setattr(checkpoint, "read_item", fail)
    with pytest.raises(RestoreError):
        checkpoint.restore_state(copy, abstract(make_state(0)), lambda line: None)
    assert checkpoint.steps(copy) == [1, 2]
