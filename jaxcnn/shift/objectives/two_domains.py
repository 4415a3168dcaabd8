"""A network applied to source and target images in separate passes."""

from typing import Any, Literal, NamedTuple

import jax

from jaxcnn.objectives import Apply, Batch
from jaxcnn.probes import with_features

Domain = Literal["target", "source"]
"""Whose running statistics of batch normalization are kept for evaluation. target: those of the images on which the
network will be used; accuracies on source images are then those of a network that is adapted to the target. source:
those of the labelled images."""


def target_key(key: jax.Array) -> jax.Array:
    """Return the key of the pass over target images; `apply` itself folds 1 into a key."""
    return jax.random.fold_in(key, 2)


class Passes(NamedTuple):
    """Logits and features of source and target images, [n, classes] and [n, d], and the new `model_state`."""

    source_logits: jax.Array
    source_features: jax.Array
    target_logits: jax.Array
    target_features: jax.Array
    model_state: Any


def two_passes(apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array, statistics: Domain) -> Passes:
    """Apply a network to the images and to the target images of a batch, each normalized by its own statistics.

    In one pass, batch normalization would use the statistics of both domains together, which are right for neither
    (AdaBN, Li et al. 2016).

    Args:
        apply, params, model_state, batch, key: as an objective receives them.
        statistics: the pass whose `model_state` is kept.
    """
    logits, features, state = with_features(apply, params, model_state, batch["image"], key)
    found = with_features(apply, params, model_state, batch["target"], target_key(key))
    return Passes(logits, features, *found[:2], found[2] if statistics == "target" else state)
