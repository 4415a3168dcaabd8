import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.training.state import TrainState, create_state

PARAMS = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
STATS = {"n": {"mean": jnp.zeros(3)}}


@pytest.mark.parametrize("stats", [{}, STATS])
def test_the_state_before_the_first_step(stats):
    optimizer = optax.adam(1e-3)
    state = create_state({"params": PARAMS, **({"batch_stats": stats} if stats else {})}, optimizer)
    assert (int(state.step), state.step.dtype, state.step.shape) == (0, jnp.int32, ())
    assert set(state.model_state) == ({"batch_stats"} if stats else set())
    assert jax.tree.structure(state.variables) == jax.tree.structure({"params": PARAMS, **state.model_state})
    jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optimizer.init(PARAMS))


def test_the_state_is_a_tree_of_arrays_with_named_fields():
    state = create_state({"params": PARAMS, "batch_stats": STATS}, optax.sgd(0.1, momentum=0.9))
    leaves = jax.tree.leaves_with_path(state)
    assert all(isinstance(leaf, jax.Array) for _, leaf in leaves)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    assert {"step", "params/a/kernel", "params/a/bias", "key", "model_state/batch_stats/n/mean"} <= set(names)
    doubled = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s))(state)
    assert isinstance(doubled, TrainState)
    np.testing.assert_array_equal(doubled.params["a"]["kernel"], 2.0)


def test_the_state_can_be_created_abstractly():
    wanted = jax.eval_shape(lambda p: create_state({"params": p}, optax.adam(1e-3)), PARAMS)
    assert wanted.params["a"]["kernel"] == jax.ShapeDtypeStruct((2, 3), jnp.float32)


def test_two_states_of_the_same_variables_share_no_buffer_and_can_be_donated():
    variables, optimizer = jax.tree.map(jnp.array, {"params": PARAMS, "batch_stats": STATS}), optax.sgd(0.1, 0.9)
    hyper = {"learning_rate": jnp.float32(0.1)}
    first, second = (create_state(variables, optimizer, hyper=hyper) for _ in range(2))
    jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(first)
    assert all(x.is_deleted() for x in jax.tree.leaves(first))
    assert not any(x.is_deleted() for x in jax.tree.leaves((variables, hyper, second)))


def test_hyperparameters_are_strongly_typed_float32_and_the_key_is_made_from_the_seed():
    state = create_state({"params": PARAMS}, optax.sgd(0.1), seed=2**31 + 7, hyper={"learning_rate": 1})
    assert (state.hyper["learning_rate"].dtype, state.hyper["learning_rate"].weak_type) == (jnp.float32, False)
    np.testing.assert_array_equal(state.key, jax.random.key_data(jax.random.key(2**31 + 7, impl="threefry2x32")))
    traced = jax.jit(lambda seed: create_state({"params": PARAMS}, optax.sgd(0.1), seed=seed).key)
    np.testing.assert_array_equal(traced(np.uint32(2**31 + 7)), state.key)
