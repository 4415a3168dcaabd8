"""Which readings are called wrong, in which words, and whether the remedies can be run."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from jaxcnn import Experiment
from jaxcnn.cli import launch
from jaxcnn.config import load_config, override
from jaxcnn.models import LeNet5, PlainNet
from jaxcnn.probes import History, diagnosis
from jaxcnn.probes.diagnosis import Kind, arguments, diagnose, distinct, power, remedies
from tests.probes.records import landscape, layer, record, shift

ROOT = Path(__file__).parents[2]
SIGMOID = Experiment(model=PlainNet(activation="sigmoid", kernel_init="glorot", norm="none"))
SATURATED = {"act1": layer(1.0, kernel=False, saturated=[0.1, 0.5, 0.97])}
DEAD = {"act2": layer(1.0, kernel=False, active=np.array([[1, 1], [0, 1], [0, 1]]))}
LAGS = {"layers": {"rnn": np.tile(0.5 ** np.arange(20, 0, -1), (3, 1))}}

WRONG = {
    "vanishing": (record((1e-6, 1e-3, 1.0)), "falls to 10^-6.0 of its norm from fc3 to fc1 (at step 0: 10^-6.0), by a"),
    "exploding": (record((1e3, 1.0, 1e-1)), "grows to 10^4.0 times its norm from fc3 to fc1"),
    "saturated": (record(others=SATURATED), "97% of the outputs of act1 are saturated."),
    "dead": (record(others=DEAD), "50% of the units of act2 are dead: 0 on the last 1,000 images."),
    "turning": (
        record(readings={"ics": shift({"fc1": 1, "fc2": -0.15})}),
        "reverse the gradient of fc2 (cosine -0.15, median",
    ),
    "unpredictable": (record(readings={"landscape": landscape(3.0)}), "changes by 3 times its own norm (median)"),
    "lags": (
        record(readings={"lags": LAGS}),
        "each step back multiplies it by 0.50, and 19 steps back 10^-5.7 of it is",
    ),
    "diverged": (record(diverged="the loss of step 7 is nan"), "Training diverged: the loss of step 7 is nan."),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said_with_its_numbers_and_layers(kind):
    case, words = WRONG[kind]
    (found,) = diagnose(case, SIGMOID)
    assert found.kind == kind and words in found.text


def test_a_healthy_network_has_no_finding():
    readings = {"ics": shift({"fc1": 1, "fc2": 0.3}), "landscape": landscape(0.2)}
    others = {
        "act1": layer(1.0, kernel=False, saturated=[0.6, 0.3, 0.2]),
        "act2": layer(1.0, kernel=False, active=np.ones((3, 2))),
    }
    assert diagnose(record((0.1, 1.0, 1.0), others=others, readings=readings), SIGMOID) == []


@pytest.mark.parametrize(("ratio", "kind"), [(0.5, "fast"), (1e-7, "slow"), (1e-3, None)])
def test_updates_that_are_far_from_a_thousandth_of_the_weights_are_reported(ratio, kind):
    others = {f"fc{i}": layer(1.0, ratio=ratio) for i in (1, 2, 3)}
    assert [f.kind for f in diagnose(record(others=others), SIGMOID)] == ([kind] if kind else [])


def test_updates_of_0_are_those_of_a_schedule_that_has_ended_not_of_a_small_learning_rate():
    experiment = override(SIGMOID, {"optimizer.schedule.name": "cosine"})
    (found,) = diagnose(record(others={f"fc{i}": layer(1.0, ratio=0.0) for i in (1, 2, 3)}), experiment)
    assert found.kind == "stopped" and "updates at step 20 are exactly 0 although there is a gradient" in found.text
    # A larger learning rate would be multiplied by 0, too.
    assert found.remedies == ({"optimizer.schedule.name": "constant"},)


@pytest.mark.parametrize(
    "readings",
    [{"ics": shift({"fc1": 1, "fc2": 1})}, {"landscape": landscape(0.0) | {"smoothness": np.full(3, np.nan)}}],
)
def test_updates_of_0_are_also_seen_without_readings_of_gradients(readings):
    alone = dataclasses.replace(record(), history=History(10 * np.arange(3), readings, {}))
    assert [found.kind for found in diagnose(alone, SIGMOID)] == ["stopped"]


def test_a_gradient_that_is_exactly_0_is_said_to_be_so():
    (found,) = diagnose(record((0.0, 1e-9, 1.0), others={}), SIGMOID)
    assert "is exactly 0 at fc1: nothing arrives there" in found.text


def test_fewer_than_a_thousand_images_show_inactive_units_not_dead_ones():
    others = {"act2": layer(1.0, kernel=False, active=np.array([[0, 1]] * 3))}
    (found,) = diagnose(record(others=others, images=10), SIGMOID)
    assert found.kind == "dead" and "inactive: 0 on the last 30 images" in found.text and "dead" not in found.text


def test_remedies_leave_out_what_the_network_has_already_or_cannot_have():
    assert remedies("vanishing", SIGMOID) == (
        {"model.activation": "relu", "model.kernel_init": "he"},
        {"model.norm": "batch"},
        {"model.skip": "post_activation"},
    )
    assert remedies("vanishing", override(SIGMOID, {"model.activation": "relu"}))[0] == {"model.kernel_init": "he"}
    assert remedies("vanishing", Experiment(model=PlainNet())) == ({"model.skip": "post_activation"},)
    assert remedies("vanishing", Experiment(model=LeNet5())) == ({"model.norm": "batch"},)
    slower, *_ = remedies("diverged", override(SIGMOID, {"optimizer.learning_rate": 0.3}))
    assert slower == {"optimizer.learning_rate": 0.03}


def test_the_step_along_the_gradient_is_judged_for_gradient_descent_alone():
    adam = override(SIGMOID, {"optimizer.algorithm": "adam"})
    assert diagnose(record(readings={"landscape": landscape(3.0)}), adam) == []


def test_distinct_remedies_of_several_findings():
    case = record((1e-6, 1e-3, 1.0), others=SATURATED)
    assert [f.kind for f in diagnose(case, SIGMOID)] == ["vanishing", "saturated"]
    assert distinct(diagnose(case, SIGMOID)) == list(remedies("vanishing", SIGMOID))


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "configs").glob("*.py")))
def test_every_remedy_of_a_shipped_config_is_accepted_and_changes_it(file):
    experiment = load_config(ROOT / "configs" / file)
    found = [changes for kind in get_args(Kind) for changes in remedies(kind, experiment)]
    assert found
    for changes in found:
        assert override(experiment, changes) != experiment


def test_remedies_are_arguments_of_launch():
    file = ROOT / "configs" / "plain20_cifar10.py"
    experiment = load_config(file)
    for kind in ("vanishing", "diverged"):
        for changes in remedies(kind, experiment):
            words = [f"--config={file}", *arguments(changes).split()]
            assert launch.parse(words, prog="", default_config=None).config == override(experiment, changes)


@pytest.mark.parametrize(
    ("exponent", "text"),
    [(-11.93, "10^-11.9"), (-0.3, "0.5"), (2.0, "100"), (2.999, "998"), (3.0, "10^3.0"), (-np.inf, "0")],
)
def test_powers_are_short(exponent, text):
    assert power(exponent) == text


def test_thresholds_have_reasons():
    text = Path(diagnosis.__file__).read_text()
    for name in ("VANISHING", "EXPLODING", "SATURATED", "DEAD", "TURNING", "UNPREDICTABLE", "FAST, SLOW"):
        assert '"""' in text.split(f"\n{name} = ")[1].split("\n")[1]
