"""Runs give the same results whatever the JAX settings are."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import Experiment, Fake, evaluate_run, load_config, override, restore, train
from jaxcnn.data import pipeline
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten
from jaxcnn.models import Chain
from jaxcnn.runtime.jax_settings import fixed_settings

LAYERS = (
    Conv(4, kernel=3, name="conv"),
    BatchNorm(name="norm"),
    Activation("relu", name="act"),
    Flatten(name="flatten"),
    Dropout(0.2, name="drop"),
    Dense(4, name="output"),
)
TINY = Path(__file__).parents[1] / "tiny.py"


def experiment() -> Experiment:
    fake = Fake(shape=(8, 8, 1), num_classes=4, train=32, test=16)
    changes = {"model": Chain(LAYERS), "epochs": 2, "data.fake": fake, "augment.shift": 1.0, "augment.rotation": 5.0}
    return override(load_config(TINY), changes)


def outcome(run):
    """Every number that a run saves, and an evaluation with statistics from the training images."""
    leaves = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(restore(run)[1])}
    assert {x.dtype for x in leaves.values()} == {np.dtype("float32")}
    found = evaluate_run(run, batch_stats=("ema", "algorithm2"))
    return {name: np.asarray(x).tobytes() for name, x in leaves.items()} | {"nll": [each.nll for each in found]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    run = tmp_path_factory.mktemp("plain") / "run"
    train(experiment(), run, verbose=False)
    return outcome(run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_numpy_dtype_promotion", "strict"),
        ("jax_disable_jit", True),
        ("jax_transfer_guard", "disallow"),
        ("jax_threefry_partitionable", False),
        ("jax_default_prng_impl", "rbg"),
    ],
)
@pytest.mark.parametrize("resident", [True, False])
def test_a_setting_does_not_change_results(name, value, resident, plain, tmp_path, monkeypatch):
    if not resident:
        monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)  # A thread then prepares the batches.
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        train(experiment(), tmp_path / "run", verbose=False)
        found = outcome(tmp_path / "run")
        assert getattr(jax.config, name) == value
    finally:
        jax.config.update(name, before)
    assert found == plain


@pytest.mark.slow
def test_a_process_with_all_settings_gives_the_same_weights(plain, tmp_path):
    settings = {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_DISABLE_JIT": "1",
        "JAX_TRANSFER_GUARD": "disallow",
        "PYTHONPATH": str(TINY.parents[1]),
    }
    code = "import sys; from tests.runtime.test_jax_settings import *; train(experiment(), sys.argv[1], verbose=False)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    subprocess.run(command, env={**os.environ, **settings}, cwd=TINY.parents[1], check=True)
    assert outcome(tmp_path / "run") == plain


def test_the_settings_are_fixed_in_the_block_and_in_a_decorated_function():
    def types():
        return jnp.asarray(1.0).dtype, (jnp.ones(2, jnp.int8) + jnp.ones(2, jnp.float16)).dtype

    jax.config.update("jax_enable_x64", True)
    try:
        with fixed_settings():
            assert types() == (jnp.float32, jnp.float16)
        found = []
        thread = threading.Thread(target=lambda: found.append(fixed_settings()(types)()))
        thread.start()
        thread.join()
        assert found == [(jnp.float32, jnp.float16)] and jnp.asarray(1.0).dtype == jnp.float64
    finally:
        jax.config.update("jax_enable_x64", False)
