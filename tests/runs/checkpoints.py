"""Checkpoints for tests: writing and restoring states whose values follow from their step."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import Optimizer
from jaxcnn.runs import checkpoint
from jaxcnn.runs.checkpoint import Checkpoints
from jaxcnn.training.optim import make_optimizer
from jaxcnn.training.state import TrainState

LOOP_STATE = {"sums": {"loss": 0.1 + 0.2, "n": 16.0}, "seconds": 1e-300}
# Values that an inexact copy would change: negative zero, a subnormal, infinity, a NaN with a payload.
ODD = np.array([0x80000000, 0x00000001, 0x7F800000, 0x7FC0BEEF], np.uint32).view(np.float32)


def make_state(step, optimizer=None):
    """Return a state as in training, with values drawn by its step; large enough that orbax writes arrays as files."""
    rng = np.random.default_rng(step)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    params = {"conv": {"kernel": normal(3, 3, 1, 4), "bias": ODD}, "dense": {"kernel": normal(64, 128)}}
    stats = {"batch_stats": {"norm": {"mean": normal(4), "half": normal(4).astype(jnp.bfloat16)}}}
    key, hyper = rng.integers(0, 2**32, 2, np.uint32), {"learning_rate": np.float32(step)}
    optimizer = optimizer or Optimizer()
    opt_state = make_optimizer(optimizer, params, steps_per_epoch=5, total_steps=50).init(params)
    opt_state = jax.tree.map(lambda x: (normal(*x.shape) + step).astype(x.dtype), opt_state)
    return jax.tree.map(jnp.asarray, TrainState(np.int32(step), key, hyper, params, stats, opt_state))


def abstract(state, sharding=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), state)


def bits(tree):
    """Return the structure, types and bytes of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def write(folder, steps, accuracies=None):
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            known = {s: a for s, a in (accuracies or {}).items() if s <= step}
            checkpoints.save(make_state(step), loop_state=LOOP_STATE, accuracies=known)


def restore(folder, like=None):
    """Return the restored state, the loop_state and the reported lines."""
    lines = []
    state, loop_state = checkpoint.restore_state(folder, like or abstract(make_state(0)), lines.append) or (None, None)
    return state, loop_state, lines


def good_or_reported(folder, sure=False):
    """Restore either exactly step 2, or report that it is damaged and restore exactly step 1; then continue saving."""
    state, loop_state, lines = restore(folder)
    step = int(state.step)
    assert bits(state) == bits(make_state(step)) and loop_state == LOOP_STATE
    assert lines == ([] if step == 2 else ["checkpoint 2 is damaged, using 1"])
    assert not sure or step == 1
    write(folder, range(step + 1, 4))
    assert checkpoint.steps(folder) == [2, 3]
    again, _, lines = restore(folder)
    assert bits(again) == bits(make_state(3)) and lines == []
