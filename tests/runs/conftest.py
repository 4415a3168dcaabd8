import gc
import shutil
from pathlib import Path

import pytest

from tests.runs.checkpoints import write


@pytest.fixture
def collected():
    """Collect garbage, so that nothing of a failed save disturbs the tests of another file."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder with the checkpoints of steps 1 and 2; copy it before changing it."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    write(folder, [1, 2])
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))
