import pytest

from jaxcnn import Data, Experiment, InputError, override
from jaxcnn.cli.axes import read_axes, take_axes
from jaxcnn.models import VGG, LeNet5

BASE = Experiment(model=LeNet5(), data=Data(source="digits"))


def read(*arguments, experiment=BASE):
    others, axes = take_axes(arguments)
    assert others == []
    return read_axes(axes, experiment)


def test_axes_are_taken_out_of_the_arguments():
    arguments = ["--workdir", "a", "--grid.seed=0,1", "--config.epochs", "2", "--grid.model.norm", "none,batch"]
    others, axes = take_axes(arguments)
    assert others == ["--workdir", "a", "--config.epochs", "2"]
    assert axes == {"seed": "0,1", "model.norm": "none,batch"}


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("seed=0, 1,2", [0, 1, 2]),
        ("optimizer.learning_rate=1e-3,1", [0.001, 1.0]),
        ("optimizer.learning-rate=1", [1.0]),
        ("optimizer.nesterov=true,False", [True, False]),
        ("optimizer.clip_norm=none,1", [None, 1.0]),
        ("optimizer.algorithm=sgd,adam", ["sgd", "adam"]),
        ("model.norm=none,batch", ["none", "batch"]),
        ("data.mean=(0.1),(0.1,0.2,0.3)", [(0.1,), (0.1, 0.2, 0.3)]),
        ("augment.scale_jitter=none,(256,512)", [None, (256, 512)]),
        ("data.name=mnist,cifar10:3.0.2", ["mnist", "cifar10:3.0.2"]),
        ('data.name="a,b",c, "d"', ["a,b", "c", "d"]),
        ('data.name="",a', ["", "a"]),
        ("data.name=a(b,é/ü,f(x,y)z,)", ["a(b", "é/ü", "f(x,y)z", ")"]),
    ],
)
def test_values_have_the_types_of_their_field(argument, values):
    (found,) = read(f"--grid.{argument}").values()
    assert found == values and [*map(type, found)] == [*map(type, values)]


def test_the_options_of_a_part_that_an_axis_names_are_fields():
    expected = {"model.norm.momentum": [0.9, 0.5], "model.norm": ["batch"]}
    assert read("--grid.model.norm.momentum=0.9,0.5", "--grid.model.norm=batch") == expected
    batch = override(BASE, {"model.norm": "batch"})
    assert read("--grid.model.norm.momentum=0.9", experiment=batch) == {"model.norm.momentum": [0.9]}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--grid.seed=", "--grid.seed has no values"),
        ("--grid.seed", "--grid.seed has no values"),
        ("--grid.sede=1", r"--grid.sede is not a field of this experiment. Did you mean --grid.seed\?"),
        ("--grid.seed=0,x", r"--grid.seed has the value 'x'; it must be an integer >= 0"),
        ("--grid.seed=0,,1", "--grid.seed has the value ''"),
        ("--grid.model.norm=bach", "has the value 'bach'; .* Did you mean 'batch'"),
        (
            "--grid.data.mean=0.1",
            r"must be a tuple, each element a finite number. Write a tuple in parentheses, as in \(1,2\)",
        ),
        ("--grid.optimizer.nesterov=maybe", "must be True or False"),
        (
            "--grid.optimizer=1",
            "--grid.optimizer takes no values; vary its fields algorithm, .*, or write a function",
        ),
        ("--grid.model=lenet5", "--grid.model takes no values; vary its fields .*, or write a function sweep_NAME"),
        ("--grid.data.name=a,", "--grid.data.name has the value ''"),
        ("--grid.seed=-1", "--grid.seed has the value '-1'; it must be an integer >= 0"),
        ("--grid.optimizer.learning_rate=nan", "has the value 'nan'; it must be a finite number > 0"),
        (
            "--grid.model.norm.momentum=0.9,0.5",
            "model.norm, as it is set, has no fields. Set it to a part that has them by --grid.model.norm or",
        ),
    ],
)
def test_axes_that_are_refused(argument, message):
    with pytest.raises(InputError, match=message):
        read(argument)


def test_an_axis_that_is_given_twice_is_refused():
    with pytest.raises(InputError, match=r"--grid.seed is given twice"):
        take_axes(["--grid.seed=1", "--grid.seed=2"])


def test_choices_of_a_network():
    vgg = Experiment(model=VGG("A"), data=Data(source="digits"))
    assert read("--grid.model.configuration=A,D", experiment=vgg) == {"model.configuration": ["A", "D"]}
