"""Every claim runs in a miniature, and every record has the verdict that its measurements give."""

import json

import numpy as np
import pytest

from jaxcnn.claims import records
from jaxcnn.claims.catalogue import NAMES, find
from jaxcnn.claims.running import run
from jaxcnn.claims.study import Study
from jaxcnn.data import Split, tfds
from jaxcnn.layers import trace
from jaxcnn.models.convnet import ConvNet

SPENT = ("minutes", "processor_minutes")
WITHOUT_TRAINING = {"vanishing_depth", "importance_weighting"}
# Claims about several ways to use one network.
ONE_NETWORK = {"cifar10_corruptions", "detected_harmful"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_miniature_gives_a_record_and_resumes_without_training(name, tmp_path, monkeypatch):
    claim = find(name)
    path = run(claim, tmp_path, seeds=2, scale="tiny")
    record = json.loads(path.read_text())
    assert path == tmp_path / name / f"{name}.json"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert (record["claim"], record["seeds"]) == (name, 2)
    assert record["command"] == f"python -m jaxcnn claims {name} --seeds=2 --scale=tiny"
    folders = sorted(p for p in (tmp_path / name).rglob("results.json"))
    times = [p.stat().st_mtime_ns for p in folders]
    again = json.loads(run(claim, tmp_path, seeds=2, scale="tiny").read_text())
    assert [p.stat().st_mtime_ns for p in folders] == times and all(again[each] > record[each] for each in SPENT)
    assert {k: v for k, v in again.items() if k not in SPENT} == {k: v for k, v in record.items() if k not in SPENT}


class _Stop(Exception):
    pass


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_TRAINING])
def test_the_experiments_of_every_scale_fit_together(name, scale, tmp_path, monkeypatch):
    arms = {}

    def repeat(study, experiments, **options):
        arms.update(experiments)
        raise _Stop

    monkeypatch.setattr(Study, "tune", lambda study, experiments, *_, **__: dict(experiments))
    monkeypatch.setattr(Study, "best", lambda study, names: names[0])
    monkeypatch.setattr(Study, "repeat", repeat)
    # For a claim that changes images or labels before it trains.
    few = Split(np.zeros((20, 28, 28, 1), np.uint8), np.arange(20, dtype=np.int32) % 10)
    monkeypatch.setattr(tfds, "load", lambda settings: (few, few, ()))
    with pytest.raises(_Stop):
        find(name).measure(Study(tmp_path, seeds=5, scale=scale))
    assert len(arms) >= (1 if name in ONE_NETWORK else 2)
    for experiment in arms.values():
        data = experiment.data
        assert data.validation
        assert data.source == "arrays" or (data.name in find(name).data and data.split_seed is not None)
        if not isinstance(experiment.model, ConvNet):
            continue
        side = data.image_size or {1: 28, 3: 32}[len(data.mean)]
        side = experiment.augment.crop or side + 2 * data.pad
        trace(experiment.model.layers(), (side, side, len(data.mean)))


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_is_complete(name):
    claim = find(name)
    assert claim.name == name and claim.seeds >= 3
    for text in (claim.statement, claim.rule):
        assert text.endswith(".") and text[0].isupper()


@pytest.mark.parametrize("name", [*records.read(records.package_folder())])
def test_a_recorded_verdict_follows_from_the_recorded_measurements(name, tmp_path):
    record = records.read(records.package_folder())[name]
    claim = find(name)
    assert records.verdict_of(record) == claim.decide(record["measurements"])
    assert (record["statement"], record["source"], record["rule"]) == (claim.statement, claim.source, claim.rule)
    assert record["scale"] == "small" and record["seeds"] >= claim.seeds
    assert claim.draw(record["measurements"], tmp_path / "a.png").is_file()
