"""Deep CORAL: the covariances of source and target features are made equal."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxcnn.objectives import Apply, Batch, Need, Sums
from jaxcnn.runtime.fields import NonNegative
from jaxcnn.shift.objectives.supervised import Supervised, entropy, with_terms
from jaxcnn.shift.objectives.two_domains import Domain, two_passes


def coral_distance(source: jax.Array, target: jax.Array) -> jax.Array:
    """Return the squared Frobenius norm of the difference of two covariances, over 4 d² (Sun & Saenko 2016, Deep CORAL,
    equation 1): a float32 scalar.

    Common implementations take the mean over d² without the 4, add the distance of the means, or take the root.

    Args:
        source, target: features [n, d] and [m, d], with n and m of 2 or more; covariances divide by n - 1 and m - 1.
    """
    difference = _covariance(source) - _covariance(target)
    return jnp.sum(jnp.square(difference)) / (4 * source.shape[1] ** 2)


def _covariance(features: jax.Array) -> jax.Array:
    centred = features.astype(jnp.float32)
    centred -= jnp.mean(centred, axis=0, keepdims=True)
    # A difference of covariances needs more digits than the products of an accelerator have by default.
    return jnp.matmul(centred.T, centred, precision="highest") / (len(features) - 1)


@dataclass(frozen=True)
class DeepCoral(Supervised):
    """Classification of the source plus `weight` times `coral_distance` of the penultimate features (Sun & Saenko
    2016). It needs `data.target`; the encoder receives the gradients of both terms, from source and target images.

    Training reports the distance as `coral`, and the mean entropy of the predictions of target images as
    `target_entropy`, by which settings can be chosen without labels.

    Attributes:
        weight: the paper's lambda. It chooses it such that both terms are about equal at the end; on features of d
            around 100 the distance is small, so that 1 changes hardly anything, and 100 is a better start.
        statistics: see `two_domains.Domain`.
    """

    needs: ClassVar[tuple[Need, ...]] = ("target",)

    weight: NonNegative = 1.0
    statistics: Domain = "target"

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        passes = two_passes(apply, params, model_state, batch, key, self.statistics)
        sums = self.sums(passes.source_logits, batch)
        distance = coral_distance(passes.source_features, passes.target_features)
        terms = {"coral": distance, "target_entropy": entropy(passes.target_logits)}
        return sums["loss"] / sums["n"] + self.weight * distance, (passes.model_state, with_terms(sums, terms))
