"""kill -9 at any moment, even while a checkpoint is being written, does not change the result of a run."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn import load_config, override
from jaxcnn.runs import checkpoint
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runs.plan import make_plan

ROOT = Path(__file__).parents[2]
EPOCHS, KILLS = 80, 10
CONFIG = f"""
from flax import linen as nn

from jaxcnn import Augment, Data, Experiment, Fake, Optimizer, Schedule
from jaxcnn.norms import BatchNorm


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm()(nn.Dense(8)(x.reshape(x.shape[0], -1)), train=train)
        return nn.Dense(4)(nn.Dropout(0.1, deterministic=not train)(x))


def get_config():
    return Experiment(
        model=Tiny(),
        data=Data(source="fake", batch_size=16, fake=Fake(shape=(6, 6, 1), num_classes=4, train=72, test=16)),
        augment=Augment(flip=True),
        optimizer=Optimizer(schedule=Schedule(name="plateau")),
        epochs={EPOCHS},
        eval_every=3,
        log_every=3,
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("kill") / "tiny.py"
    path.write_text(CONFIG)
    return path


GROUP = """
import sys

from jaxcnn import load_config, override
from jaxcnn.runs.members import train_members

base, seeds = load_config(sys.argv[1]), range(3)
experiments = [override(base, {"seed": seed, "epochs": 40}) for seed in seeds]
train_members(experiments, [f"{sys.argv[2]}/{seed}" for seed in seeds], keep="all")
"""


def start(config, workdir):
    return launch(config, str(ROOT / "launch.py"), f"--config={config}", f"--workdir={workdir}")


def launch(config, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(config.parent / "compiled")
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def writing(workdir):
    """Return the steps whose checkpoint is being written."""
    folder = workdir / "checkpoints"
    return {p.name for p in folder.glob("*tmp*")} if folder.is_dir() else set()


def wait(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.002)


def kill(process, workdir, rng, *, while_writing):
    """Kill a run, after some writes and during another if `while_writing`.

    Return whether it was killed in time, and whether it left an unfinished checkpoint.
    """
    if while_writing:
        for _ in range(rng.randint(2, 5)):
            before = writing(workdir)
            wait(process, lambda before=before: writing(workdir) - before)
    else:
        rows = len(read_rows(workdir / "metrics.jsonl"))
        wait(process, lambda: len(read_rows(workdir / "metrics.jsonl")) > rows + 3)
        time.sleep(rng.uniform(0, 0.5))
    process.kill()
    process.communicate()
    return process.returncode == -9, bool(writing(workdir))


@pytest.mark.slow
def test_killed_run_ends_like_one_never_killed(config, tmp_path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    output, _ = start(config, calm).communicate()
    assert (calm / "results.json").exists(), output

    rng, kills, in_writing = random.Random(0), 0, 0
    while kills < KILLS:
        process = start(config, killed)
        hit, unfinished = kill(process, killed, rng, while_writing=kills % 2 == 0)
        assert hit, f"the run ended after {kills} kills; it needs more epochs"
        kills, in_writing = kills + 1, in_writing + unfinished
    assert in_writing >= KILLS // 4
    process = start(config, killed)
    output, _ = process.communicate()
    assert process.returncode == 0, output

    assert_same_end(calm, killed, load_config(config))


@pytest.mark.slow
def test_killed_group_ends_like_one_never_killed(config, tmp_path):
    """Its members have checkpoints of different steps if it is killed while one of them is being written."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    output, _ = launch(config, "-c", GROUP, str(config), str(calm)).communicate()
    assert (calm / "2" / "results.json").exists(), output

    def newest():
        return [max(checkpoint.steps(killed / f"{seed}" / "checkpoints"), default=0) for seed in range(3)]

    uneven = 0
    for number in range(6):
        process, before = launch(config, "-c", GROUP, str(config), str(killed)), min(newest())
        wait(process, lambda before=before: min(newest()) > before)
        if number % 2:
            wait(process, lambda: len({*newest()}) > 1)
        process.kill()
        process.communicate()
        assert process.returncode == -9, f"the group ended after {number} kills; it needs more epochs"
        uneven += len({*newest()}) > 1
    assert uneven
    process = launch(config, "-c", GROUP, str(config), str(killed))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    for seed in range(3):
        assert_same_end(
            calm / f"{seed}", killed / f"{seed}", override(load_config(config), {"seed": seed, "epochs": 40})
        )


def assert_same_end(calm, killed, experiment):
    """Check that two finished runs left the same state and rows, bit for bit."""
    plan = make_plan(experiment)
    states = [checkpoint.restore_state(run / "checkpoints", plan.state, pytest.fail) for run in (calm, killed)]
    assert [int(state.step) for state, _ in states] == [plan.total_steps] * 2
    a, b = (jax.tree_util.tree_leaves_with_path(state) for state, _ in states)
    assert [path for path, _ in a] == [path for path, _ in b]
    for (path, x), (_, y) in zip(a, b, strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), jax.tree_util.keystr(path)

    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in read_rows(run / "metrics.jsonl")]
        for run in (calm, killed)
    ]
    assert rows[0] == rows[1]
    assert not writing(killed)
    steps = [row["step"] for row in rows[0] if row["split"] == "train"]
    assert steps == sorted(set(steps))
