"""A field that takes a name or a record, on the command line."""

import re

import pytest

from jaxcnn.cli import launch
from jaxcnn.config import Experiment, to_json
from jaxcnn.config.paths import paths
from jaxcnn.layers import BatchNorm, GroupNorm, LocalResponseNorm
from jaxcnn.models import VGG, AlexNet, LeNet5

CONFIG = """
from jaxcnn import Experiment
from jaxcnn.layers import BatchNorm
from jaxcnn.models import AlexNet, LeNet5, VGG

def get_config():
    return Experiment(model={model})
"""


@pytest.fixture
def parsed(tmp_path):
    def parse(model, *arguments):
        file = tmp_path / "my.py"
        file.write_text(CONFIG.format(model=model))
        return launch.parse([f"--config={file}", *arguments], prog="launch.py", default_config=None)

    return parse


@pytest.mark.parametrize(
    ("model", "arguments", "expected"),
    [
        ("LeNet5()", "", LeNet5()),
        ("LeNet5()", "--config.model.norm=batch", LeNet5(norm="batch")),
        ("LeNet5()", "--config.model.norm batch", LeNet5(norm="batch")),
        (
            "LeNet5()",
            "--config.model.norm.momentum=0.5 --config.model.norm=batch",
            LeNet5(norm=BatchNorm(momentum=0.5)),
        ),
        ("LeNet5(norm='batch')", "--config.model.norm.momentum 0.5", LeNet5(norm=BatchNorm(momentum=0.5))),
        ("LeNet5(norm='batch')", "--config.model.norm=none", LeNet5()),
        ("LeNet5(norm=BatchNorm(momentum=0.8))", "", LeNet5(norm=BatchNorm(momentum=0.8))),
        ("LeNet5(norm=BatchNorm(momentum=0.8))", "--config.model.norm=batch", LeNet5(norm="batch")),
        (
            "LeNet5(norm=BatchNorm(momentum=0.8))",
            "--config.model.norm.unbiased=false",
            LeNet5(norm=BatchNorm(momentum=0.8, unbiased=False)),
        ),
        (
            "LeNet5(norm='batch')",
            "--config.model.norm=group --config.model.norm.num_groups=2",
            LeNet5(norm=GroupNorm(num_groups=2)),
        ),
        ("AlexNet()", "--config.model.norm=none", AlexNet(norm="none")),
        ("AlexNet(norm='batch')", "--config.model.norm=None", AlexNet()),
        ("AlexNet(norm='batch')", "--config.model.norm=null", AlexNet()),
        (
            "AlexNet()",
            "--config.model.norm=local_response --config.model.norm.size=3",
            AlexNet(norm=LocalResponseNorm(size=3)),
        ),
        # Neither change fits without the other.
        ("VGG('A-LRN')", "--config.model.configuration=A --config.model.norm=batch", VGG("A", norm="batch")),
    ],
)
def test_a_name_and_the_options_of_its_record(model, arguments, expected, parsed):
    found = parsed(model, *arguments.split())
    assert type(found) is launch.Launch and found.config.model == expected
    # The record is of the class itself, which a saved configuration names.
    assert to_json(found.config) == to_json(Experiment(model=expected))


def test_a_wrong_name_or_option_is_told(parsed, capsys):
    for arguments, words in {
        "--config.model.norm=bach": "invalid choice 'bach' for argument '--config.model.norm'",
        "--config.model.norm": "Missing value for argument '--config.model.norm'",
        "--config.model.norm=batch --config.model.norm.momentum=2": "BatchNorm.momentum is 2.0; it must be",
        "--config.model.norm=batch --config.model.norm.momentum=x": "Error parsing --config.model.norm.momentum",
    }.items():
        with pytest.raises(SystemExit):
            parsed("LeNet5()", *arguments.split())
        assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("model", ["LeNet5()", "VGG('A')", "LeNet5(norm='batch')", "AlexNet()"])
def test_help_has_every_field_that_can_be_set_and_no_other(model, parsed, capsys):
    with pytest.raises(SystemExit):
        parsed(model, "--help")
    options = {*re.findall(r"--config\.([a-z][\w.]+) ", capsys.readouterr().out)}
    experiment = parsed(model).config
    known = {path for path, _ in paths(experiment)}
    parts = {path.rpartition(".")[0] for path in known} - {"", "model.norm"}
    assert options == known - parts - {"objective"}
