"""Settings of every test: CPU, eight forced host devices, strict promotion, warnings as errors, a private cache."""

import os
import shutil
import subprocess

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk("300k")` returns a folder on a disk of that size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if not shutil.which("mount") or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs needs root and the right to mount")
        return folder

    yield mount
    if folder.is_mount():
        # Lazy, because a failed test may have left files open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="torch is the `parity` extra")


def pytest_collection_modifyitems(items):
    for item in items:
        if "torch" in item.fixturenames:
            item.add_marker("parity")
