"""Each library runs with the settings that its users have."""

import os

import jax
import pytest

from jaxcnn.bench import jax_program
from jaxcnn.bench.job import Job
from jaxcnn.bench.program import make_program
from jaxcnn.models import LeNet5


@pytest.mark.parametrize(("library", "flags"), [("jaxcnn", True), ("flax", False)])
def test_only_our_program_sets_our_xla_flags(library, flags, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    monkeypatch.setattr(jax_program, "JaxProgram", lambda job: os.environ["XLA_FLAGS"])
    flags_set = make_program(Job(library, LeNet5(), (32, 32, 1), 4, "forward", threads=1))
    assert bool(flags_set) == flags
