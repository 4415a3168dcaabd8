"""The command line of training: what it accepts, and one short message for every error."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.cli.launch import main

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs" / "lenet5_digits.py"
FAKE = ["--config.data.source=fake", "--config.data.batch_size=8", "--config.data.fake.train=16"]
FAKE += ["--config.data.fake.test=8", "--config.epochs=1"]


def call(arguments, capsys):
    """Run a command line in this process; return its status and its output."""
    try:
        status = main(arguments, prog="launch.py", default_config=DIGITS)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def arrays_file(path, *, value=0.5, label=0, test=4):
    images = np.full((16, 32, 32), value, np.float32)
    labels = np.full(16, label, np.int32)
    np.savez(path, train_images=images, train_labels=labels, test_images=images[:test], test_labels=labels[:test])
    return ["--config.data.source=arrays", f"--config.data.name={path}", "--config.data.batch_size=8"]


def config_file(path, text):
    path.write_text(text)
    return [f"--config={path}"]


# For each mistake: the arguments, made from a folder, and words that the message must contain.
MISTAKES = {
    "unknown field": (lambda d: ["--config.optimizer.learning_rat=0.1"], "learning_rate"),
    "unknown option": (lambda d: ["--workdirr=x"], "--workdir"),
    "wrong type": (lambda d: ["--config.epochs=many"], "--config.epochs"),
    "not a choice": (lambda d: ["--config.model.norm=bach"], "batch"),
    "out of range": (lambda d: ["--config.optimizer.learning_rate=-1"], "learning_rate is -1.0; it must be"),
    "not finite": (lambda d: ["--config.optimizer.weight_decay=nan"], "weight_decay is nan; it must be"),
    "rule for another optimizer": (lambda d: ["--config.optimizer.weight_decay_form=krizhevsky"], "sgd"),
    "no config file": (lambda d: [f"--config={d}/none.py"], "does not exist"),
    "no config value": (lambda d: ["--config"], "--config needs a file"),
    "an option as config": (lambda d: ["--config", "--dry_run"], "--config needs a file"),
    "empty config value": (lambda d: ["--config="], "--config needs a file"),
    "folder as config": (lambda d: [f"--config={d}"], "is a folder; name a Python file"),
    "syntax error": (lambda d: config_file(d / "bad.py", "x = 1\ndef ("), "bad.py, line 2: syntax error"),
    "no get_config": (lambda d: config_file(d / "empty.py", "x = 1"), "no function get_config"),
    "field of a config file": (
        lambda d: config_file(
            d / "typo.py",
            "from jaxcnn import Experiment, Optimizer\nfrom jaxcnn.models import LeNet5\n"
            "def get_config():\n    return Experiment(model=LeNet5(), optimizer=Optimizer(learning_rat=1.0))\n",
        ),
        "typo.py, line 4: TypeError: Optimizer.__init__() got an unexpected keyword argument 'learning_rat'. "
        "Did you mean 'learning_rate'?",
    ),
    "choice in a config file": (
        lambda d: config_file(
            d / "choice.py",
            "from jaxcnn import Experiment\nfrom jaxcnn.models import LeNet5\n"
            "def get_config():\n    return Experiment(model=LeNet5(norm='bach'))\n",
        ),
        "LeNet5.norm is 'bach'; it must be one of none, batch",
    ),
    "not prepared": (
        lambda d: ["--config.data.source=tfds", "--config.data.name=mnist", f"--config.data.data_dir={d}"],
        "python -m jaxcnn prepare mnist --data_dir=",
    ),
    "label outside": (lambda d: arrays_file(d / "a.npz", label=10), "Label 10 is outside 0..9"),
    "NaN in the data": (lambda d: arrays_file(d / "a.npz", value=np.nan), "NaN"),
    "empty test part": (lambda d: arrays_file(d / "a.npz", test=0), "test split of the data"),
    "no such arrays": (lambda d: ["--config.data.source=arrays", f"--config.data.name={d}/no.npz"], "no such file"),
    "image too small": (
        lambda d: [*FAKE, "--config.data.fake.shape=16,16,1"],
        "16x16; this network needs at least 32x32",
    ),
    "batch too large": (lambda d: [*FAKE, "--config.data.batch_size=24"], "batch_size is 24; it must be at most 16"),
    "batch not divisible": (lambda d: [*FAKE, "--config.data.batch_size=12"], "multiple of 8, the number of devices"),
    "wrong mean": (lambda d: [*FAKE, "--config.data.mean=0.1,0.2"], "Data.mean is (0.1, 0.2)"),
    "another platform": (lambda d: ["--require_platform=gpu"], "--require_platform=gpu, but JAX runs on cpu"),
    "no run to start from": (lambda d: [*FAKE, f"--init_from={d}"], "no checkpoint"),
}


@pytest.mark.filterwarnings("ignore:Labels begin at 10:UserWarning")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_short_message_and_nothing_is_written(mistake, tmp_path, capsys):
    arguments, words = MISTAKES[mistake]
    workdir = tmp_path / "run"
    status, text = call([*arguments(tmp_path), f"--workdir={workdir}"], capsys)
    assert status == 2
    flat = " ".join(text.replace("│", " ").split())
    assert words in flat
    assert "Traceback" not in text
    assert text.count("\n") <= 45  # tyro's box, or the part of the plan printed before
    assert not workdir.exists()


@pytest.mark.parametrize("place", ["{file}/run", "/proc/run"])
def test_unwritable_workdir(place, tmp_path, capsys):
    (tmp_path / "file").write_text("a file")
    workdir = place.format(file=tmp_path / "file")
    status, text = call([*FAKE, f"--workdir={workdir}"], capsys)
    assert status == 2
    assert f"workdir {workdir}" in text.splitlines()[-1]
    assert not os.path.exists(workdir)


def test_full_disk(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    status, text = call([*FAKE, f"--workdir={tmp_path}/run"], capsys)
    assert status == 2
    assert "MB, but 0 MB are free" in text
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the command for one epoch, from another folder, with a relative workdir and without a network connection."""
    folder = tmp_path_factory.mktemp("elsewhere")
    # AF_UNIX stays available: asyncio, which orbax uses, needs it.
    (folder / "sitecustomize.py").write_text(
        "import socket\n"
        "class Guard(socket.socket):\n"
        "    def __init__(self, family=-1, *args, **kwargs):\n"
        "        inet = family in (-1, socket.AF_INET, socket.AF_INET6)\n"
        "        if inet and kwargs.get('fileno') is None and len(args) < 3:\n"
        "            raise OSError('no network in this test')\n"
        "        super().__init__(family, *args, **kwargs)\n"
        "socket.socket = Guard\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(folder)}
    command = [sys.executable, str(ROOT / "launch.py"), *FAKE, "--workdir=./run"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return folder / "run", done


def test_run_from_another_folder_without_a_network_connection(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in (
        "devices: 1 cpu",
        "61,706",
        "c1/kernel 5x5x1x6",
        "compiled the training step",
        "test error",
        f"{workdir}/",
    ):
        assert words in done.stdout
    results = json.loads((workdir / "results.json").read_text())
    assert results["test"].keys() == {"accuracy", "error", "loss", "n"}
    assert results["steps"] == 2
    assert results["seconds"] > 0
    names = {"learning_curves", "confusion_matrix", "confident_errors", "first_layer_filters"}
    assert {p.stem for p in workdir.glob("*.png")} == names
    assert (workdir / "config.py").read_text() == (ROOT / "configs" / "lenet5_digits.py").read_text()
    record = json.loads((workdir / "provenance.json").read_text())
    assert record["command"][1:] == [str(ROOT / "launch.py"), *FAKE, "--workdir=./run"]
    assert record["versions"]["jax"] and record["devices"] and record["seed"] == 0


def test_a_finished_run_is_not_run_again(finished, capsys):
    workdir, _ = finished
    before = sorted((p, p.stat().st_mtime_ns) for p in workdir.rglob("*"))
    status, text = call([*FAKE, f"--workdir={workdir}"], capsys)
    assert status == 0
    assert "already holds the finished run of this experiment" in text
    assert sorted((p, p.stat().st_mtime_ns) for p in workdir.rglob("*")) == before


def test_a_workdir_of_another_experiment_is_refused(finished, capsys):
    workdir, _ = finished
    status, text = call([*FAKE, f"--workdir={workdir}", "--config.optimizer.learning_rate=0.5"], capsys)
    assert status == 2
    assert "holds another experiment; optimizer.learning_rate: saved 0.003, now 0.5" in text
    assert "init_from=" in text


def test_weights_of_another_network_are_refused(finished, tmp_path, capsys):
    arguments = [*FAKE, f"--init_from={finished[0]}", f"--workdir={tmp_path}/run"]
    status, text = call([*arguments, "--config.model.num_classes=12"], capsys)
    assert status == 2
    assert "is from another network: params/output/bias has shape (10,); this network needs (12,)" in text
    assert not (tmp_path / "run").exists()


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {
        "model.norm": "batch",
        "augment.flip": "True",
        "data.mean": "0.25",
        "data.fake.shape": "(32,40,1)",
        "optimizer.clip_norm": "1.5",
        "optimizer.schedule.name": "step",
        "optimizer.schedule.drops": "10,20",
        "epochs": "30",
    }
    arguments = [f"--config.{path}={value}" for path, value in changes.items()]
    status, text = call([*FAKE, *arguments, "--dry_run"], capsys)
    assert status == 0
    shown = dict([*line.split(None, 1), ""][:2] for line in text.splitlines() if "config." in line)
    expected = changes | {
        "data.mean": "[0.25]",
        "data.fake.shape": "[32, 40, 1]",
        "optimizer.schedule.drops": "[10.0, 20.0]",
    }
    assert {path: shown[f"config.{path}"].strip() for path in changes} == expected
    assert "norm1/scale 6" in text
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"] or not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "network"),
    [
        (["--config.data.source=tfds", "--config.data.name=mnist", "--config.data.pad=2"], "LeNet5 on 32x32x1"),
        (["--config.data.source=tfds", "--config.data.name=mine", "--config.data.pad=2"], None),
        (["--config.data.source=arrays", "--config.data.name=no.npz"], None),
        (
            [
                *("--config.data.source=tfds", "--config.data.name=mine", "--config.augment.crop=40"),
                *("--config.data.mean=0,0,0", "--config.data.std=1,1,1"),
            ],
            "LeNet5 on 40x40x3",
        ),
    ],
)
def test_dry_run_without_data_shows_what_is_known(data, network, tmp_path, capsys):
    arguments = [*data, f"--config.data.data_dir={tmp_path}/d", f"--workdir={tmp_path}/run", "--dry_run"]
    status, text = call(arguments, capsys)
    assert status == 0 and list(tmp_path.iterdir()) == []
    assert "config.optimizer.learning_rate" in text and "devices: " in text
    (line,) = [line for line in text.splitlines() if line.startswith("data: ")]
    if "tfds" in data[0]:
        assert "is not prepared" in line and "run: python -m jaxcnn prepare" in line
    else:
        assert "data: missing; Data.name is 'no.npz'; there is no such file." in line
    if network:
        assert network in text and "c1/kernel 5x5x" in text
    else:
        assert "LeNet5 on" not in text


def test_no_number_of_a_plan_is_cut_off(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "60")
    large = [
        f"--config={ROOT}/configs/vgg_imagenet.py",
        "--config.data.source=fake",
        "--config.data.fake.shape=256,256,3",
    ]
    status, text = call(
        [*large, f"--workdir={tmp_path}/run", "--config.data.fake.train=256", "--config.data.fake.test=8", "--dry_run"],
        capsys,
    )
    assert status == 0 and "…" not in text
    assert "15,470,264,320" in text and "102,764,544" in text and "config.optimizer.weight_decay_form" in text


def test_dry_run_without_data_refuses_images_that_are_too_small(tmp_path, capsys):
    arguments = ["--config.data.source=tfds", "--config.data.name=mnist", f"--config.data.data_dir={tmp_path}"]
    status, text = call([*arguments, f"--workdir={tmp_path}/run", "--dry_run"], capsys)
    assert status == 2 and "28x28; this network needs at least 32x32" in text


@pytest.mark.parametrize("workdir", ["", "gs://bucket/run"])
def test_dry_run_refuses_an_invalid_workdir(workdir, capsys):
    status, text = call([*FAKE, f"--workdir={workdir}", "--dry_run"], capsys)
    assert status == 2 and "workdir is" in text


def test_help_shows_type_default_and_meaning_of_fields(capsys):
    status, text = call(["--help"], capsys)
    assert status == 0
    flat = " ".join(text.replace("│", " ").split())
    for words in (
        "--config.seed INT",
        "--config.optimizer.learning_rate FLOAT",
        "--config.model.norm {none,batch,layer,group,instance,local_response, local_response_caffe}",
        "(default: 0.003)",
        "Passes over the training images.",
        "--dry_run",
    ):
        assert words in flat


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_the_same_command_continues(number, tmp_path):
    workdir = tmp_path / "run"
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    arguments = [*FAKE, "--config.epochs=400", "--config.eval_every=400", "--config.checkpoint_every=400"]
    command = [sys.executable, str(ROOT / "launch.py"), *arguments, "--config.log_every=1", f"--workdir={workdir}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # As in a terminal: in a test that a script starts in the background, the run would ignore Ctrl-C. (A `preexec_fn`
    # would fork this process, and JAX warns about forks once it is in use.)
    listen = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", listen, *command], env=environment, **pipes)
    metrics = workdir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    assert "the same command continues this run" in errors
    assert "Traceback" not in errors
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "resuming from step" in again.stdout
    assert json.loads((workdir / "results.json").read_text())["steps"] == 800


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--init_from="], "init_from is empty"),
        (["--init_from=nowhere"], "nowhere/checkpoints has no checkpoint"),
        (["--init_from={run}", "--init_from_checkpoint=7"], "has no checkpoint of step 7"),
        (["--init_from={run}", "--config.model.num_classes=12"], "is from another network"),
        (["--init_from_checkpoint=7"], "but init_from names no run"),
        (["--workdir={run}", "--config.seed=3"], "holds another experiment; seed: saved 0, now 3"),
    ],
)
def test_dry_run_refuses_weights_and_folders_that_the_run_would_refuse(arguments, words, finished, tmp_path, capsys):
    arguments = [argument.format(run=finished[0]) for argument in arguments]
    status, text = call([*FAKE, f"--workdir={tmp_path}/new", *arguments, "--dry_run"], capsys)
    assert status == 2 and words in text


def test_dry_run_says_what_the_run_would_start_from(finished, tmp_path, capsys):
    run, _ = finished
    status, text = call([*FAKE, f"--init_from={run}", f"--workdir={tmp_path}/new", "--dry_run"], capsys)
    assert status == 0 and f"init_from={run} (step 2): all weights are used." in text
    assert text.endswith("(nothing was written)\n") and not (tmp_path / "new").exists()
    status, text = call([*FAKE, f"--workdir={run}", "--dry_run"], capsys)
    assert status == 0 and text.endswith("(nothing was written); it holds this experiment, finished\n")
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    (stopped / "results.json").unlink()
    status, text = call([*FAKE, f"--workdir={stopped}", "--dry_run"], capsys)
    assert status == 0 and text.endswith("; it holds this experiment, stopped at step 2\n")
