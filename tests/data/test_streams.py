import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import InitStream, StepStream, Stream
from jaxcnn.objectives import Objective
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_train_step


def test_streams_keep_the_integers_of_saved_runs():
    assert {stream.name: int(stream) for stream in Stream} == {
        "ORDER": 0,
        "VALIDATION": 1,
        "COLOR_IMAGES": 2,
        "COLOR_PIXELS": 3,
        "TEST_ORDER": 4,
        "STATISTICS": 5,
        "TARGET_ORDER": 6,
        "LABELLED": 7,
        "TAIL": 8,
    }
    assert InitStream.OBJECTIVE == 2**32 - 1
    for stream in Stream:
        np.testing.assert_array_equal(shuffled(50, 7, stream, 2), shuffled(50, 7, int(stream), 2))
    assert len({shuffled(50, 7, stream).tobytes() for stream in Stream}) == len(Stream)


class Noise:
    """A network whose logits are the dropout key's first draw."""

    def apply(self, variables, x, *, train, mutable, rngs):
        return variables["params"]["scale"] * jax.random.normal(rngs["dropout"], (x.shape[0], 3)), {}


@pytest.mark.parametrize("step", [0, 5])
def test_a_training_step_draws_from_its_named_streams(step):
    class Logits(Objective):
        def __call__(self, apply, params, model_state, batch, key):
            logits, model_state = apply(params, model_state, batch["image"], key)
            return jnp.sum(logits), (model_state, {"logits": logits})

    train_step = make_train_step(
        Noise(),
        optax.sgd(0.1),
        augment=lambda key, images: images + jax.random.uniform(key, images.shape),
        objective=Logits(),
        readings=lambda state, batch, gradients, updates: batch["image"],
    )
    state = create_state({"params": {"scale": jnp.ones(())}}, optax.sgd(0.1), seed=9).replace(step=jnp.int32(step))
    _, metrics, images = train_step(state, {"image": jnp.zeros((2, 4, 4, 1))})
    augment, dropout = (jax.random.fold_in(jax.random.key(9), 2 * step + stream) for stream in StepStream)
    np.testing.assert_array_equal(images, jax.random.uniform(augment, (2, 4, 4, 1)))
    # Linen derives a key for each layer; this network uses the key of the step itself.
    np.testing.assert_array_equal(metrics["logits"], jax.random.normal(dropout, (2, 3)))
