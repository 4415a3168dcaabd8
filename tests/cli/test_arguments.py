"""The forms in which people type fields of an experiment, and the hints for unknown fields."""

from pathlib import Path

import pytest

from jaxcnn.cli import launch
from jaxcnn.cli.arguments import for_tyro, take_names
from jaxcnn.cli.launch import parse
from jaxcnn.config import Augment, Data, Experiment, load_config, override, to_json
from jaxcnn.layers import BatchNorm, GroupNorm, LocalResponseNorm
from jaxcnn.models import AlexNet, LeNet5
from jaxcnn.runtime.errors import InputError

TINY = Path(__file__).parents[1] / "tiny.py"
EXPERIMENT = Experiment(
    model=LeNet5(activation="relu"), data=Data(data_dir="d"), augment=Augment(crop=8, scale_jitter=(8, 9))
)


def parsed(*arguments):
    return launch.parse([*arguments], prog="launch.py", default_config=TINY).config


@pytest.mark.parametrize(
    ("typed", "changes"),
    [
        ("--config.augment.flip=false", {"augment.flip": False}),
        ("--config.augment.flip=FALSE", {"augment.flip": False}),
        ("--config.augment.flip=False", {"augment.flip": False}),
        ("--config.augment.flip false", {"augment.flip": False}),
        ("--config.optimizer.nesterov=true", {"optimizer.nesterov": True}),
        ("--config.optimizer.nesterov", {"optimizer.nesterov": True}),
        ("--config.optimizer.nesterov true", {"optimizer.nesterov": True}),
        ("--config.optimizer.nesterov --config.seed=3", {"optimizer.nesterov": True, "seed": 3}),
        ("--config.seed 3 --config.optimizer.nesterov", {"optimizer.nesterov": True, "seed": 3}),
        ("--config.optimizer.clip_norm=none", {"optimizer.clip_norm": None}),
        ("--config.optimizer.clip_norm=null", {"optimizer.clip_norm": None}),
        ("--config.optimizer.clip_norm None", {"optimizer.clip_norm": None}),
        ("--config.data.data_dir=NULL", {"data.data_dir": None}),
        ("--config.augment.scale_jitter=none", {"augment.scale_jitter": None}),
        ("--config.augment.scale_jitter none", {"augment.scale_jitter": None}),
        (
            "--config.augment.crop=4 --config.augment.scale_jitter=5,6",
            {"augment.crop": 4, "augment.scale_jitter": (5, 6)},
        ),
        (
            "--config.augment.crop 4 --config.augment.scale_jitter 5,6",
            {"augment.crop": 4, "augment.scale_jitter": (5, 6)},
        ),
        ("--config.data.fake.shape 16,20,3", {"data.fake.shape": (16, 20, 3)}),
        ("--config.data.fake.shape 16 20 3 --config.seed 1", {"data.fake.shape": (16, 20, 3), "seed": 1}),
        ("--config.data.mean=-0.1", {"data.mean": (-0.1,)}),
        ("--config.data.mean -0.1 -.2 0", {"data.mean": (-0.1, -0.2, 0.0)}),
        ("--config.optimizer.learning-rate=0.5", {"optimizer.learning_rate": 0.5}),
        # "none" is a choice here, not None.
        ("--config.optimizer.weight_decay_scope=none", {"optimizer.weight_decay_scope": "none"}),
    ],
)
def test_forms_that_people_type(typed, changes):
    assert to_json(parsed(*typed.split())) == to_json(override(load_config(TINY), changes))


def test_none_and_null_mean_none_for_every_optional_field():
    options = ("model.activation", "data.data_dir", "data.image_size", "augment.scale_jitter", "optimizer.clip_norm")
    for word in ("none", "Null", "NONE"):
        typed = [f"--config.{option}={word}" for option in options]
        assert for_tyro(typed, EXPERIMENT) == [part for option in options for part in (f"--config.{option}", "None")]
    # These are not optional, and "none" is a choice of the first.
    typed = ["--config.model.norm=none", "--config.data.name=null", "--config.epochs=none"]
    assert for_tyro(typed, EXPERIMENT) == typed


def test_other_options_are_unchanged():
    typed = ["--workdir=a=b", "--init_from", "none", "--dry_run", "word", "-h"]
    assert for_tyro(typed, EXPERIMENT) == typed


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--config.augment.flip=yes", "invalid choice 'yes' for argument '--config.augment.flip'"),
        ("--config.augment.flip maybe", "invalid choice 'maybe' for argument '--config.augment.flip'"),
        ("--config.augment.flip=none", "invalid choice 'none' for argument '--config.augment.flip'"),
        ("--config.augment.flip true false", "Unrecognized options: false"),
        ("--config.epochs=none", "none"),
        ("--config.epochs", "Missing value for argument '--config.epochs'"),
        ("--config.data.fake.shape=1,2", "--config.data.fake.shape"),
        ("--config.data.mean=0.1,x", "--config.data.mean"),
        ("--config.optimizer.clip_norm=nil", "nil"),
    ],
)
def test_an_invalid_value_is_reported_by_tyro(typed, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*typed.split())
    assert stop.value.code == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").replace("|", " ").split())
    assert words in shown and "For full helptext" in shown


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("optimizer.lr=0.1", "Did you mean --config.optimizer.learning_rate?"),
        ("weight_decay=1", "Did you mean --config.optimizer.weight_decay?"),
        ("model.nrom=batch", "Did you mean --config.model.norm?"),
        ("model.nrom", "Did you mean --config.model.norm?"),
        (
            "augment.mixup=1",
            "The fields of --config.augment are crop, crop_pad, scale_jitter, shift, rotation, scale, flip, pca_color.",
        ),
        ("optimizer.schedule.x.y=1", "The fields of --config.optimizer.schedule are name, warmup_epochs, "),
        ("loss=mse", "The fields of the experiment are model, data, augment, optimizer, objective, seed, epochs, "),
        ("=1", "The fields of the experiment are model, "),
    ],
)
def test_an_unknown_field_gives_the_nearest_one_or_a_list(option, hint):
    path = option.partition("=")[0]
    with pytest.raises(InputError) as error:
        for_tyro([f"--config.{option}"], EXPERIMENT)
    assert str(error.value).startswith(f"--config.{path} is not a field of this experiment. {hint}")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("augment=none", "takes no value; set its fields crop, crop_pad, scale_jitter, "),
        ("model=VGG", "takes no value; set its fields dtype, ops, num_classes, "),
        ("objective=mse", "takes no value; replace it in the config file."),
    ],
)
def test_a_part_takes_no_value(option, words):
    with pytest.raises(InputError) as error:
        for_tyro([f"--config.{option}"], EXPERIMENT)
    assert words in str(error.value)


@pytest.mark.parametrize("option", ["seed.x", "model.norm.momentum"])
def test_a_value_without_fields_is_named(option):
    field = option.rpartition(".")[0]
    words = rf"^--config\.{option} is not a field .*: --config\.{field}, as it is set, has no fields\.$"
    with pytest.raises(InputError, match=words):
        for_tyro([f"--config.{option}=1"], EXPERIMENT)


def test_a_hint_is_one_line_of_status_2(capsys):
    assert launch.main(["--config.optimizer.lr=1"], prog="launch.py", default_config=TINY) == 2
    hint = "is not a field of this experiment. Did you mean --config.optimizer.learning_rate?"
    assert capsys.readouterr() == ("", f"launch.py: --config.optimizer.lr {hint}\n")


LRN_7 = LocalResponseNorm(7, 1e-4, 0.75, 1.0, "mean")


@pytest.mark.parametrize(
    ("arguments", "norm"),
    [
        (["--config.model.norm=batch"], BatchNorm()),
        (["--config.model.norm", "batch", "--config.model.norm.momentum=0.99"], BatchNorm(momentum=0.99)),
        (["--config.model.norm.momentum=0.5", "--config.model.norm=batch"], BatchNorm(momentum=0.5)),
        (["--config.model.norm=batch", "--config.model.norm.unbiased=false"], BatchNorm(unbiased=False)),
        (["--config.model.norm=group", "--config.model.norm.num_groups=3"], GroupNorm(3)),
        (["--config.model.norm=local_response_caffe", "--config.model.norm.size=7"], LRN_7),
        (["--config.model.norm=none"], "none"),
    ],
)
def test_names_select_norms_whose_options_are_fields(arguments, norm, tmp_path):
    file = tmp_path / "c.py"
    file.write_text("from jaxcnn import Experiment\nfrom jaxcnn.models import LeNet5\n")
    with file.open("a") as more:
        more.write("def get_config():\n    return Experiment(model=LeNet5(norm='layer'))\n")
    assert parse([f"--config={file}", *arguments], prog="p", default_config=None).config.model.norm == norm


def test_a_norm_of_none_is_that_of_the_variant():
    experiment = Experiment(model=AlexNet(10, norm="batch"))
    assert take_names(["--config.model.norm=None", "--x"], experiment)[1].model.norm is None
    assert take_names(["--config.model.norm=none"], experiment)[1].model.norm == "none"
    with pytest.raises(InputError, match=r"AlexNet\.norm is 'bach'; .* Did you mean 'batch'\?"):
        take_names(["--config.model.norm=bach"], experiment)
