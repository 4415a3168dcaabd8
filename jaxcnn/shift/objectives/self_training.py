"""Self-training: a network's own predictions of target images serve as their labels."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le

from jaxcnn.objectives import Apply, Batch, Need, Sums, cross_entropy, network_params
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative
from jaxcnn.shift.objectives.supervised import Supervised, entropy, with_terms
from jaxcnn.shift.objectives.two_domains import Domain, target_key


def generalized_cross_entropy(logits: jax.Array, labels: jax.Array, *, q: float = 0.8) -> jax.Array:
    """Return `(1 - p^q) / q` with the probability p of the label (Zhang & Sabuncu 2018, equation 6): float32 [n].

    With q towards 0 it becomes cross-entropy; with q of 1 it is the absolute error, which wrong labels hurt less.

    Args:
        logits: [n, classes].
        labels: int [n].
        q: above 0, at most 1.
    """
    return -jnp.expm1(-q * cross_entropy(logits, labels)) / q


@dataclass(frozen=True)
class SelfTraining(Supervised):
    """Classification of the source plus cross-entropy of target images with their own predicted classes as labels (Lee
    2013), where the prediction is confident. It needs `data.target`.

    The term is the mean over all target images, those without a confident prediction counting 0, as in WILDS 2.0
    (Sagawa et al. 2022, appendix), so that it grows with the share of confident ones. Predictions are those of the same
    pass, and no gradient flows through the choice of the label. Training reports the share as `pseudo_labelled`.

    Attributes:
        weight: factor of the term.
        threshold: least probability of the predicted class; the default of WILDS is 0.7.
        statistics: see `two_domains.Domain`.
    """

    needs: ClassVar[tuple[Need, ...]] = ("target",)

    weight: NonNegative = 1.0
    threshold: Fraction = 0.7
    statistics: Domain = "target"

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        logits, source_state = apply(params, model_state, batch["image"], key)
        target, target_state = apply(params, model_state, batch["target"], target_key(key))
        sums = self.sums(logits, batch)
        confident = jnp.max(jax.nn.softmax(target.astype(jnp.float32)), axis=-1) >= self.threshold
        term = jnp.mean(jnp.where(confident, cross_entropy(target, jnp.argmax(target, axis=-1)), 0))
        terms = {"pseudo_labelled": jnp.mean(confident), "target_entropy": entropy(target)}
        state = target_state if self.statistics == "target" else source_state
        return sums["loss"] / sums["n"] + self.weight * term, (state, with_terms(sums, terms))


@dataclass(frozen=True)
class RobustPseudoLabels(Supervised):
    """Robust pseudo-labelling (Rusak et al. 2021, If your data distribution shifts, use self-learning): generalized
    cross-entropy of target images with their own predicted classes as labels; only the scales and biases of
    normalization train. It needs `data.target` and a trained network (`init_from`); no source image is used.

    Batch normalization normalizes target images by the statistics of their batch, and its running statistics become
    those of the target. The metric `loss` of training is this loss; that of evaluation is of `classification`.

    Attributes:
        q: of `generalized_cross_entropy`; the paper has 0.8.
    """

    needs: ClassVar[tuple[Need, ...]] = ("target",)

    q: Annotated[float, Gt(0), Le(1)] = 0.8

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        logits, state = apply(params, model_state, batch["target"], key)
        loss = jnp.mean(generalized_cross_entropy(logits, jnp.argmax(logits, axis=-1), q=self.q))
        n = jnp.asarray(len(logits), jnp.int32)
        return loss, (state, with_terms({"n": n}, {"loss": loss, "target_entropy": entropy(logits)}))

    def trains(self, params: Any) -> Any:
        mask = {name: name in network_params(params) and _norms(layer) for name, layer in params.items()}
        if not any(jax.tree.leaves(mask)):
            raise InputError(
                "RobustPseudoLabels trains the scales and biases of normalization, and the network has none; choose a "
                "network with norm='batch'."
            )
        return mask


def _norms(layer: Any) -> Any:
    """Return which parameters of a layer, or of the layers in it, are a scale or the bias beside it."""
    if not isinstance(layer, dict):
        return False
    return {name: name in ("scale", "bias") if "scale" in layer else _norms(inner) for name, inner in layer.items()}
