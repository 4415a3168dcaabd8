import gc
import shutil
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

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


@pytest.fixture
def compiled():
    """Return a list to which the names of compiled functions are added while the test runs."""
    names = []

    def note(event, _, fun_name="", **__):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Cache compiled functions, because every run compiles the same ones."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is settings:
            yield
