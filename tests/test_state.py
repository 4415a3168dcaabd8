import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.state import TrainState, create_state

PARAMS = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
STATS = {"n": {"mean": jnp.zeros(3)}}


@pytest.mark.parametrize("stats", [{}, STATS])
def test_the_state_before_the_first_step(stats):
    optimizer = optax.adam(1e-3)
    state = create_state({"params": PARAMS, **({"batch_stats": stats} if stats else {})}, optimizer)
    assert (int(state.step), state.step.dtype, state.step.shape) == (0, jnp.int32, ())
    assert state.params is PARAMS
    assert state.batch_stats == stats
    assert state.variables == {"params": PARAMS, "batch_stats": stats}
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optimizer.init(PARAMS))


def test_the_state_is_a_tree_of_arrays_that_names_its_parts():
    state = create_state({"params": PARAMS, "batch_stats": STATS}, optax.sgd(0.1, momentum=0.9))
    leaves = jax.tree.leaves_with_path(state)
    assert all(isinstance(leaf, jax.Array) for _, leaf in leaves)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    assert {"step", "params/a/kernel", "params/a/bias", "batch_stats/n/mean"} <= set(names)
    doubled = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s))(state)
    assert isinstance(doubled, TrainState)
    np.testing.assert_array_equal(doubled.params["a"]["kernel"], 2.0)


def test_the_state_can_be_made_without_memory():
    wanted = jax.eval_shape(lambda p: create_state({"params": p}, optax.adam(1e-3)), PARAMS)
    assert wanted.params["a"]["kernel"] == jax.ShapeDtypeStruct((2, 3), jnp.float32)
