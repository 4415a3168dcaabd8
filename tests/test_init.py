"""What `import jaxcnn` loads and offers."""

import subprocess
import sys

import jaxcnn

LATER = ("tensorflow", "tensorflow_datasets", "orbax", "grain", "matplotlib", "sklearn")


def test_import_leaves_the_heavy_packages_alone():
    code = f"import jaxcnn, sys; print([name for name in {LATER} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert len(set(jaxcnn.__all__)) == len(jaxcnn.__all__)
    assert [name for name in jaxcnn.__all__ if not hasattr(jaxcnn, name)] == []


def test_train_is_the_function_not_the_module():
    import jaxcnn.train as by_path
    from jaxcnn.train import train

    assert jaxcnn.train is train
    assert by_path is train
    assert callable(jaxcnn.train)
