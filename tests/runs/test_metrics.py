import contextlib
import json
import os
import threading

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from jaxcnn.objectives import mean_metrics
from jaxcnn.runs.metrics import Writer, progress_bar, read_rows
from jaxcnn.runtime.atomic import write_json


def row(step, loss=1.0):
    return {"step": step, "epoch": step / 4, "split": "train", "loss": loss, "time": {"seconds": 0.5 * step}}


def write(workdir, start, steps):
    writer = Writer(workdir, start)
    for step in steps:
        writer.write(row(step, loss=step / 8))
    writer.close()


def events(workdir):
    """Return every TensorBoard event, read from the format: length, its checksum, data, its checksum."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            body, data = data[12 : 12 + length], data[16 + length :]
            event = Event()
            event.ParseFromString(body)
            found.append(event)
    return found


def scalars(workdir):
    """Return values by (tag, step) for a reader that respects restarts: a restart drops the values after its step."""
    values = {}
    for event in events(workdir):
        if event.session_log.status == 1:
            values = {key: v for key, v in values.items() if key[1] < event.step}
        for value in event.summary.value:
            values[value.tag, event.step] = value.simple_value
    return values


def test_means_of_sums():
    assert mean_metrics({"loss": 6.0, "correct": 3, "n": 4}) == {"loss": 1.5, "accuracy": 0.75}


def test_rows_are_written_whole_and_at_once(tmp_path):
    writer = Writer(tmp_path, 0)
    writer.write(row(1))
    assert read_rows(tmp_path / "metrics.jsonl") == [row(1)]
    assert scalars(tmp_path)["train/loss", 1] == 1.0
    writer.write(row(2))
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(row(1)) + "\n" + json.dumps(row(2)) + "\n"
    writer.close()


def test_a_restart_removes_the_rows_that_it_will_write_again(tmp_path):
    write(tmp_path, 0, [2, 4, 6, 8])
    write(tmp_path, 4, [])
    assert [r["step"] for r in read_rows(tmp_path / "metrics.jsonl")] == [2, 4]
    write(tmp_path, 4, [6, 8, 10])
    assert [r["step"] for r in read_rows(tmp_path / "metrics.jsonl")] == [2, 4, 6, 8, 10]
    write(tmp_path, 0, [])
    assert read_rows(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("torn", ['{"step": 6, "los', '{"step": 6', "{", "\0\0\0"])
def test_an_incomplete_last_line_is_ignored_and_removed(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(row(2)) + "\n" + torn)
    assert read_rows(path) == [row(2)]
    write(tmp_path, 8, [9])
    assert path.read_text() == json.dumps(row(2)) + "\n" + json.dumps(row(9, 9 / 8)) + "\n"


def test_rows_are_strict_json(tmp_path):
    """A row with a NaN from an earlier version is removed, and a new one is refused."""
    lines = [json.dumps(row(2)), json.dumps(row(3, float("nan"))), json.dumps(row(4))]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with contextlib.closing(Writer(tmp_path, 4)) as writer:
        assert read_rows(tmp_path / "metrics.jsonl") == [row(2), row(4)]
        with pytest.raises(ValueError, match="not JSON compliant"):
            writer.write(row(5, float("inf")))


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_tensorboard_has_every_number_of_a_row_by_split_and_name(tmp_path):
    write(tmp_path, 0, [2, 4])
    assert scalars(tmp_path) == {
        (f"train/{name}", step): pytest.approx(value)
        for step in (2, 4)
        for name, value in {"epoch": step / 4, "loss": step / 8, "seconds": step / 2}.items()
    }
    # In files of older versions TensorBoard does not let a restart drop steps.
    assert events(tmp_path)[0].file_version == "brain.Event:2"
    (path,) = (tmp_path / "tensorboard").iterdir()
    head = path.read_bytes()[:12]
    assert int.from_bytes(head[8:], "little") == masked_crc32c(head[:8])


def test_tensorboard_drops_the_steps_that_a_restart_writes_again(tmp_path):
    write(tmp_path, 0, [2, 4, 6])
    write(tmp_path, 4, [8])
    assert {step for _, step in scalars(tmp_path)} == {2, 4, 8}
    write(tmp_path, 1, [2])
    assert {step for _, step in scalars(tmp_path)} == {2}


def test_tensorboard_drops_all_steps_of_a_run_that_starts_over(tmp_path):
    write(tmp_path, 0, [2, 4])
    os.rename(tmp_path / "tensorboard", tmp_path / "earlier")
    write(tmp_path, 0, [3])
    for path in (tmp_path / "earlier").iterdir():
        path.rename(tmp_path / "tensorboard" / f"earlier-{path.name}")
    assert {step for _, step in scalars(tmp_path)} == {3}


def test_a_full_disk_raises_and_does_not_block(small_disk):
    folder = small_disk("64k")
    writer = Writer(folder, 0)
    writer.write(row(1))
    with pytest.raises(OSError, match="No space left on device"), open(folder / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    # Both files still have room in their last pages.
    with pytest.raises(OSError, match="No space left on device"):
        for step in range(2, 200):
            writer.write(row(step))
    assert 2 < step < 199
    with contextlib.suppress(OSError):
        writer.close()
    rows = read_rows(folder / "metrics.jsonl")
    assert rows == [row(i) for i in range(1, len(rows) + 1)] and len(rows) in (step - 1, step)


def test_json_is_replaced_in_one_move(tmp_path):
    """A reader never sees half a file, and nothing else is left in the folder."""
    path, stop, seen = tmp_path / "a.json", threading.Event(), set()
    write_json(path, ["x"] * 2000)

    def read():
        while not stop.is_set():
            seen.add(len(json.loads(path.read_text())))

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(100):
        write_json(path, ["x"] * (2000 + i % 2))
    stop.set()
    thread.join()
    assert seen <= {2000, 2001}
    assert seen
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_shown_only_on_a_terminal(terminal):
    console = Console(force_terminal=terminal, width=100, record=True)
    with console.capture() as shown, progress_bar(console, total=10, done=3) as bar:
        bar.update(bar.task_ids[0], completed=5, latest="loss 0.1250")
        bar.refresh()
    assert ("5/10" in shown.get()) is terminal
    assert ("loss 0.1250" in shown.get()) is terminal
