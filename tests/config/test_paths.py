"""Dotted paths of fields, and the known path that is closest to an unknown one."""

import re

import pytest
import tyro

from jaxcnn import Experiment
from jaxcnn.cli.arguments import registry
from jaxcnn.config.paths import nearest, paths
from jaxcnn.models import VGG, LeNet5
from jaxcnn.runtime.fields import Fraction, Positive

KNOWN = dict(paths(Experiment(model=LeNet5())))


def test_every_field_comes_with_its_annotation():
    assert KNOWN["seed"] and KNOWN["optimizer.schedule.factor"] == Fraction
    assert list(KNOWN).index("optimizer") < list(KNOWN).index("optimizer.schedule.factor")
    assert not {"model.parent", "model.name"} & KNOWN.keys()
    assert dict(paths(Experiment(model=VGG("A"))))["model.width"] == Positive


@pytest.mark.parametrize("model", [LeNet5(), VGG("A"), VGG("A", norm="batch")])
def test_the_paths_are_the_options_of_the_command_line(model, capsys):
    experiment = Experiment(model=model)
    with pytest.raises(SystemExit):
        tyro.cli(
            tyro.conf.FlagConversionOff[Experiment],
            default=experiment,
            args=["--help"],
            use_underscores=True,
            config=(tyro.conf.AvoidSubcommands,),
            registry=registry(experiment),
        )
    options = {*re.findall(r"--([a-z][\w.]+) ", capsys.readouterr().out)}
    known = {path for path, _ in paths(experiment)}
    parts = {path.rpartition(".")[0] for path in known} - {""}
    # The network names a template, so its own name is not an option.
    assert options - {"help", "model.norm.name"} == known - parts - {"objective"}


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("wd", "optimizer.weight_decay"),
        ("bs", "data.batch_size"),
        ("weight_decay", "optimizer.weight_decay"),
        ("optimiser.momentum", "optimizer.momentum"),
        ("schedule.final", "optimizer.schedule.final"),
        ("num_classes", "model.num_classes"),
        ("model.nrom", "model.norm"),
        ("normalization", "model.norm"),
        ("data.bach_size", "data.batch_size"),
        ("batch", "data.batch_size"),
        ("data.dir", "data.data_dir"),
        ("num_epochs", "epochs"),
        ("optimizer.decay", "optimizer.weight_decay"),
        ("crop_size", "augment.crop"),
        ("optimizer.beta1", None),
        ("steps", None),
        ("dropout", None),
        ("loss", None),
        ("seed.x", None),
        ("model.parent", None),
    ],
)
def test_the_nearest_path_is_a_plausible_one(path, meant):
    assert nearest(path, KNOWN) == meant


def test_a_field_of_the_same_part_is_nearer():
    known = ("a.size", "b.size", "b.long_size")
    assert (nearest("b.siez", known), nearest("a.siez", known), nearest("c.size", known)) == (
        "b.size",
        "a.size",
        "a.size",
    )
