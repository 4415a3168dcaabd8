"""Every Python block of the README runs, and so does every command line of its shell blocks and tables.

The same holds for the README of the results, and for the first command of every config file.

A command that takes seconds runs unchanged, training as a dry run. For the others (downloads, measurements that take
minutes) only the options are checked: the function that would do the work is replaced. Training from Python uses random
images instead of the data set, and one epoch.
"""

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import jaxcnn
import jaxcnn.bench.tables
import jaxcnn.cli.bench
import jaxcnn.cli.probe
import jaxcnn.cli.report
import jaxcnn.cli.shift
import jaxcnn.cli.summarize
import jaxcnn.data.prepare
import jaxcnn.runs.run_evaluation
import jaxcnn.sweep.work
import jaxcnn.weights
from jaxcnn import Augment, Data, Experiment, Fake
from jaxcnn.__main__ import main
from jaxcnn.cli import launch
from jaxcnn.config.importing import import_file
from jaxcnn.data.shape import image_shape
from jaxcnn.describe.tables import network_table
from jaxcnn.models import ConvNet, LeNet5
from tests.probes.records import record

ROOT = Path(__file__).parents[1]
READMES = "".join((ROOT / name).read_text() for name in ("README.md", "configs/results/README.md"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", READMES, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]

NOT_OURS = ("python3 -m venv", ". .venv/bin/activate", "pytest")
"""Prefixes of commands that .ci/run runs, or that need no check."""


def command_lines():
    """Return every command of the shell blocks, table cells and config files, without duplicates, as lists of words."""
    blocks = "".join(text for language, text in BLOCKS if language in ("sh", "bash", "console"))
    lines = [line.removeprefix("$ ") for line in blocks.replace("\\\n", " ").splitlines()]
    rows = re.findall(r"^\|.*\|$", READMES, re.MULTILINE)
    cells = [cell for row in rows for cell in re.findall(r"`([^`]+)`", row)]
    lines += [cell for cell in cells if cell.startswith(("jaxcnn ", "python "))]
    for config in sorted(ROOT.glob("configs/**/*.py")):
        (line,) = re.findall(r"^    (python .*)$", config.read_text().split('"""')[1], re.MULTILINE)
        lines.append(line)
    commands = [command for line in lines for command in line.split("&&")]
    found = {" ".join(words): words for command in commands if (words := shlex.split(command, comments=True))}
    return list(found.values())


COMMANDS = [words for words in command_lines() if not " ".join(words).startswith(NOT_OURS)]


def checkout(folder):
    """Create a folder with the README's paths: a checkout, and a run of a network with batch normalization."""
    for name in ("configs", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    data = Data(source="fake", fake=Fake(train=64, test=16), batch_size=16, eval_batch_size=16)
    experiment = Experiment(model=LeNet5(norm="batch"), data=data, augment=Augment(crop=32), epochs=1)
    jaxcnn.train(experiment, folder / "runs" / "a", verbose=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_a_python_block_runs(text, folder, monkeypatch):
    train = jaxcnn.train

    def quickly(experiment, workdir, **options):
        shape = image_shape(experiment.data, experiment.augment)
        fake = Fake(shape=shape, num_classes=experiment.model.num_classes, train=32, test=16)
        data = replace(experiment.data, source="fake", fake=fake, batch_size=16, image_size=None, pad=0)
        experiment = replace(experiment, data=data, epochs=1)
        return train(experiment, workdir, **options)

    monkeypatch.setattr(jaxcnn, "train", quickly)
    monkeypatch.setattr(jaxcnn.sweep.work, "train", quickly)
    file = folder / "block.py"
    file.write_text(text)
    for value in vars(import_file(file)).copy().values():
        if isinstance(value, type) and issubclass(value, ConvNet) and value is not ConvNet:
            network_table(value(), (32, 32, 3))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_line_is_accepted(words, folder, monkeypatch, capsys):
    program, *rest = words
    if words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = {name for word in rest for name in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)\]", word)))}
        assert named <= extras.keys()
        return
    for name, value in {"ID": 1, "MIN": 0, "MAX": 7, "STEP": 1, "COUNT": 8}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    for platform in (word.partition("=")[2] for word in rest if word.startswith("--require_platform=")):
        monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
    if words[:2] == ["python", "launch.py"]:
        status = trained(rest[1:], prog="launch.py")
    else:
        assert program == "jaxcnn" or words[:3] == ["python", "-m", "jaxcnn"], (
            f"this test does not know how to check {words}"
        )
        arguments = rest if program == "jaxcnn" else rest[2:]
        if arguments[0] == "train":
            status = trained(arguments[1:], prog="jaxcnn train")
        else:
            if not is_quick(arguments):
                replace_work(monkeypatch)
            status = main(arguments)
    assert status == 0, capsys.readouterr().err


def trained(arguments, *, prog):
    # The checkout's run is another experiment than those of the README, and a dry run refuses its folder.
    arguments = [word.replace("--workdir=runs/", "--workdir=new/") for word in arguments]
    try:
        return launch.main(
            [*dict.fromkeys([*arguments, "--dry_run"])], prog=prog, default_config=ROOT / "configs" / "lenet5_digits.py"
        )
    except SystemExit as stop:
        return stop.code


def is_quick(arguments):
    """Return whether a command takes seconds: existing networks and runs are described, evaluated or exported."""
    return arguments[0] == "describe" or arguments[:2] in (["evaluate", "runs/a"], ["convert", "runs/a"])


def replace_work(monkeypatch):
    """Replace functions that download, measure for minutes, or need files that only a user has."""
    work = {
        "data.prepare.prepare": None,
        "cli.bench.bench": {},
        "bench.tables.failures": [],
        "weights.convert": None,
        "runs.run_evaluation.evaluate_run": (),
        "cli.summarize.summarize": None,
        "cli.report.marked": {},
        "cli.report.collect": Path("x.jsonl"),
        "cli.report.update_tables": None,
        "cli.probe.probe_run": record(),
        "cli.shift.shift_report": None,
        "cli.shift.shift_gallery": Path("x.png"),
        "cli.shift.shift_calibrate": None,
    }
    for name, result in work.items():
        monkeypatch.setattr(f"jaxcnn.{name}", lambda *_, result=result, **__: result)


def test_the_readme_has_blocks_and_commands_to_check():
    assert len(PYTHON) >= 3 and len(COMMANDS) >= 15
    assert any(words[:2] == ["python", "launch.py"] for words in COMMANDS)


def test_the_checks_detect_a_mistake(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(["describe", "vgg_d", "--digram=a.svg"])
    assert trained(["--config=configs/none.py"], prog="launch.py") == 2
    assert trained(["--config.optimizer.lr=1"], prog="launch.py") == 2
    replace_work(monkeypatch)
    with pytest.raises(SystemExit):
        main(["bench", "--peers", "torch"])
    with pytest.raises(jaxcnn.InputError, match="NameError"):
        test_a_python_block_runs("model.init(images)", folder, monkeypatch)
