"""The base class of objectives that add a term to classification of the labelled images."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.objectives import Batch, Classification, CrossEntropy, Objective, Sums


@dataclass(frozen=True)
class Supervised(Objective):
    """Classification of labelled images with a further term; a subclass defines `__call__`.

    The metric `loss` is that of classification alone, so that training and evaluation can be compared.

    Attributes:
        classification: loss of labelled images.
    """

    classification: Classification = CrossEntropy()

    def sums(self, logits: jax.Array, batch: Batch, own: Any = None) -> Sums:
        return self.classification.sums(logits, batch)


def with_terms(sums: Sums, terms: dict[str, jax.Array]) -> Sums:
    """Return the sums of a batch with further metrics, which are means over the batch."""
    return sums | {name: value * sums["n"] for name, value in terms.items()}


def entropy(logits: jax.Array) -> jax.Array:
    """Return the mean entropy of the predictions in nats, a measure without labels of how certain a network is."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=-1))
