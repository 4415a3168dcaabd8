"""Objectives are named on command lines, and survive JSON and sweeps."""

import json

import pytest

from jaxcnn import Data, Experiment, InputError, override
from jaxcnn.cli.arguments import take_names
from jaxcnn.cli.axes import read_axes, take_axes
from jaxcnn.cli.objectives import read_objective
from jaxcnn.config import from_json, run_id, to_json
from jaxcnn.models import LeNet5
from jaxcnn.objectives import CrossEntropy, MaximumAPosteriori
from jaxcnn.shift import (
    DANN,
    AugMix,
    CorruptionAugmentation,
    DeepCoral,
    LinearProbe,
    RobustPseudoLabels,
    SelfTraining,
)

BASE = Experiment(model=LeNet5(norm="batch"), data=Data(target="corruption:contrast:3"))
WORDS = {
    "CrossEntropy": CrossEntropy(),
    "MaximumAPosteriori(j=3)": MaximumAPosteriori(3.0),
    "DeepCoral(weight=100)": DeepCoral(weight=100.0),
    "DANN(hidden=(50, 20), statistics='source')": DANN(hidden=(50, 20), statistics="source"),
    "AugMix(classification=MaximumAPosteriori(j=2))": AugMix(classification=MaximumAPosteriori(2.0)),
    "CorruptionAugmentation(corruptions=('fog',), share=.2)": CorruptionAugmentation(corruptions=("fog",), share=0.2),
    "LinearProbe": LinearProbe(),
    "SelfTraining(threshold=0.9)": SelfTraining(threshold=0.9),
    "RobustPseudoLabels()": RobustPseudoLabels(),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_gives_an_objective_which_survives_json(word):
    assert read_objective(word) == WORDS[word]
    rest, experiment = take_names([f"--config.objective={word}", "--config.seed=1"], BASE)
    assert rest == ["--config.seed=1"] and experiment.objective == WORDS[word]
    again = from_json(json.loads(json.dumps(to_json(experiment))))
    assert again == experiment and run_id(again) == run_id(experiment)


def test_objectives_are_an_axis_of_a_grid():
    _, axes = take_axes([f"--grid.objective={','.join(WORDS)}"])
    found = read_axes(axes, BASE)["objective"]
    assert found == [*WORDS.values()]
    assert len({run_id(override(BASE, {"objective": each})) for each in found}) == len(found)
    # The options of an objective that is named are fields.
    _, axes = take_axes(["--grid.objective=DeepCoral", "--grid.objective.weight=1,10"])
    assert read_axes(axes, BASE)["objective.weight"] == [1.0, 10.0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("DNN", r"objective 'DNN' is unknown; there are CrossEntropy, .*DANN.* Did you mean 'DANN'\?"),
        ("Objective", r"objective 'Objective' is unknown"),
        ("DeepCoral(wieght=1)", r"DeepCoral has no option 'wieght'; its options are .* Did you mean 'weight'\?"),
        ("DeepCoral(100)", r"objective is 'DeepCoral\(100\)'; it must be a name such as CrossEntropy"),
        ("DeepCoral(weight=", r"it must be a name such as"),
        ("DeepCoral(weight=-1)", r"DeepCoral\.weight is -1; it must be a finite number >= 0"),
        ("Entropy", r"Entropy lacks layers; write Entropy\(layers=\.\.\.\)"),
        ("__import__('os')", r"it must be a name such as"),
    ],
)
def test_bad_words_are_one_message(word, message):
    with pytest.raises(InputError, match=message):
        read_objective(word)
