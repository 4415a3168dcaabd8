"""Prediction-time batch normalization: each batch of target images is normalized by its own statistics."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import data
from jaxcnn.norms.population import apply_blended
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import NonNegative, accept
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.features import Network
from jaxcnn.shift.repairs.normalized import batch_norms
from jaxcnn.shift.repairs.stream import BATCH_SIZE, in_stored_order, stream


@fixed_settings()
def predict_by_batch(
    network: Network,
    images: Any,
    *,
    prior: float = 0.0,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    poll: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Predict with every batch normalization using N / (N + n) of its running averages and n / (N + n) of the
    statistics of the batch of n images, for mean and variance; without dropout. One compiled program serves all N.

    Args:
        network: a network with batch normalization (`jaxcnn.norms.BatchNorm`).
        images: as stored, [n, height, width, channels].
        prior: N, the number of images that the running averages count for. 0: the batch alone (Nado et al. 2020).
            Larger ones are safer for small batches, but on images far from those of training they repair less.
        batch_size: n; images are batched in random order.
        seed: seed of this order.
        poll: called before every batch; may raise to stop.

    Returns:
        Log probabilities, float32 [n, classes], in the order of the images.

    Raises:
        InputError: the network has no batch normalization, there are no images, or a number is out of its bounds.

    Source: Schneider et al. 2020 (arXiv:2006.16971), section 3; with prior 0 Nado et al. 2020 (arXiv:2006.10963).
    """
    batch_norms(network, images)
    try:
        prior = accept(float(prior), NonNegative)
    except ValueError:
        raise InputError(f"prior is {prior!r}; it must be a number of images, 0 or more.") from None
    try:
        forward = _forward(network.model, network.preprocess, network.crop)
    except TypeError:
        # A field of the network is not hashable.
        forward = _forward.__wrapped__(network.model, network.preprocess, network.crop)
    found = [
        np.asarray(forward(network.variables, batch, np.float32(prior)))
        for batch in stream(images, batch_size, seed=seed, poll=poll)
    ]
    return in_stored_order(found, len(images), seed)


@lru_cache(maxsize=8)
def _forward(
    model: nn.Module, preprocess: Callable[[jax.Array], jax.Array], crop: int | None
) -> Callable[[Mapping[str, Any], jax.Array, jax.Array], jax.Array]:
    def forward(variables: Mapping[str, Any], images: jax.Array, prior: jax.Array) -> jax.Array:
        logits = apply_blended(model, variables, preprocess(data.center_crop(images, crop)), prior)
        return jax.nn.log_softmax(logits.astype(jnp.float32))

    return jax.jit(forward)
