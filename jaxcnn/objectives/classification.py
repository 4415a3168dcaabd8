"""Classification: losses, which are pure functions from logits [n, classes] and labels [n] to one loss per example [n]
in float32, and the objectives that minimize their mean."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn.objectives.objective import Apply, Batch, Objective, Sums
from jaxcnn.runtime.fields import Positive


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax of the logits, in nats.

    Args:
        logits: [n, classes].
        labels: [n], class indices, not checked: -1 is the last class, and an index beyond the classes gives NaN.

    Returns:
        [n].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def maximum_a_posteriori(logits: jax.Array, labels: jax.Array, *, j: float = 10.0) -> jax.Array:
    """LeCun et al. (1998, section II.C, equation 9): `y_D + log(exp(-j) + sum_i exp(-y_i))`, in nats.

    The penalties y are the negative logits and D is the label. This is cross-entropy with one additional class, the
    reject class, whose penalty is j. It keeps a gradient on the label's penalty even if all other penalties are large:
    the derivative with respect to y_D is at least `exp(-j) / (exp(-j) + exp(-y_D))`, where that of cross-entropy
    vanishes.

    Args:
        logits: [n, classes], negative squared distances in LeNet-5.
        labels: [n], class indices, not checked: -1 and the number of classes are the reject class.
        j: penalty of the reject class; the paper only requires it to be positive. With LeNet-5's codes, features
            halfway between two digits have a squared distance of at least 17 from both, so 10 rejects them. It is also
            far enough from 0 that ten of 84 units may be off by 1 before the label's penalty has a large gradient. A
            small j pulls all images equally, as `mean_squared_error` does; a large j gives cross-entropy.

    Returns:
        [n].
    """
    logits = logits.astype(jnp.float32)
    reject = jnp.full((*logits.shape[:-1], 1), -j, jnp.float32)
    return cross_entropy(jnp.concatenate([logits, reject], axis=-1), labels)


def mean_squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """LeCun et al. (1998, section II.C, equation 8): the penalty of the label, which is its negative logit.

    The logits must be negative squared distances to fixed codes, as from `layers.RadialBasis`: if the codes were
    trained, they and the features could all collapse to one point, and unconstrained logits would grow without bound.

    Args:
        logits: [n, classes], at most 0.
        labels: [n], as for `cross_entropy`.

    Returns:
        [n], squared distances summed over the units.
    """
    return -jnp.take_along_axis(logits.astype(jnp.float32), labels[:, None], axis=-1)[:, 0]


@dataclass(frozen=True)
class Classification(Objective):
    """The mean over a batch of one loss per example; a subclass defines `losses`."""

    def losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the losses [n], float32, for logits [n, classes] and labels [n]."""
        raise NotImplementedError

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        logits, model_state = apply(params, model_state, batch["image"], key)
        sums = self.sums(logits, batch)
        return sums["loss"] / sums["n"], (model_state, sums)

    def sums(self, logits: jax.Array, batch: Batch, own: Any = None) -> Sums:
        """Return `loss`, `n` and `correct`: examples whose label has the largest logit, and that have no NaN logit."""
        labels = batch["label"]
        mask = batch.get("mask", jnp.ones_like(labels, bool))
        # If a logit is NaN, argmax returns its index, which may be the label.
        correct = (jnp.argmax(logits, axis=-1) == labels) & ~jnp.isnan(jnp.max(logits, axis=-1))
        losses = self.losses(logits, labels)
        return {"loss": jnp.sum(losses, where=mask), "correct": jnp.sum(correct & mask), "n": jnp.sum(mask)}


@dataclass(frozen=True)
class CrossEntropy(Classification):
    """Softmax cross-entropy, see `cross_entropy`."""

    def losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        return cross_entropy(logits, labels)


@dataclass(frozen=True)
class MaximumAPosteriori(Classification):
    """LeNet-5's discriminative loss of 1998 (LeCun et al. 1998, section II.C, equation 9), see `maximum_a_posteriori`.
    It needs logits that are negative squared distances.

    Attributes:
        j: penalty of the reject class.
    """

    j: Positive = 10.0

    def losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        return maximum_a_posteriori(logits, labels, j=self.j)


@dataclass(frozen=True)
class MeanSquaredError(Classification):
    """LeNet-5's simpler loss of 1998 (LeCun et al. 1998, section II.C, equation 8), see `mean_squared_error`. It needs
    logits that are negative squared distances to fixed codes."""

    def losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        return mean_squared_error(logits, labels)
