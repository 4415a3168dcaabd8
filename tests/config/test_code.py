import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jaxcnn.config import Experiment, code_of, load_config
from jaxcnn.config.code import code_digest
from jaxcnn.models import LeNet5

FILES = {
    "config.py": '''
        """A config file."""
        from flax import linen as nn
        from jaxcnn import Experiment
        from jaxcnn.models import ConvNet
        import whole
        from parts import block, scale as factor
        from package import inner
        from stars import *

        WIDTH = 8
        UNUSED = 1

        def activation(x):
            """Rectified."""
            return nn.relu(x)

        class Base(nn.Module):
            features: int = WIDTH

        class Net(Base):
            """A network."""

            def __call__(self, x, *, train):
                from lazy import late
                return late(star(inner.one(block(activation(x)))) * factor * whole.x)

        class Other(nn.Module):
            pass

        Net.extra = 3

        def get_config():
            return Experiment(model=Net(), seed=1)
    ''',
    "parts.py": """
        from deeper import one as two
        scale = 2
        unused = 3

        def block(x):
            return two(x)
    """,
    "deeper.py": "def one(x):\n    return x + 1\n",
    "whole.py": "x = 1\ny = 2\ndef get_config():\n    return 1\nif __name__ == '__main__':\n    print(x)\n",
    "package/__init__.py": "",
    "package/inner.py": "from .sibling import one\n",
    "package/sibling.py": "def one(x):\n    return x\n\ndef unused(x):\n    return x\n",
    "stars.py": "def star(x):\n    return x\n\ndef unused(x):\n    return x\n",
    "lazy.py": "def late(x):\n    return x\n",
    "unrelated.py": "x = 1\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


def digest(folder):
    return code_digest(folder / "config.py", "Net", [folder, *map(Path, sys.path)])


def change(folder, file, old, new):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.py", "activation(x)))", "activation(activation(x))))"),
        ("config.py", "nn.relu", "nn.gelu"),
        ("config.py", "WIDTH = 8", "WIDTH = 9"),
        ("config.py", "features: int = WIDTH", "features: int = WIDTH + 1"),
        ("config.py", "Net.extra = 3", "Net.extra = 4"),
        ("config.py", "from flax import linen as nn", "from torch import nn"),
        ("parts.py", "two(x)", "two(two(x))"),
        ("parts.py", "scale = 2", "scale = 3"),
        ("deeper.py", "x + 1", "x + 2"),
        ("whole.py", "y = 2", "y = 3"),
        ("package/sibling.py", "def one(x):\n    return x", "def one(x):\n    return -x"),
        ("stars.py", "def star(x):\n    return x", "def star(x):\n    return -x"),
        ("lazy.py", "return x", "return -x"),
    ],
)
def test_code_that_the_definition_refers_to_counts(folder, file, old, new):
    before = digest(folder)
    change(folder, file, old, new)
    assert digest(folder) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.py", "seed=1", "seed=2"),
        ("config.py", "UNUSED = 1", "UNUSED = 2"),
        ("config.py", '"""A network."""', '"""The network."""'),
        ("config.py", '    """Rectified."""\n', ""),
        ("config.py", "WIDTH = 8", "WIDTH = (8)  # units"),
        ("config.py", "class Other(nn.Module):\n    pass", "class Other(nn.Module):\n    x: int = 3"),
        ("config.py", "from jaxcnn.models import ConvNet", "from jaxcnn.models.convnet import ConvNet"),
        ("parts.py", "unused = 3", "unused = 4"),
        ("whole.py", "return 1", "return 2"),
        ("whole.py", "print(x)", "print(y)"),
        ("package/sibling.py", "def unused(x):\n    return x", "def unused(x):\n    return -x"),
        ("stars.py", "def unused(x):\n    return x", "def unused(x):\n    return -x"),
        ("unrelated.py", "x = 1", "x = 2"),
    ],
)
def test_nothing_else_counts(folder, file, old, new):
    before = digest(folder)
    change(folder, file, old, new)
    assert digest(folder) == before


def test_a_class_of_jaxcnn_counts_by_name_whatever_its_file(folder):
    change(folder, "config.py", "class Net(Base):", "class Net(Base, ConvNet):")
    before = digest(folder)
    change(folder, "config.py", "from jaxcnn.models import ConvNet", "from jaxcnn.models.convnet import ConvNet")
    assert digest(folder) == before


def test_the_location_does_not_count(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "folder"
    folder.rename(other)
    again = digest(other)
    other.rename(folder)
    assert digest(folder) == again


def test_the_code_of_an_experiment_excludes_installed_packages(folder):
    assert code_of(Experiment(model=LeNet5())) == {}
    found = code_of(load_config(folder / "config.py"))
    assert found == {"Net": digest(folder)}


def test_the_digest_is_the_same_in_every_process(folder):
    code = "import sys; from jaxcnn.config import code_of, load_config; print(code_of(load_config(sys.argv[1]))['Net'])"
    command = [sys.executable, "-c", code, str(folder / "config.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(folder)
