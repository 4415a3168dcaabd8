"""Losses: pure functions from logits [n, classes] and labels [n] to a loss for each example [n], in float32."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax of the logits, in nats.

    Args:
        logits: [n, classes].
        labels: [n], classes as whole numbers.

    Returns:
        [n].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def maximum_a_posteriori(logits: jax.Array, labels: jax.Array, *, j: float = 10.0) -> jax.Array:
    """LeCun et al. (1998, section II.C, equation 9): `y_D + log(exp(-j) + sum_i exp(-y_i))`, in nats.

    The penalties y are the negative logits and D is the label. It is cross-entropy with one more class, that of rubbish
    images, whose penalty is j. That class keeps a pull on the label's penalty even where all others are far off: the
    derivative by y_D is at least `exp(-j) / (exp(-j) + exp(-y_D))`, where cross-entropy's vanishes.

    Args:
        logits: [n, classes], minus squared distances in LeNet-5.
        labels: [n], classes as whole numbers.
        j: penalty of rubbish; the paper says positive and no more. With LeNet-5's pictures features halfway between
            two digits are at least 17 from both, so 10 calls them rubbish, and is far enough from 0 for ten of 84
            units to be off by 1 before the label is pushed hard. A small j pulls all images alike, as
            `mean_squared_error` does; a large one is cross-entropy.

    Returns:
        [n].
    """
    logits = logits.astype(jnp.float32)
    rubbish = jnp.full((*logits.shape[:-1], 1), -j, jnp.float32)
    return cross_entropy(jnp.concatenate([logits, rubbish], axis=-1), labels)


def mean_squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """LeCun et al. (1998, section II.C, equation 8): the penalty of the label, minus its logit.

    It is for logits that are minus squared distances to fixed codes, as `layers.RadialBasis` gives: were the codes
    trained, all of them and the features could collapse to one point, and free logits rise without bound.

    Args:
        logits: [n, classes], at most 0.
        labels: [n], classes as whole numbers.

    Returns:
        [n], squared distances summed over the units.
    """
    return -jnp.take_along_axis(logits.astype(jnp.float32), labels[:, None], axis=-1)[:, 0]


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "map": maximum_a_posteriori, "mse": mean_squared_error}
"""By the names that `Experiment.loss` takes."""
