import pytest

import jaxcnn
from jaxcnn import Data, Experiment
from jaxcnn.config import to_json
from jaxcnn.layers import BatchNorm
from jaxcnn.models import LeNet5
from jaxcnn.sweep.settings import labels, paths_of, setting, text_of, texts_of, varying, without

BASE = Experiment(model=LeNet5(), data=Data(source="digits"))


def trees(*changes):
    return [to_json(jaxcnn.override(BASE, each)) for each in changes]


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ([{}], []),
        ([{"seed": 0}, {"seed": 1}], ["seed"]),
        ([{"seed": 1}, {"optimizer.momentum": 0.5}], ["optimizer.momentum", "seed"]),
        ([{"model.norm": "batch"}, {"model.norm": "none"}], ["model.norm"]),
        ([{"model.norm": "batch"}, {"model.norm": BatchNorm(momentum=0.5)}], ["model.norm"]),
        ([{"model.norm": BatchNorm(momentum=0.4)}, {"model.norm": BatchNorm(momentum=0.5)}], ["model.norm.momentum"]),
        ([{"data.mean": (0.1,)}, {"data.mean": (0.2,)}], ["data.mean"]),
        ([{"data.data_dir": "a"}, {"data.data_dir": "b"}], []),
        ([{"eval_every": 2}, {"log_every": 7}], []),
    ],
)
def test_the_settings_that_vary(changes, paths):
    assert varying(trees(*changes)) == paths


def test_a_setting_that_a_saved_configuration_lacks_does_not_vary():
    old, new = trees({}, {"seed": 1})
    del old["optimizer"]["nesterov"]
    assert varying([old, new]) == ["seed"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("batch", "batch"),
        (0.001, "0.001"),
        (1.0, "1"),
        (0.12345678, "0.12345678"),
        (None, "none"),
        (True, "true"),
        ([0.1, 2], "(0.1,2)"),
        (to_json(BatchNorm(momentum=0.99)), "BatchNorm(momentum=0.99)"),
        (to_json(LeNet5(num_classes=7)), "LeNet5(num_classes=7)"),
        ({"class": "folder/my.py:Net", "width": 4}, "Net(width=4)"),
        ({"import": "jax.nn.relu"}, "relu"),
    ],
)
def test_the_text_of_a_value(value, text):
    assert text_of(value) == text


def test_long_numbers_are_shortened_as_long_as_they_stay_different():
    assert texts_of([1 / 3, 2 / 3, 1]) == ["0.3333", "0.6667", "1"]
    assert texts_of([0.12341, 0.12342]) == ["0.12341", "0.12342"]


def test_labels_are_the_shortest_endings_that_differ():
    paths = ["seed", "optimizer.momentum", "model.norm.momentum", "model.norm"]
    expected = ["seed", "optimizer.momentum", "norm.momentum", "norm"]
    assert labels(paths) == dict(zip(paths, expected, strict=True))


def test_a_path_that_does_not_exist():
    (tree,) = trees({})
    assert setting(tree, "optimizer.momentum") == 0.9
    for path in ("optimizer.mom", "seed.more"):
        with pytest.raises(KeyError):
            setting(tree, path)
        assert path not in paths_of(tree)
        assert without(tree, path) == tree


def test_a_norm_that_is_given_by_its_name_has_its_options():
    named, record = trees({"model.norm": "batch"}, {"model.norm": BatchNorm(momentum=0.99)})
    assert [setting(tree, "model.norm.momentum") for tree in (named, record)] == [BatchNorm().momentum, 0.99]
    assert {"model.norm", "model.norm.momentum"} <= {*paths_of(named)}
    assert without(named, "model.norm.momentum") == without(record, "model.norm.momentum") != record
    assert setting(named, "model.norm") == "batch"


def test_lists_of_layers_read_as_the_layers_that_not_all_have():
    conv, norm = ({"class": f"jaxcnn.layers.{kind}", "name": kind.lower()} for kind in ("Conv", "BatchNorm"))
    assert texts_of([[conv], [conv, norm]]) == ["()", "(BatchNorm(name=batchnorm))"]
    assert texts_of([[norm, conv], [conv, norm]])[1] == "(Conv(name=conv),BatchNorm(name=batchnorm))"
