import dataclasses
import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.config import (
    Augment,
    Data,
    Experiment,
    Fake,
    Optimizer,
    Schedule,
    differences,
    flatten,
    from_json,
    load_config,
    override,
    run_id,
    to_json,
)
from jaxcnn.data import center_crop
from jaxcnn.layers import Conv, Layer
from jaxcnn.models import VGG, LeNet5
from jaxcnn.objectives import CrossEntropy, MaximumAPosteriori, MeanSquaredError
from jaxcnn.runtime.errors import InputError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.py"))
LENET = Experiment(model=LeNet5())


def reloaded(experiment):
    """Convert an experiment to the text of a config.json and back."""
    return from_json(json.loads(json.dumps(to_json(experiment))))


def message(function, *args, **kwargs):
    with pytest.raises(InputError) as error:
        function(*args, **kwargs)
    return str(error.value)


def config_file(folder, body, head="from jaxcnn import *\nfrom jaxcnn.models import LeNet5\n"):
    """Write a config file whose get_config() has this body; the body begins on line 4."""
    path = folder / "mine.py"
    path.write_text(head + "def get_config():\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n")
    return path


# A value other than the default for every setting that decides the result, and for every setting that does not.
DECIDING = {
    "model.num_classes": 11,
    "model.activation": "relu",
    "model.pooling": "max",
    "model.norm": "batch",
    "model.variant": "1998",
    "model.dtype": "bfloat16",
    "model.ops": "lax",
    "data.source": "fake",
    "data.name": "mnist",
    "data.train_split": "train[:50%]",
    "data.test_split": "validation",
    "data.validation": 0.1,
    "data.split_seed": 3,
    "data.subgroup": "thin",
    "data.target": "digits",
    "data.train_count": 10,
    "data.batch_size": 64,
    "data.image_size": 16,
    "data.pad": 2,
    "data.channel_order": "bgr",
    "data.mean": (0.1, 0.2, 0.3),
    "data.std": (0.5,),
    "data.fake.shape": (16, 16, 3),
    "data.fake.num_classes": 3,
    "data.fake.train": 100,
    "data.fake.test": 100,
    "augment.crop": 24,
    "augment.crop_pad": 4,
    "augment.scale_jitter": (24, 48),
    "augment.shift": 1.0,
    "augment.rotation": 5.0,
    "augment.scale": 0.1,
    "augment.flip": True,
    "augment.pca_color": 0.1,
    "optimizer.algorithm": "adam",
    "optimizer.learning_rate": 0.1,
    "optimizer.momentum": 0.0,
    "optimizer.nesterov": True,
    "optimizer.b1": 0.8,
    "optimizer.b2": 0.99,
    "optimizer.eps": 1e-6,
    "optimizer.weight_decay": 0.0,
    "optimizer.weight_decay_form": "decoupled",
    "optimizer.weight_decay_scope": "all",
    "optimizer.clip_norm": 1.0,
    "optimizer.schedule.name": "cosine",
    "optimizer.schedule.warmup_epochs": 1.0,
    "optimizer.schedule.drops": (1.0, 2.0),
    "optimizer.schedule.factor": 0.5,
    "optimizer.schedule.patience": 3,
    "optimizer.schedule.final": 0.1,
    "seed": 1,
    "epochs": 3,
}
FREE = {
    "data.data_dir": "/elsewhere",
    "data.eval_batch_size": 7,
    "data.decode": "always",
    "eval_every": 2,
    "checkpoint_every": 3,
    "log_every": 1,
    "probes.every": 10,
    "probes.instruments": ("ics",),
    "probes.layers": ("conv*",),
    "probes.activations": ("conv1=tanh",),
    "compilation_cache": True,
}
# Settings that a setting of the first table requires.
NEEDED = {path: {"augment.crop": DECIDING["augment.crop"]} for path in ("augment.crop_pad", "augment.scale_jitter")}


def test_the_objective_decides_the_result():
    objectives = (CrossEntropy(), MaximumAPosteriori(), MaximumAPosteriori(j=3.0), MeanSquaredError())
    experiments = [override(LENET, {"objective": objective}) for objective in objectives]
    assert len(set(map(run_id, experiments))) == len(objectives)
    assert [from_json(json.loads(json.dumps(to_json(e)))) for e in experiments] == experiments


def test_an_experiment_saved_with_the_name_of_a_loss_loads():
    saved = json.loads((Path(__file__).parents[1] / "fixtures" / "configs.json").read_text())
    names = ("lenet5_1998_mnist", "lenet5_1998_mse", "vgg_group")
    found = [from_json(saved[name]["config"]).objective for name in names]
    assert found == [MaximumAPosteriori(), MeanSquaredError(), CrossEntropy()]


def test_a_config_file_with_the_name_of_a_loss_is_told_what_to_write(tmp_path):
    (tmp_path / "old.py").write_text(
        "from jaxcnn import Experiment\nfrom jaxcnn.models import LeNet5\n"
        "def get_config():\n    return Experiment(model=LeNet5(), loss='map')\n"
    )
    with pytest.raises(InputError, match=r"old.py, line 4: .*'loss'.* Write objective=CrossEntropy\(\)"):
        load_config(tmp_path / "old.py")


def test_the_tables_above_name_every_setting():
    assert set(DECIDING) | set(FREE) == set(flatten(LENET)) - {"model.class", "objective.class"}


# --- run ids and differences


def test_the_run_id_depends_exactly_on_the_settings_that_decide_the_result():
    assert len(run_id(LENET)) == 12
    assert run_id(override(LENET, FREE)) == run_id(LENET)
    ids = [run_id(override(LENET, {path: value} | NEEDED.get(path, {}))) for path, value in DECIDING.items()]
    assert len({run_id(LENET), *ids}) == 1 + len(DECIDING)


SAVED = json.loads((Path(__file__).parents[1] / "fixtures" / "configs.json").read_text())


@pytest.mark.parametrize("name", SAVED)
def test_the_run_ids_of_saved_runs_do_not_change(name):
    experiment = from_json(SAVED[name]["config"])
    assert run_id(experiment) == SAVED[name]["run_id"]
    assert run_id(reloaded(experiment)) == SAVED[name]["run_id"]


@pytest.mark.parametrize("name", sorted(SAVED.keys() & {path.stem for path in CONFIGS}))
def test_the_run_ids_of_config_files_do_not_change(name):
    saved = from_json(SAVED[name]["config"])
    found = load_config(next(path for path in CONFIGS if path.stem == name))
    assert differences(saved, found) == [] and run_id(found) == SAVED[name]["run_id"]


def test_a_split_seed_makes_another_run():
    now = override(LENET, {"data.split_seed": 0})
    assert run_id(now) != run_id(LENET) and reloaded(now) == now
    assert differences(LENET, now) == ["data.split_seed: saved nothing, now 0"]
    assert differences(now, LENET) == ["data.split_seed: saved 0, now nothing"]


def test_differences_show_both_values():
    now = override(LENET, {**FREE, "optimizer.momentum": 0.5, "seed": 1, "data.mean": (0.1, 0.2)})
    assert differences(LENET, now) == [
        "data.mean: saved [0.0], now [0.1, 0.2]",
        "optimizer.momentum: saved 0.9, now 0.5",
        "seed: saved 0, now 1",
    ]
    assert differences(LENET, override(LENET, FREE)) == []
    lines = differences(LENET, override(LENET, {"model": Third(widths=(4,))}))
    assert "model.norm: saved none, now nothing" in lines
    assert "model.widths: saved nothing, now [4]" in lines
    assert any(line.startswith("model.class: saved jaxcnn.models.LeNet5, now ") for line in lines)


# --- JSON


def rise(sequence):
    return tuple(sorted(set(sequence)))


POSITIVE = st.floats(1e-6, 1e6)
SHARE = st.floats(0, 1, exclude_max=True)
EXPERIMENTS = st.builds(
    Experiment,
    model=st.builds(LeNet5, st.integers(1, 99), norm=st.sampled_from(["none", "group"]), dtype=st.just("bfloat16")),
    data=st.builds(
        Data,
        source=st.sampled_from(["digits", "fake", "arrays"]),
        name=st.text(),
        data_dir=st.none() | st.text(),
        validation=SHARE,
        mean=st.lists(st.floats(-9, 9), max_size=3).map(tuple),
        image_size=st.none() | st.integers(1, 9),
        fake=st.builds(Fake, shape=st.tuples(*[st.integers(1, 9)] * 3)),
    ),
    augment=st.builds(
        Augment,
        flip=st.booleans(),
        scale=SHARE,
        crop=st.just(8),
        scale_jitter=st.none() | st.tuples(st.integers(8, 99), st.just(99)),
    ),
    optimizer=st.builds(
        Optimizer,
        learning_rate=POSITIVE,
        clip_norm=st.none() | POSITIVE,
        schedule=st.builds(Schedule, drops=st.lists(POSITIVE).map(rise), factor=POSITIVE.map(lambda x: x / 1e7)),
    ),
    seed=st.integers(0, 2**32 - 1),
)


@given(experiment=EXPERIMENTS)
@settings(max_examples=50, deadline=None)
def test_json_restores_an_equal_experiment(experiment):
    again = reloaded(experiment)
    assert again == experiment
    assert hash(again.optimizer) == hash(experiment.optimizer)
    assert run_id(again) == run_id(experiment)
    assert differences(again, experiment) == []


def test_json_names_public_classes_and_excludes_linens_own_fields():
    saved = to_json(LENET)["model"]
    assert saved == {
        "class": "jaxcnn.models.LeNet5",
        "dtype": "float32",
        "ops": "auto",
        "num_classes": 10,
        "activation": None,
        "pooling": None,
        "norm": "none",
        "variant": "modern",
    }


def swish(x):
    return x * nn.sigmoid(x)


class Third(nn.Module):
    """A module as users write them."""

    widths: tuple[int, ...] = (8, 16)
    sizes: list[int] = dataclasses.field(default_factory=lambda: [3])
    dtype: Any = jnp.float32
    activation: Callable = nn.relu
    kernel_init: Callable = nn.initializers.lecun_normal()
    head: nn.Module | None = None
    first: Layer = Conv(2, name="first")
    options: Any = None

    @nn.compact
    def __call__(self, x, *, train):
        x = self.activation(nn.Dense(self.widths[0], dtype=self.dtype, kernel_init=self.kernel_init)(x.mean((1, 2))))
        return self.head(x)


def test_user_defined_modules_are_restored_as_equal_modules():
    model = Third(
        widths=(4, 2),
        sizes=[5],
        dtype=jnp.bfloat16,
        activation=swish,
        head=nn.Dense(3),
        first=Conv(9, kernel=5, name="c"),
        options={"a": (1, 2), "b": {"c": [None, True]}},
    )
    experiment = Experiment(model=model)
    again = reloaded(experiment).model
    assert again == model.clone(options={"a": (1, 2), "b": {"c": (None, True)}})
    assert type(again.widths) is tuple
    assert type(again.sizes) is list
    assert again.activation is swish
    assert again.kernel_init is model.kernel_init
    assert again.dtype is jnp.bfloat16
    logits = jax.eval_shape(lambda: again.init_with_output(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), train=False)[0])
    assert logits.shape == (1, 3)


THIRD = """
    from dataclasses import field
    from collections.abc import Callable
    from typing import Any
    import jax.numpy as jnp
    from flax import linen as nn

    def double(x):
        return 2 * x

    class Mine(nn.Module):
        widths: tuple[int, ...] = (8,)
        dtype: Any = jnp.float32
        activation: Callable = double

        def __call__(self, x, *, train):
            return self.activation(x)
"""


def test_a_module_in_a_config_file_is_restored_in_every_process(tmp_path):
    head = textwrap.dedent(THIRD) + "from jaxcnn import Experiment\n"
    path = config_file(tmp_path, "return Experiment(model=Mine(widths=(1, 2), dtype=jnp.bfloat16))", head)
    experiment = load_config(path)
    saved = to_json(experiment)["model"]
    assert saved["class"] == f"{path.resolve()}:Mine"
    assert saved["activation"] == {"import": f"{path.resolve()}:double"}
    assert reloaded(experiment) == experiment
    assert run_id(load_config(path)) == run_id(experiment)
    assert flatten(experiment, identity_only=True)["model.class"] == "Mine"
    # Another process has not read the file yet, and orders its sets differently.
    code = """
        import json, sys
        from jaxcnn.config import from_json, run_id
        experiment = from_json(json.load(sys.stdin))
        assert experiment.model.widths == (1, 2) and experiment.model.activation(3) == 6
        print(run_id(experiment))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=json.dumps(to_json(experiment)), env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == run_id(experiment)


def test_a_module_in_an_importable_file_is_restored(tmp_path, monkeypatch):
    (tmp_path / "somebodys_models.py").write_text(textwrap.dedent(THIRD))
    monkeypatch.syspath_prepend(tmp_path)
    import somebodys_models

    experiment = Experiment(model=somebodys_models.Mine(widths=(3,)))
    saved = to_json(experiment)["model"]
    assert saved["class"] == "somebodys_models.Mine"
    assert saved["activation"] == {"import": "somebodys_models.double"}
    assert reloaded(experiment) == experiment


def test_a_module_in_the_script_that_runs_is_found_without_running_it_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(THIRD)
        + textwrap.dedent("""
            import json
            from jaxcnn.config import Experiment, from_json, to_json

            print("ran")
            experiment = Experiment(model=Mine())
            assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "ran\n"


def test_code_that_could_not_be_found_again_is_refused_before_it_is_saved():
    class Local(nn.Module):
        def __call__(self, x, *, train):
            return x

    for value in (Local(), Third(activation=lambda x: x), Third(kernel_init=nn.initializers.normal(1.0))):
        assert "define it at the top level of a file" in message(to_json, Experiment(model=value))


def test_code_from_standard_input_is_refused_before_it_is_saved():
    code = (
        "from jaxcnn.config import Experiment, to_json\n"
        "from jaxcnn.models import ConvNet\n"
        "class Mine(ConvNet):\n"
        "    pass\n"
        "to_json(Experiment(model=Mine()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, env=environment)
    assert "Mine cannot be saved in config.json; define it at the top level of a file." in done.stderr
    assert "cannot be written as JSON" in message(to_json, Experiment(model=Third(options=np.zeros(2))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sead": 1}, "Experiment has no field 'sead'. Did you mean 'seed'?"),
        ({"data": {"batchsize": 1}}, "Data has no field 'batchsize'. Did you mean 'batch_size'?"),
        ({"model": {"class": "jaxcnn.models.LeNet5", "nrom": 1}}, "LeNet5 has no field 'nrom'. Did you mean 'norm'?"),
        ({"model": {"class": "jaxcnn.models.LeNet6"}}, "jaxcnn.models.LeNet6 is named in a saved configuration but"),
        ({"model": {"class": "no_such_package.Net"}}, "no_such_package.Net is named in a saved configuration but"),
        ({"model": {"class": "/no/such/file.py:Net"}}, "/no/such/file.py"),
        ({"seed": 0.5}, "Experiment.seed is 0.5; it must be an integer >= 0 and < 4294967296."),
        ({"seed": 2**32}, "Experiment.seed is 4294967296; it must be an integer >= 0 and < 4294967296."),
    ],
)
def test_the_message_for_an_invalid_config_json_names_the_field(change, words):
    assert message(from_json, to_json(LENET) | change).startswith(words)


# --- the same check everywhere

WRONG = [
    ("learning_rate", math.nan, "Optimizer.learning_rate is nan; it must be a finite number > 0."),
    ("learning_rate", 0, "Optimizer.learning_rate is 0; it must be a finite number > 0."),
    ("learning_rate", "0.1", "Optimizer.learning_rate is '0.1'; it must be a finite number > 0."),
    ("nesterov", 1, "Optimizer.nesterov is 1; it must be True or False."),
    ("clip_norm", math.inf, "Optimizer.clip_norm is inf; it must be a finite number > 0 or None."),
    ("algorithm", "adm", "Optimizer.algorithm is 'adm'; it must be one of sgd, adam. Did you mean 'adam'?"),
    ("schedule", None, "Optimizer.schedule is None; it must be Schedule."),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_value_is_one_error_from_constructor_override_and_file(tmp_path, name, value, words):
    assert message(Optimizer, **{name: value}) == words
    assert message(override, LENET, {f"optimizer.{name}": value}) == words
    path = config_file(tmp_path, f"nan = float('nan'); inf = -float('-inf')\nreturn Optimizer({name}={value!r})")
    assert message(load_config, path) == f"{path}, line 5: {words}"


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        (Data, {"source": "tfds"}, "Data.name is empty; source 'tfds' needs one, for example mnist."),
        (Schedule, {"name": "step"}, "Schedule.drops is empty; name 'step' needs epochs, for example (30, 60)."),
        (Augment, {"crop_pad": 4}, "Augment.crop_pad is 4; it requires Augment.crop to be set."),
        (Augment, {"scale_jitter": (256, 512)}, "Augment.scale_jitter is (256, 512); it requires Augment"),
        (
            Augment,
            {"crop": 224, "scale_jitter": (200, 512)},
            "Augment.scale_jitter is (200, 512); crop 224 <= low <= high must hold.",
        ),
        (
            Augment,
            {"crop": 224, "scale_jitter": (512, 256)},
            "Augment.scale_jitter is (512, 256); crop 224 <= low <= high must hold.",
        ),
        (
            Augment,
            {"crop": 8, "crop_pad": 4, "scale_jitter": (8, 9)},
            "Augment.crop_pad is 4; with scale_jitter it must be 0.",
        ),
        (Schedule, {"drops": (2, 1)}, "Schedule.drops is (2.0, 1.0); its values must increase."),
        (Schedule, {"drops": (2, 2)}, "Schedule.drops is (2.0, 2.0); its values must increase."),
        (Schedule, {"factor": 0.0}, "Schedule.factor is 0.0; it must be above 0"),
        (Optimizer, {"algorithm": "adam", "weight_decay_form": "krizhevsky"}, "Optimizer.weight_decay_form 'krizh"),
        (Experiment, {"model": LeNet5}, "Experiment.model is <class"),
        (Experiment, {"model": nn.Dense(3)}, "Experiment.model is Dense, whose __call__ has no argument 'train'; def"),
        (Experiment, {"model": nn.Module()}, "Experiment.model is Module, whose __call__ has no argument 'train'; def"),
        (Experiment, {"model": LeNet5(), "data": 3}, "Experiment.data is 3; it must be Data."),
        (Experiment, {"model": LeNet5(), "objective": "map"}, "Experiment.objective is 'map'; it must be Objective"),
        (Data, {"mean": (0.1, math.nan)}, "Data.mean is (0.1, nan); it must be a tuple, each element a finite number."),
        (Fake, {"shape": (8, 8)}, "Fake.shape is (8, 8); it must be a tuple of 3 elements, each an integer > 0."),
    ],
)
def test_an_invalid_field_is_one_message(part, values, words):
    assert message(part, **values).startswith(words)


# --- override


def test_override_changes_the_named_fields_and_copies_the_rest():
    new = override(LENET, {"model.norm": "batch", "optimizer.schedule.patience": 2, "data.mean": [1, 2], "seed": 5})
    assert new.model == LeNet5(norm="batch")
    assert new.optimizer == Optimizer(schedule=Schedule(patience=2))
    assert new.data.mean == (1.0, 2.0)
    assert new.seed == 5
    assert to_json(LENET) == to_json(Experiment(model=LeNet5()))
    assert override(LENET, {}) == LENET
    assert override(LENET, {"model.norm": "batch", "model": LeNet5(7)}).model == LeNet5(7, norm="batch")
    assert override(LENET, {"model": VGG("A"), "model.width": 0.5}).model == VGG("A", width=0.5)
    assert override(LENET, {"seed": np.int64(4)}) == override(LENET, {"seed": 4})


def test_fields_that_require_each_other_change_together_in_any_order():
    for changes in ({"data.source": "tfds", "data.name": "mnist"}, {"data.name": "mnist", "data.source": "tfds"}):
        assert override(LENET, changes).data == Data(source="tfds", name="mnist")
    schedule = {"optimizer.schedule.name": "step", "optimizer.schedule.drops": (3,)}
    assert override(LENET, schedule).optimizer.schedule == Schedule(name="step", drops=(3.0,))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("optimizer.learning_rat", "unknown field 'optimizer.learning_rat'. Did you mean 'optimizer.learning_rate'?"),
        ("optimiser.momentum", "unknown field 'optimiser.momentum'. Did you mean 'optimizer.momentum'?"),
        ("optimizer.lr", "unknown field 'optimizer.lr'. Did you mean 'optimizer.learning_rate'?"),
        ("weight_decay", "unknown field 'weight_decay'. Did you mean 'optimizer.weight_decay'?"),
        ("model.nrom", "unknown field 'model.nrom'. Did you mean 'model.norm'?"),
        ("seed.x", "unknown field 'seed.x'."),
        ("model.parent", "unknown field 'model.parent'."),
        ("zzz", "unknown field 'zzz'."),
    ],
)
def test_override_of_an_unknown_field_suggests_a_known_one(path, words):
    assert message(override, LENET, {path: 1}) == words


# --- load_config


def test_the_message_for_a_missing_file_suggests_a_similar_name(tmp_path):
    config_file(tmp_path, "return 3")
    asked = tmp_path / "mien.py"
    assert message(load_config, asked) == (
        f"config file {asked} does not exist. Did you mean {str(tmp_path / 'mine.py')!r}?"
    )
    asked = tmp_path / "zzz.py"
    assert message(load_config, asked) == f"config file {asked} does not exist."
    asked = tmp_path / "no" / "such" / "folder.py"
    assert message(load_config, asked) == f"config file {asked} does not exist."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("a = 1\nreturn (", ", line 5: syntax error: '(' was never closed."),
        ("return 3", ": get_config() returned int, not an Experiment."),
        ("a = 1\nreturn Experiment(modle=LeNet5())", ", line 5: TypeError: "),
        ("return Experiment(\n model=LeNet5(),\n optimizer=Optimizer(learning_rat=1),\n)", ", line 6: TypeError: "),
        ("a = 1\nreturn Experiment(model=LeNet5(), optimizer=Optimizer(lr=1))", ", line 5: TypeError: "),
        ("return 1 / 0", ", line 4: ZeroDivisionError: division by zero."),
        ("return Experiment(model=LeNet5(norm='btch'))", ", line 4: LeNet5.norm is 'btch'; it must be one of "),
        ("from jaxcnn import nothing", ", line 4: ImportError: "),
    ],
)
def test_the_message_for_a_failing_config_file_names_the_line(tmp_path, body, words):
    path = config_file(tmp_path, body)
    said = message(load_config, path)
    assert said.startswith(f"{path}{words}")
    assert "\n" not in said
    if "learning_rat" in body or "lr=" in body:
        assert said.endswith("Did you mean 'learning_rate'?")


def test_a_config_file_without_get_config_is_refused(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("experiment = 3\n")
    assert message(load_config, path) == (
        f"config file {path} has no function get_config() that returns an Experiment."
    )
    path.write_text("raise RuntimeError('no')\n")
    assert message(load_config, path) == f"{path}, line 1: RuntimeError: no."


def test_a_file_that_has_failed_is_not_partly_loaded(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("class Mine:\n    pass\nraise RuntimeError('no')\n")
    for _ in range(2):
        assert message(from_json, {"class": f"{path}:Mine"}) == f"{path}, line 3: RuntimeError: no."


def test_a_syntax_error_in_an_imported_file_is_located_in_that_file(tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("\nx = = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = config_file(tmp_path, "import broken_part")
    assert message(load_config, path).startswith(f"{tmp_path / 'broken_part.py'}, line 2: syntax error")


def test_a_changed_config_file_is_read_again(tmp_path):
    path = config_file(tmp_path, "return Experiment(model=LeNet5(), seed=1)")
    assert load_config(path).seed == 1
    path = config_file(tmp_path, "return Experiment(model=LeNet5(), seed=22)")
    assert load_config(str(path)).seed == 22


# --- the experiments that come with the code

IMAGES = {"digits": (32, 32, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3), "imagenet2012": (256, 256, 3)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_round_trips_and_traces(path):
    experiment = load_config(path)
    assert reloaded(experiment) == experiment
    data = experiment.data
    height, width, channels = IMAGES[data.name.partition(":")[0] or data.source]
    if data.image_size:
        height = width = data.image_size
    images = jnp.zeros((2, height + 2 * data.pad, width + 2 * data.pad, channels))
    images = center_crop(images, experiment.augment.crop)
    logits, _ = jax.eval_shape(lambda: experiment.model.init_with_output(jax.random.key(0), images, train=False))
    assert logits.ndim == 2
    assert logits.shape[0] == 2


def test_the_main_configs_exist():
    names = {path.stem for path in CONFIGS}
    assert names >= {"lenet5_digits", "lenet5_mnist", "alexnet_imagenet", "vgg_imagenet"}
