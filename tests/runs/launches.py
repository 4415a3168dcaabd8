"""Launches for tests: stopping them, and comparing what they leave."""

import contextlib
import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.config import load_config
from jaxcnn.runs import checkpoint
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.signals import Preempted

TINY = load_config(Path(__file__).parents[1] / "tiny.py")
STEPS = 24  # 6 epochs of 4 full batches


def newest(workdir, experiment=TINY):
    """Return the newest state in a folder."""
    state, _ = checkpoint.restore_state(workdir / "checkpoints", make_plan(experiment).state, pytest.fail)
    return state


def rows(workdir):
    """Return the rows of metrics.jsonl as text, without the readings of the clock."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in row.items() if k != "time"}) for row in found]


def assert_same(a, b):
    """Check that two trees are equal bit for bit."""
    leaves, others = (jax.tree_util.tree_leaves_with_path(x) for x in (a, b))
    assert [p for p, _ in leaves] == [p for p, _ in others]
    for (path, x), (_, y) in zip(leaves, others, strict=True):
        assert (x.dtype, x.shape, np.asarray(x).tobytes()) == (y.dtype, y.shape, np.asarray(y).tobytes()), path


def assert_same_run(workdir, whole):
    """Check that two runs of `TINY` left the same state, rows and results."""
    assert_same(newest(workdir), newest(whole))
    assert rows(workdir) == rows(whole)
    saved, expected = (json.loads((w / "results.json").read_text()) for w in (workdir, whole))
    assert saved | {"seconds": 0} == expected | {"seconds": 0}


class PowerCut(Exception):
    """Ends a run as kill -9 does: nothing more is saved."""


@contextlib.contextmanager
def interrupted(monkeypatch, *, at_step=None, at_evaluation=None, cut=False):
    """Send SIGTERM to this process, or simulate a power cut, when the batch of a step is made or in the middle of an
    evaluation (counted from 0 in this launch)."""
    evaluations = 0

    def stop():
        if cut:
            raise PowerCut
        os.kill(os.getpid(), signal.SIGTERM)

    def stopping(original):
        def train_batches(*args, start_step, **kwargs):
            for step, batch in enumerate(original(*args, start_step=start_step, **kwargs), start_step):
                if step == at_step:
                    stop()
                yield batch

        return train_batches

    def eval_batches(*args, original=data.eval_batches, **kwargs):
        nonlocal evaluations
        number, evaluations = evaluations, evaluations + 1
        for position, batch in enumerate(original(*args, **kwargs)):
            if (number, position) == (at_evaluation, 1):
                stop()
            yield batch

    with monkeypatch.context() as patch:
        for name in ("train_batches", "member_train_batches"):
            patch.setattr(data, name, stopping(getattr(data, name)))
        patch.setattr(data, "eval_batches", eval_batches)
        with pytest.raises(PowerCut if cut else Preempted) as caught:
            yield caught
