"""Fields on the command line that take a name or a record."""

import pytest

from jaxcnn.cli import launch
from jaxcnn.config import Experiment, to_json
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
        # Neither change is valid without the other.
        ("VGG('A-LRN')", "--config.model.configuration=A --config.model.norm=batch", VGG("A", norm="batch")),
    ],
)
def test_a_name_and_the_options_of_its_record(model, arguments, expected, parsed):
    found = parsed(model, *arguments.split())
    assert type(found) is launch.Launch and found.config.model == expected
    # The class of the record is the one that a saved configuration names.
    assert to_json(found.config) == to_json(Experiment(model=expected))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--config.model.norm=bach", "LeNet5.norm is 'bach'; it must be one of none, batch"),
        ("--config.model.norm", "Missing value for argument '--config.model.norm'"),
        ("--config.model.norm --config.seed=1", "Missing value for argument '--config.model.norm'"),
        ("--config.model.norm=batch --config.model.norm.momentum=2", "BatchNorm.momentum is 2.0; it must be"),
        ("--config.model.norm=batch --config.model.norm.momentum=x", "Error parsing --config.model.norm.momentum"),
        ("--config.model.norm.momentum=0.5", "--config.model.norm, as it is set, has no fields."),
    ],
)
def test_an_invalid_name_or_option_is_reported(arguments, words, tmp_path, capsys):
    file = tmp_path / "my.py"
    file.write_text(CONFIG.format(model="LeNet5()"))
    try:
        status = launch.main([f"--config={file}", *arguments.split()], prog="launch.py")
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").replace("|", " ").split())
