"""Compiled programs are cached on request, and an unusable cache is never an error."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from jaxcnn.config import load_config, override
from jaxcnn.runs.launch import train
from jaxcnn.runtime import compilation_cache


@pytest.fixture(autouse=True)
def _restored_settings():
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


@pytest.mark.slow
def test_programs_are_cached_and_loaded_again():
    folder, said = compilation_cache.folder(), []
    compilation_cache.enable(said.append)
    assert jax.config.jax_compilation_cache_dir == str(folder) and said == []
    x = jnp.arange(3.0)
    first = jax.jit(lambda x: jnp.sin(x) + 17)(x)
    kept = {path.name for path in folder.iterdir() if path.name.endswith("-cache")}
    assert any("lambda" in name for name in kept)
    jax.clear_caches()
    assert jax.jit(lambda x: jnp.sin(x) + 17)(x).tolist() == first.tolist()
    assert {path.name for path in folder.iterdir() if path.name.endswith("-cache")} == kept


def test_another_processor_has_its_own_folder(monkeypatch):
    here = compilation_cache.folder()
    monkeypatch.setattr(compilation_cache.platform, "machine", lambda: "another")
    assert compilation_cache.folder() != here and compilation_cache.folder().parent == here.parent


def test_a_folder_that_jax_already_has_is_kept(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compilation_cache.enable(pytest.fail)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")


@pytest.mark.slow
def test_a_run_trains_without_a_cache_and_resumes_with_another_setting(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "file"))
    tiny = override(load_config("tests/tiny.py"), {"epochs": 1})
    results = train(override(tiny, {"compilation_cache": True}), tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if "compiled programs" in line]
    assert said == [
        f"compiled programs cannot be cached in {compilation_cache.folder()}: Not a directory; set $JAXCNN_CACHE_DIR "
        "to another folder"
    ]
    assert jax.config.jax_compilation_cache_dir is None
    assert train(tiny, tmp_path / "run", verbose=False) == results
