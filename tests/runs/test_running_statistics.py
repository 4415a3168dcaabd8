"""An evaluation with running statistics of too few updates gives a hint to use others."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import Data, Experiment, Fake
from jaxcnn.__main__ import main
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import Chain, LeNet5
from jaxcnn.runs.running_statistics import running_statistics_hint

SHAPE = (8, 8, 1)


def network(*momenta: float) -> Chain:
    norms = (BatchNorm(momentum=momentum, name=f"norm{i}") for i, momentum in enumerate(momenta))
    return Chain((Conv(2, kernel=3, name="conv"), *norms, Flatten(name="flatten"), Dense(10, name="output")))


def hint(model, updates, run=Path("no run")):
    shape = (32, 32, 1) if isinstance(model, LeNet5) else SHAPE
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, *shape), np.float32), train=False))
    return running_statistics_hint(run, model, variables, shape, updates)


@pytest.mark.parametrize(
    ("momenta", "updates", "share"),
    [
        ((0.9,), 1, "90%"),
        ((0.9,), 28, "5%"),
        ((0.9,), 29, None),  # 0.9 ** 28.4 is 0.05.
        ((0.5, 0.99), 29, "75%"),
        ((0.5, 0.99), 300, None),
        ((0.9,), 0, None),
        ((), 1, None),
    ],
)
def test_the_slowest_running_statistics_decide(momenta, updates, share):
    text = hint(network(*momenta) if momenta else LeNet5(), updates)
    assert (text is None) if share is None else (f"hold {share} of their initial values after {updates} upd" in text)


def test_weights_from_another_run_include_its_statistics(tmp_path):
    (tmp_path / "provenance.json").write_text(json.dumps({"init_from": "/another"}))
    assert hint(network(0.9), 1, tmp_path) is None and hint(network(0.9), 1) is not None


def test_training_and_evaluation_name_the_command_that_helps(tmp_path, capsys):
    data = Data(source="fake", fake=Fake(shape=SHAPE, train=32, test=16), batch_size=16)
    run = tmp_path / "run"
    jaxcnn.train(Experiment(model=network(0.9), data=data, epochs=1), run)
    said = (
        f"hold 81% of their initial values after 2 updates; `python -m jaxcnn evaluate {run} --batch_stats=algorithm2`"
    )
    assert said in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 0 and said in capsys.readouterr().err
    assert main(["evaluate", str(run), "--batch_stats=algorithm2"]) == 0 and said not in capsys.readouterr().err
