import sys
import textwrap

import pytest

from jaxcnn.config import Experiment, file_modules, from_json, load_config, run_id, to_json
from jaxcnn.models import LeNet5
from jaxcnn.runtime.errors import InputError

HELPER = """
    from flax import linen as nn

    def width():
        return {width}

    class Net(nn.Module):
        features: int = 3

        def __call__(self, x, *, train):
            import later
            return later.twice(x)
"""
CONFIG = """
    from jaxcnn import Experiment
    import my_model
    from my_model import Net
    from our_networks.small import Small

    def get_config():
        from later import twice
        return Experiment(model={model}, seed=twice(my_model.width()))
"""
SMALL = """
    import other
    from . import parts
    from my_model import Net

    class Small(Net):
        features: int = other.ONE + parts.ONE
"""


@pytest.fixture
def project(tmp_path):
    """A function that creates a folder with a config file and files that it imports; the file names are always the
    same."""

    def make(folder, *, width=1, model="Net()"):
        files = {
            "config.py": CONFIG.format(model=model),
            "my_model.py": HELPER.format(width=width),
            "later.py": "def twice(x):\n    return 2 * x\n",
            "our_networks/small.py": SMALL,
            "our_networks/parts.py": "ONE = 1\n",
            "other.py": "ONE = 1\n",
        }
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path / folder / "config.py"

    return make


def test_only_a_config_file_imports_the_files_beside_it(project):
    path, modules = list(sys.path), set(sys.modules)
    a, b = load_config(project("a", width=1)), load_config(project("b", width=2))
    assert (a.seed, b.seed) == (2, 4)
    assert type(a.model) is not type(b.model)
    assert a.model(3, train=False) == 6  # It imports a file when it is called.
    assert sys.path == path
    assert {name for name in set(sys.modules) - modules if not name.startswith("jaxcnn_file_")} == set()


@pytest.mark.parametrize("model", ["Net(features=5)", "Small()"])
def test_a_class_in_a_file_beside_the_config_is_restored_even_after_a_move(project, tmp_path, model):
    experiment = load_config(project("a", model=model))
    for folder in (None, tmp_path / "runs" / "x"):
        again = from_json(to_json(experiment, folder=folder), folder=folder)
        assert again == experiment and type(again.model) is type(experiment.model)
    saved = to_json(experiment, folder=tmp_path / "runs" / "x")
    classes = {"N": "../../a/my_model.py:Net", "S": "../../a:our_networks.small.Small"}
    assert saved["model"]["class"] == classes[model[0]]
    # A copy of the whole folder defines another class with the same content.
    copy = from_json(saved, folder=project("copy/a", model=model).parents[1] / "runs" / "x")
    assert type(copy.model) is not type(experiment.model)
    assert run_id(copy) == run_id(experiment)
    changed = load_config(project("copy/a", model=model, width=2))
    assert run_id(changed) != run_id(experiment)  # The width is also the seed.


def test_a_file_that_changed_is_run_again(project):
    path = project("a", width=1)
    assert load_config(path).seed == 2
    project("a", width=3)  # In the same second, with the same size.
    assert load_config(path).seed == 6


def test_a_file_already_imported_under_its_own_name_keeps_its_classes(project, monkeypatch):
    path = project("a")
    monkeypatch.syspath_prepend(path.parent)
    before = set(sys.modules)
    import my_model

    try:
        assert type(load_config(path).model) is my_model.Net
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def test_installed_packages_come_before_files_of_their_name(tmp_path):
    for name in ("jaxcnn", "flax", "math", "sys"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    path = tmp_path / "config.py"
    path.write_text(
        "import sys, math, flax\nfrom jaxcnn import Experiment\nfrom jaxcnn.models import LeNet5\n"
        "def get_config():\n    return Experiment(model=LeNet5(), seed=math.floor(2.5))\n"
    )
    assert load_config(path) == Experiment(model=LeNet5(), seed=2)


def test_a_missing_or_failing_file_beside_the_config_is_one_message(project):
    path = project("a")
    (path.parent / "other.py").unlink()
    with pytest.raises(InputError, match=r"config.py, line 5: ModuleNotFoundError: No module named 'other'"):
        load_config(path)
    (path.parent / "other.py").write_text("x = 1 / 0\n")
    with pytest.raises(InputError, match=r"config.py, line 5: ZeroDivisionError"):
        load_config(path)
    (path.parent / "other.py").write_text("ONE = 1\n")
    assert load_config(path).seed == 2


def test_only_the_users_own_files_are_local():
    assert file_modules.is_local(file_modules.Path(__file__))
    for module in (pytest, textwrap, file_modules):
        assert not file_modules.is_local(file_modules.Path(module.__file__).resolve())


def test_a_saved_class_that_cannot_be_imported_is_one_message(tmp_path, monkeypatch):
    (tmp_path / "fails_somewhere.py").write_text("raise RuntimeError('no')\n")
    saved = to_json(Experiment(model=LeNet5()))
    for name, words in (
        (
            "not_on_the_path.Net",
            "No module named 'not_on_the_path'. Set PYTHONPATH to the folder that holds",
        ),
        ("fails_somewhere.Net", "cannot be imported: no."),
        (f"{tmp_path}:no_such.Net", "No module named"),
        (f"{tmp_path}/fails_somewhere.py:Net", "fails_somewhere.py, line 1: RuntimeError: no."),
    ):
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(InputError) as error:
            from_json(saved | {"model": {"class": name}})
        assert words in str(error.value) and "\n" not in str(error.value)
