"""The modules that `import jaxcnn` loads and the names that it exports."""

import pkgutil
import subprocess
import sys

import jaxcnn

LATER = ("tensorflow", "tensorflow_datasets", "orbax", "grain", "matplotlib", "sklearn")


def test_import_does_not_load_heavy_packages():
    code = f"import jaxcnn, sys; print([name for name in {LATER} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert len(set(jaxcnn.__all__)) == len(jaxcnn.__all__)
    assert [name for name in jaxcnn.__all__ if not hasattr(jaxcnn, name)] == []


def test_no_submodule_has_the_name_of_a_public_function():
    modules = {module.name for module in pkgutil.iter_modules(jaxcnn.__path__)}
    assert modules & set(jaxcnn.__all__) == {"models"}
