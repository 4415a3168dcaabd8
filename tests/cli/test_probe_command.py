"""`python -m jaxcnn probe`: the report, the comparison, and one short message for every error."""

import dataclasses
import json
from pathlib import Path

import pytest

import jaxcnn
from jaxcnn.__main__ import main
from jaxcnn.cli import probe
from jaxcnn.config import load_config, override
from jaxcnn.runs.signals import Preempted
from tests.probes.records import record

TINY = str(Path(__file__).parents[1] / "tiny.py")
FILES = ["probe.html", "probe.json", "probe.png"]
DYING = """
from flax import linen as nn

from jaxcnn import Data, Experiment, Fake, Optimizer
from jaxcnn.models import PlainNet


def get_config():
    fake = Fake(shape=(4, 4, 1), num_classes=4, train=64, test=16)
    model = PlainNet(depth=6, width=8, kind="dense", activation="sigmoid", kernel_init=0.1, norm="none", num_classes=4)
    return Experiment(model=model, data=Data(source="fake", fake=fake, batch_size=16), epochs=1)
"""
RECURRENT = """
from flax import linen as nn

from jaxcnn import Data, Experiment, Fake


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(4)(nn.RNN(nn.SimpleCell(3), name="rnn")(x[..., 0])[:, -1])


def get_config():
    fake = Fake(shape=(6, 4, 1), num_classes=4, train=64, test=16)
    return Experiment(model=Net(), data=Data(source="fake", fake=fake, batch_size=16))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_report_of_a_config_file(here, capsys):
    assert main(["probe", TINY, "--steps=3", "--every=2", "--probes=gradients", "--config.model.features=3"]) == 0
    out, _ = capsys.readouterr()
    folder = here / "runs" / "tiny_probe"
    assert written(folder) == FILES and written(here) == ["runs"] and written(here / "runs") == ["tiny_probe"]
    assert out.splitlines()[-3:] == [f"runs/tiny_probe/{name}" for name in ("probe.html", "probe.png", "probe.json")]
    assert out.startswith("as it is: The loss is ")
    content = json.loads((folder / "probe.json").read_text())
    (network,) = content["networks"]
    assert network["steps"] == [0, 2, 3] and len(network["losses"]) == 4
    assert len(network["readings"]["gradients"]["conv"]["gradients"]["std"]) == 3
    assert "--config.model.features=3" in content["command"]


@pytest.mark.slow
def test_the_remedies_of_a_diagnosis_are_trained_on_the_same_page(here, capsys):
    (here / "dying.py").write_text(DYING)
    assert main(["probe", "dying.py", "--steps=2", "--probes=gradients", "--compare", "--out=a/b"]) == 0
    out, _ = capsys.readouterr()
    content = json.loads((here / "a" / "b" / "probe.json").read_text())
    first, *others = content["networks"]
    found = first["diagnosis"][0]
    assert found["kind"] == "vanishing" and found["text"] in out
    assert found["arguments"][0] == "--config.model.activation=relu --config.model.kernel_init=he"
    assert [network["changes"] for network in others] == found["remedies"]
    page = (here / "a" / "b" / "probe.html").read_text()
    assert all(network["label"] in page for network in content["networks"]) and found["arguments"][1] in page


@pytest.fixture
def trained(monkeypatch):
    """The arguments of every network that would be trained."""
    calls = []

    def stand_in(experiment, *, label="as it is", changes=None, **options):
        calls.append((experiment, options))
        return dataclasses.replace(record(label=label), changes=changes or {})

    monkeypatch.setattr(probe, "probe_run", stand_in)
    return calls


def test_own_changes_are_compared(here, trained):
    words = ["--compare=model.features=3,optimizer.learning_rate=0.5", "--compare", "--config.seed=7", "--steps=9"]
    assert main(["probe", TINY, *words, "--out=x"]) == 0
    content = json.loads((here / "x" / "probe.json").read_text())
    assert [network["label"] for network in content["networks"]] == ["as it is", "features=3, learning_rate=0.5"]
    (base, options), (other, _) = trained
    assert options["steps"] == 9 and base.seed == 7
    assert base.probes.every == 10 and base.probes.instruments == ("gradients", "ics", "landscape")
    assert other == override(base, {"model.features": 3, "optimizer.learning_rate": 0.5})


def test_without_a_finding_there_is_nothing_to_compare(here, trained, capsys):
    assert main(["probe", TINY, "--compare"]) == 0
    assert "--compare has nothing to try; name a change" in capsys.readouterr().out and len(trained) == 1


@pytest.mark.slow
def test_a_recurrent_network_has_the_gradient_by_time_lag(here, capsys):
    (here / "net.py").write_text(RECURRENT)
    assert main(["probe", "net.py", "--probes=gradients,lags", "--steps=1", "--out=x"]) == 0
    assert "multiplies the gradient of rnn by" in (here / "x" / "probe.html").read_text()


@pytest.mark.slow
def test_a_run_is_continued_and_left_as_it_is(here, capsys):
    jaxcnn.train(override(load_config(TINY), {"epochs": 1}), here / "run", verbose=False)
    before = {path: path.stat().st_mtime_ns for path in (here / "run").rglob("*")}
    assert main(["probe", "run", "--steps=1", "--probes=gradients"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (here / "run").rglob("*")} == before
    assert json.loads((here / "run_probe" / "probe.json").read_text())["networks"][0]["steps"] == [4, 5]
    assert main(["probe", "run", "--compare"]) == 2
    assert "--compare trains every network from its initial weights" in capsys.readouterr().err


MISTAKES = {
    "no target": ([], "the first argument must be a config file or the folder of a run"),
    "an option first": (["--steps=1", TINY], "the first argument must be a config file"),
    "no file": (["tini.py"], "config file tini.py does not exist"),
    "no run": (["."], ". is not a run folder: it has no config.json"),
    "no steps": ([TINY, "--steps=0"], "--steps is 0; it must be at least 1"),
    "no interval": ([TINY, "--every=0"], "--every is 0; it must be at least 1"),
    "no layer": (
        [TINY, "--config.probes.layers=conf"],
        "layers has 'conf', which matches no layer. Did you mean 'conv'",
    ),
    "no activation": ([TINY, "--config.probes.activations=hiden=relu"], "activations has 'hiden', which is no layer"),
    "no recurrence": ([TINY, "--probes=lags"], "the network has no flax.linen.RNN, so that it has no time lags"),
    "no instrument": ([TINY, "--probes=gradient"], "Probes.instruments is ('gradient',)"),
    "no field": ([TINY, "--config.model.feature=1"], "Did you mean --config.model.features?"),
    "no change": ([TINY, "--compare=model.features"], "--compare is 'model.features'; it must be FIELD=VALUE"),
    "a folder that is a file": ([TINY, f"--out={TINY}/x"], "x cannot be written: "),
    "a file as folder": ([TINY, f"--out={TINY}"], "tiny.py cannot be written: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(mistake, here, capsys):
    words, message = MISTAKES[mistake]
    assert main(["probe", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert written(here) == []


def test_a_disk_that_fails_at_the_end_leaves_nothing(here, trained, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(probe, "draw_figures", full)
    assert main(["probe", TINY, "--steps=1", "--probes=gradients", "--out=a/b"]) == 2
    assert "--out=a/b cannot be written: No space left on device. Give another folder." in capsys.readouterr().err
    assert written(here) == []
    (here / "kept").mkdir()
    (here / "kept" / "probe.json").write_text("earlier")
    assert main(["probe", TINY, "--steps=1", "--probes=gradients", "--out=kept"]) == 2
    assert written(here / "kept") == ["probe.json"] and (here / "kept" / "probe.json").read_text() == "earlier"


def test_ctrl_c_writes_nothing(here, monkeypatch, capsys):
    def stopped(*_, **__):
        raise Preempted

    monkeypatch.setattr(probe, "probe_run", stopped)
    assert main(["probe", TINY]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err and written(here) == []


def test_help_names_the_options_and_the_fields(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["probe", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    assert all(
        word in out for word in ("TARGET", "--steps", "--every", "--probes", "--compare", "--out", "--config.model")
    )
