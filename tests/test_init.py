"""The modules that `import jaxcnn` loads and the names that it exports."""

import pkgutil
import subprocess
import sys

import pytest

import jaxcnn

LATER = (
    *("tensorflow", "tensorflow_datasets", "orbax", "grain", "matplotlib", "sklearn", "scipy", "tensorboardX", "h5py"),
    *("safetensors", "PIL", "tyro"),
)


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import jaxcnn", set()),
        # The digits are images, and a command line is read through tyro.
        ("from jaxcnn.__main__ import main; main(['describe', 'batch_norm'])", {"PIL", "tyro"}),
    ],
)
def test_heavy_packages_are_loaded_where_they_are_used(code, needed):
    code += f"; import sys; print('loaded', *[name for name in {LATER} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stdout.splitlines()[-1].split()} == {"loaded", *needed}


def test_every_public_name_exists():
    assert len(set(jaxcnn.__all__)) == len(jaxcnn.__all__)
    assert [name for name in jaxcnn.__all__ if not hasattr(jaxcnn, name)] == []


def test_no_submodule_has_the_name_of_a_public_function():
    modules = {module.name for module in pkgutil.iter_modules(jaxcnn.__path__)}
    assert modules & set(jaxcnn.__all__) == {"models"}
