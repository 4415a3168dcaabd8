"""XLA flags are set only if they are known, and never override the user's own."""

import os
import subprocess
import sys

import jax
import pytest

from jaxcnn import __main__ as commands
from jaxcnn import set_xla_flags

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        (None, (0, 10, 2), f"{FLAG}=-individual_convolution"),
        ("--xla_a=1", (0, 12, 9), f"--xla_a=1 {FLAG}=-individual_convolution"),
        (f"{FLAG}=reduce --xla_a=1", (0, 10, 2), f"{FLAG}=reduce --xla_a=1"),
        ("--xla_a=1", (0, 13, 0), "--xla_a=1"),
    ],
)
def test_the_flag_is_added_once_if_it_is_known(before, version, after, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", before or "")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(jax, "__version_info__", version)
    set_xla_flags()
    set_xla_flags()
    assert os.environ["XLA_FLAGS"] == after


@pytest.mark.parametrize("arguments", [["train"], ["evaluate", "nowhere"]])
def test_commands_set_the_flag(arguments, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    commands.main(arguments)
    assert FLAG in os.environ["XLA_FLAGS"]


@pytest.mark.skipif(jax.__version_info__ >= (0, 13), reason="the flag may be unknown")
@pytest.mark.parametrize("flags", ["", f"{FLAG}=individual_convolution"])
def test_a_convolution_uses_ynnpack_only_on_request(flags):
    code = """
import jax, jaxcnn
jaxcnn.set_xla_flags()
images, kernel = jax.numpy.ones((1, 8, 8, 32)), jax.numpy.ones((3, 3, 32, 32))
print("ynn" in jax.jit(jaxcnn.ops.conv).lower(images, kernel).compile().as_text())
"""
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{flags != ''}\n", 0), done.stderr
