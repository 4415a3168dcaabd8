"""`jaxcnn COMMAND` as used after installing the package: in an arbitrary folder, without a checkout."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jaxcnn.__main__ import main

ROOT = Path(__file__).parents[1]

MY_CONFIG = """
from jaxcnn import Data, Experiment, Fake
from jaxcnn.models import LeNet5


def get_config():
    fake = Fake(train=16, test=8)
    return Experiment(model=LeNet5(), data=Data(source="fake", fake=fake, batch_size=8), epochs=1)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs Python in an empty folder, with the package files and nothing else of the repository."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    shutil.copytree(ROOT / "jaxcnn", site / "jaxcnn", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(site)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)

    return run, empty


@pytest.mark.slow
def test_training_and_the_api_work_without_a_checkout(installed):
    run, folder = installed
    (folder / "my.py").write_text(MY_CONFIG)
    done = run("-m", "jaxcnn", "train", "--config=my.py", "--workdir=run", "--config.seed=3")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert json.loads((folder / "run" / "results.json").read_text())["seed"] == 3
    assert (folder / "run" / "config.py").read_text() == MY_CONFIG
    code = "import jaxcnn; model, variables = jaxcnn.restore('run'); print(jaxcnn.__file__, *variables['params'])"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "site" in done.stdout and "c1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("train", 2, "python -m jaxcnn train: --config is missing; name a Python file whose function get_config()"),
        ("train --config", 2, "for example --config=my.py"),
        ("train --help", 0, "--config=FILE"),
        ("bench --what launch", 2, "come with the source repository, not with the installed package"),
        ("bench --what pipeline", 2, "come with the source repository, not with the installed package"),
    ],
)
def test_messages_name_no_file_that_only_a_checkout_contains(installed, arguments, status, words):
    run, _ = installed
    done = run("-m", "jaxcnn", *arguments.split())
    assert done.returncode == status
    text = " ".join((done.stdout + done.stderr).split())
    assert words in text
    assert "configs/" not in text and "launch.py" not in text and "Traceback" not in text


def test_claims_are_listed_without_a_checkout(installed):
    run, _ = installed
    done = run("-m", "jaxcnn", "claims")
    assert (done.returncode, done.stderr) == (0, "") and "batch_norm_rates" in done.stdout


def test_the_console_command_is_this_module():
    (script,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    assert script == ("jaxcnn", "jaxcnn.__main__:main")
    assert importlib.metadata.EntryPoint(*script, group="console_scripts").load() is main


def test_help_lists_every_command_and_is_printed_without_a_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    asked = capsys.readouterr().out
    assert stop.value.code == 0
    commands = (
        "train",
        "prepare",
        "describe",
        "evaluate",
        "probe",
        "convert",
        "plot",
        "summarize",
        "report",
        "bench",
        "claims",
        "shift",
    )
    assert all(f"• {name}" in asked for name in commands)
    assert main([]) == 2
    assert capsys.readouterr().out == asked


def test_a_misspelled_command_suggests_the_nearest(capsys):
    assert main(["trian"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: 'trian' is not a command. Did you mean 'train'? Commands are train, ")


@pytest.mark.parametrize(("program", "shown"), [("/a/bin/jaxcnn", "jaxcnn"), ("/a/__main__.py", "python -m jaxcnn")])
def test_messages_name_the_program_as_it_was_called(program, shown, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [program])
    assert main(["train"]) == 2
    assert capsys.readouterr().err.startswith(f"{shown} train: --config is missing")
    main([])
    assert capsys.readouterr().out.startswith(f"usage: {shown} [-h]")
