"""The values that the command line of training accepts, and how its processes end."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxcnn.cli import launch
from jaxcnn.config import flatten, load_config, override
from jaxcnn.runs import checkpoint

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.py"


def main(arguments):
    return launch.main(arguments, prog="launch.py", default_config=ROOT / "configs" / "lenet5_digits.py")


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--config.epochs=3", "--config.seed=7"], {"epochs": 3, "seed": 7}),
        (["--config.epochs", "3"], {"epochs": 3}),
        (["--config.optimizer.learning_rate=1e-3"], {"optimizer.learning_rate": 1e-3}),
        (["--config.optimizer.learning_rate=1"], {"optimizer.learning_rate": 1.0}),
        (["--config.augment.flip=True"], {"augment.flip": True}),
        (["--config.augment.flip=False"], {"augment.flip": False}),
        (["--config.data.mean=0.25"], {"data.mean": (0.25,)}),
        (["--config.data.mean=0.1,0.2,0.3"], {"data.mean": (0.1, 0.2, 0.3)}),
        (
            ["--config.augment.crop=28", "--config.augment.scale_jitter=30,34"],
            {"augment.crop": 28, "augment.scale_jitter": (30, 34)},
        ),
        (["--config.data.fake.shape=(16, 20, 3)"], {"data.fake.shape": (16, 20, 3)}),
        (["--config.data.fake.shape=[16,20,3]"], {"data.fake.shape": (16, 20, 3)}),
        (["--config.data.fake.shape", "16", "20", "3"], {"data.fake.shape": (16, 20, 3)}),
        (["--config.optimizer.schedule.drops="], {"optimizer.schedule.drops": ()}),
        (["--config.optimizer.schedule.drops=()"], {"optimizer.schedule.drops": ()}),
        (["--config.optimizer.clip_norm=0.5"], {"optimizer.clip_norm": 0.5}),
        (["--config.optimizer.clip_norm=None"], {"optimizer.clip_norm": None}),
        (["--config.data.data_dir=~/a b"], {"data.data_dir": "~/a b"}),
        (["--config.optimizer.weight_decay_form=decoupled"], {"optimizer.weight_decay_form": "decoupled"}),
        (["--config.model.features=8"], {"model.features": 8}),
        (["--config.model.hidden=10,20"], {"model.hidden": (10, 20)}),
        (["--config.model.hidden=(10,20)", "--config.model.rate=0"], {"model.hidden": (10, 20), "model.rate": 0.0}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_of_every_kind(arguments, changes):
    parsed = launch.parse(arguments, prog="launch.py", default_config=TINY)
    # Compared as text: 1 and 1.0 differ, and a file that is loaded twice creates two classes of the same name.
    parsed_text, expected = (
        json.dumps(flatten(experiment)) for experiment in (parsed.config, override(load_config(TINY), changes))
    )
    assert parsed_text == expected
    assert parsed.workdir == "runs/tiny" and parsed.init_from is None and not parsed.dry_run


def test_help_for_a_network_of_the_user(capsys):
    with pytest.raises(SystemExit) as stop:
        launch.parse([f"--config={TINY}", "--help"], prog="launch.py", default_config=ROOT / "none.py")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--config.model.features INT" in shown and "--config.model.hidden" in shown
    assert "--config.model.parent" not in shown and "--config.model.name" not in shown


def test_status_when_a_save_fails(tmp_path, capsys):
    (tmp_path / "checkpoints").touch()
    assert main([f"--config={TINY}", f"--workdir={tmp_path}"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("launch.py: ") and errors.count("\n") == 1 and "Not a directory" in errors


def test_status_when_the_loss_is_not_finite(tmp_path, capsys):
    arguments = ["--config.optimizer.learning_rate=1e36", "--config.data.eval_batch_size=40"]
    assert main([f"--config={TINY}", f"--workdir={tmp_path}/run", *arguments]) == 3
    errors = capsys.readouterr().err
    assert errors.startswith("launch.py: the loss of step ") and errors.count("\n") == 1


def test_status_of_ctrl_c_before_training(monkeypatch, capsys):
    def parse(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "parse", parse)
    assert main([]) == 130
    assert capsys.readouterr().err.startswith("launch.py: interrupted")


@pytest.fixture
def start():
    """Return a function that starts launch.py as a process with one device, which is killed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, prefix=()):
            environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
            command = [*prefix, sys.executable, str(ROOT / "launch.py"), *arguments]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
            stack.callback(process.kill)
            return process

        yield start


def wait_for_a_checkpoint(workdir, process):
    """Wait until the run has saved a checkpoint or has ended."""
    for _ in range(6000):
        if checkpoint.steps(workdir / "checkpoints") or process.poll() is not None:
            return
        time.sleep(0.1)
    pytest.fail("the run saves nothing")


@pytest.mark.parametrize("accept", [False, True])
def test_changed_code_is_accepted_by_a_flag(accept, monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(launch, "train", lambda *_, **options: taken.append(options["accept_changed_code"]))
    arguments = [f"--config={TINY}", f"--workdir={tmp_path}", *["--accept_changed_code"] * accept]
    assert main(arguments) == 0 and taken == [accept]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.optimizer.learning_rat=0.1"], "learning_rate"),
        (["--config=none.py"], "config file none.py does not exist"),
        (
            ["--config.data.source=tfds", "--config.data.name=mnist", "--config.data.data_dir=/nowhere"],
            "jaxcnn prepare mnist",
        ),
    ],
)
def test_a_process_with_an_invalid_argument_ends_with_status_2(start, arguments, words, tmp_path):
    process = start(*arguments, f"--workdir={tmp_path}/run")
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 2
    assert words in out + errors and "Traceback" not in out + errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_process_whose_save_fails_ends_soon_with_one_message(start, tmp_path):
    """Without care, orbax's threads keep it from ending for minutes and print tracebacks."""
    process = start(f"--config={TINY}", f"--workdir={tmp_path}", "--config.epochs=100000")
    wait_for_a_checkpoint(tmp_path, process)
    # The run creates the folder again until this file is created first.
    while not (tmp_path / "checkpoints").is_file():
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        with contextlib.suppress(OSError):
            (tmp_path / "checkpoints").touch(exist_ok=False)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert errors.startswith("launch.py: ") and errors.count("\n") == 1, errors


@pytest.mark.slow
def test_a_disk_that_is_full_and_one_that_fills_up(small_disk, start, capsys):
    disk = small_disk("18m")
    (disk / "filler").write_bytes(bytes(10**7))
    assert main([f"--config={TINY}", f"--workdir={disk}/run"]) == 2
    assert "MB, but 9 MB are free" in capsys.readouterr().err
    assert [path.name for path in disk.iterdir()] == ["filler"]

    (disk / "filler").unlink()
    process = start(f"--config={TINY}", f"--workdir={disk}/run", "--config.epochs=100000")
    wait_for_a_checkpoint(disk / "run", process)
    with pytest.raises(OSError, match="No space left"), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert errors.startswith("launch.py: ") and errors.count("\n") == 1 and "No space left on device" in errors, errors


@pytest.mark.slow
def test_the_default_run_without_a_network_connection(start, tmp_path):
    prefix = ["unshare", "--net"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace needs unshare and the right to use it")
    process = start("--config.epochs=2", "--deterministic", f"--workdir={tmp_path}/run", prefix=prefix)
    out, errors = process.communicate(timeout=800)
    assert (process.returncode, errors) == (0, ""), out + errors
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(("word", "choice"), [("best", "best"), ("12", 12), ("last", "last")])
def test_the_checkpoint_of_init_from_is_an_option(word, choice, monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(launch, "train", lambda *_, **options: taken.append(options["init_from_checkpoint"]))
    arguments = [f"--config={TINY}", f"--workdir={tmp_path}", "--init_from=a", f"--init_from_checkpoint={word}"]
    assert main(arguments) == 0 and taken == [choice]
