"""The measured cases and the number of their operations."""

import pytest

from jaxcnn.bench.cases import CASES, named, operations
from jaxcnn.layers import Conv, Dense, Flatten, MaxPool
from jaxcnn.models import ZOO, Chain, LeNet5
from jaxcnn.runtime.errors import InputError


def test_operations_by_hand():
    net = Chain((Conv(4, kernel=3, name="a"), MaxPool(2, name="p"), Conv(2, kernel=2, groups=2, name="b"),
                 Flatten(name="f"), Dense(5, name="c")))  # fmt: skip
    # Each product is positions * inputs of a unit * units.
    first, second, third = 8 * 8 * (9 * 3) * 4, 3 * 3 * (4 * 2) * 2, 18 * 5
    assert operations(net, (10, 10, 3), "forward") == 2 * (first + second + third)
    # The gradient of the images is not computed.
    assert operations(net, (10, 10, 3), "train") == 2 * (2 * first + 3 * second + 3 * third)
    c1 = 28 * 28 * 25 * 6
    assert operations(LeNet5(), (32, 32, 1), "train") == 6 * 416_520 - 2 * c1


def test_the_cases_match_the_reference():
    assert {name: (case.shape, case.batch_size) for name, case in CASES.items()} == {
        "lenet5": ((32, 32, 1), 256),
        "vgg_d_bn_32": ((32, 32, 3), 64),
        "alexnet": ((224, 224, 3), 32),
        "vgg_d": ((224, 224, 3), 8),
    }
    assert CASES["vgg_d_bn_32"].model.num_classes == 10
    assert named("vgg_a_bn").model is ZOO["vgg_a_bn"].model
    with pytest.raises(InputError, match=r"case 'vgg_dd' is unknown; there are lenet5, .*Did you mean 'vgg_d'\?"):
        named("vgg_dd")
