"""kill -9 at any moment does not change the records of a sweep, and several commands share one without repeating a
point."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.config.loading import load_config, load_sweep, override
from jaxcnn.runs import checkpoint
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runs.plan import make_plan
from jaxcnn.sweep.points import points_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KILLS = 10
CONFIG = """
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
        optimizer=Optimizer(learning_rate=0.05, schedule=Schedule(name="plateau")),
        epochs=40,
        eval_every=3,
        log_every=3,
    )


def sweep_rates():
    for rate in (0.05, 1e38, 0.1):
        for seed in (0, 1):
            yield {"optimizer.learning_rate": rate, "seed": seed}


def sweep_short():
    for seed in range(8):
        yield {"seed": seed, "epochs": 4}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("kill") / "tiny.py"
    path.write_text(CONFIG)
    return path


def start(config, folder, *options):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(config.parent / "compiled")
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={config}", f"--workdir={folder}", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def points(config, folder, name):
    base = load_config(config)
    return points_of([override(base, changes) for changes in load_sweep(config, name)], folder)


def rows(workdir):
    return [{k: v for k, v in row.items() if k != "time"} for row in read_rows(workdir / "metrics.jsonl")]


def results(workdir):
    return {k: v for k, v in json.loads((workdir / "results.json").read_text()).items() if k != "seconds"}


def provenance(workdir):
    return json.loads((workdir / "provenance.json").read_text())


def state(point):
    plan = make_plan(point.experiment)
    found, _ = checkpoint.restore_state(point.workdir / "checkpoints", plan.state, pytest.fail)
    return [(jax.tree_util.keystr(path), np.asarray(x)) for path, x in jax.tree_util.tree_leaves_with_path(found)]


def kill(process, folder, rng):
    """Kill a sweep at a random moment after it has written some rows; return whether it still ran."""

    def count():
        return sum(len(read_rows(path)) for path in folder.glob("*/metrics.jsonl"))

    before = count()
    while process.poll() is None and count() < before + 3:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.6))
    process.kill()
    process.communicate()
    return process.returncode == -9


@pytest.mark.parametrize("options", [[], ["--jobs=2"]])
def test_a_killed_sweep_ends_like_one_never_killed(config, tmp_path, options):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    options = ["--sweep=rates", *options]
    process = start(config, calm, *options)
    output, _ = process.communicate()
    assert process.returncode == 3, output

    rng = random.Random(0)
    for number in range(KILLS):
        assert kill(start(config, killed, *options), killed, rng), f"it ended after {number} kills; add epochs"
    process = start(config, killed, *options)
    output, _ = process.communicate()
    assert process.returncode == 3, output
    assert "4 of 6 points are finished" in output

    earlier = 0
    for a, b in zip(points(config, calm, "rates"), points(config, killed, "rates"), strict=True):
        assert a.workdir.name == b.workdir.name and rows(a.workdir) == rows(b.workdir)
        names = [{path.name for path in point.workdir.iterdir()} for point in (a, b)]
        assert names[0] == names[1]
        earlier += len(provenance(b.workdir).get("earlier", []))
        if a.experiment.optimizer.learning_rate == 1e38:
            kinds = [json.loads((point.workdir / "failure.json").read_text())["kind"] for point in (a, b)]
            assert kinds == ["diverged", "diverged"]
            continue
        assert results(a.workdir) == results(b.workdir)
        for (name, x), (other, y) in zip(state(a), state(b), strict=True):
            assert name == other and x.tobytes() == y.tobytes(), name
    assert earlier >= KILLS // 2
    assert {path.name for path in calm.iterdir()} == {path.name for path in killed.iterdir()}


@pytest.mark.parametrize("options", [["--shard=0/2", "--shard=1/2"], [None, None]])
def test_two_commands_at_once_run_every_point_once(config, tmp_path, options):
    commands = [start(config, tmp_path / "sweep", "--sweep=short", *filter(None, [each])) for each in options]
    outputs = [process.communicate()[0] for process in commands]
    assert [process.returncode for process in commands] == [0, 0], outputs
    ran = [provenance(point.workdir) for point in points(config, tmp_path / "sweep", "short")]
    assert len(ran) == 8 and all("earlier" not in each for each in ran)
    total = "4 of 4" if options[0] else "8 of 8"
    assert all(f"{total} points are finished" in output for output in outputs)
