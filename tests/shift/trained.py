"""A network with batch normalization after its dense layer, trained for a second on scikit-learn's digits."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.data.digits import digits
from jaxcnn.layers import Activation, BatchNorm, Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.shift.features import Network

MODEL = Chain(
    (
        Flatten(name="flatten"),
        Dense(32, name="f1"),
        BatchNorm(name="norm1"),
        Activation("relu", name="relu1"),
        Dense(10, name="output"),
    )
)


def preprocess(images):
    return images.astype(jnp.float32) / 255


@lru_cache(maxsize=1)
def trained():
    """The network, and its test images and labels in random order."""
    train, test, _ = digits()
    x, y = jnp.asarray(train.images), jnp.asarray(train.labels)
    variables = MODEL.init(jax.random.key(0), preprocess(x[:2]), train=False)
    optimizer = optax.adam(1e-2)

    def step(carry, _):
        params, stats, state = carry

        def loss(params):
            logits, new = MODEL.apply(
                {"params": params, "batch_stats": stats}, preprocess(x), train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new["batch_stats"]

        (_, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(params, updates), stats, state), ()

    start = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    (params, stats, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, length=60))(start)
    order = np.random.default_rng(0).permutation(len(test))
    network = Network(MODEL, {"params": params, "batch_stats": stats}, preprocess)
    return network, np.asarray(test.images)[order], test.labels[order]
