"""TENT: the scales and biases of batch normalization are trained on the target, by the entropy of the predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxcnn import data
from jaxcnn.norms.population import apply_blended
from jaxcnn.objectives import Apply, Batch, Objective, Sums
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.features import Network
from jaxcnn.shift.repairs.normalized import batch_norms
from jaxcnn.shift.repairs.stream import BATCH_SIZE, in_stored_order, stream
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_train_step

LEARNING_RATE = 1e-3
"""Of Adam, as in Wang et al. 2021, section 4."""


@dataclass(frozen=True)
class Entropy(Objective):
    """The mean entropy of the predicted class probabilities, in nats. It needs no labels.

    Attributes:
        layers: names of the layers whose parameters train, such as `norm1` or `res1/norm1`.
    """

    layers: tuple[str, ...]

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        logits, model_state = apply(params, model_state, batch["image"], key)
        sums = self.sums(logits, batch)
        return sums["loss"] / sums["n"], (model_state, sums)

    def trains(self, params: Any) -> Any:
        """Return True for the parameters of the layers, and False for all others."""

        def within(path: tuple, _: Any) -> bool:
            return jax.tree_util.keystr(path[:-1], simple=True, separator="/") in self.layers

        return jax.tree.map_with_path(within, params)

    def sums(self, logits: jax.Array, batch: Batch, own: Any = None) -> Sums:
        """Return `loss`, the entropies, and `n`."""
        mask = batch.get("mask", jnp.ones(len(logits), bool))
        log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
        # 0 log 0 is 0, also where the logarithm of a probability of 0 is minus infinity.
        terms = jnp.where(log_probabilities > -jnp.inf, jnp.exp(log_probabilities) * log_probabilities, 0)
        return {"loss": -jnp.sum(jnp.sum(terms, axis=-1), where=mask), "n": jnp.sum(mask)}


@dataclass(frozen=True)
class ByBatch:
    """A network that always normalizes by the statistics of the batch and has no dropout. Training mode would also drop
    units, and then the predictions, which TENT takes from its training pass, would be random.

    Attributes:
        model: the network.
    """

    model: nn.Module

    def apply(self, variables: Any, x: jax.Array, *, train: bool, **options: Any) -> tuple[jax.Array, dict[str, Any]]:
        """Return the logits, and no change of any collection: the statistics of training are not used any more."""
        return apply_blended(self.model, variables, x, 0.0), {}


class Adapted(NamedTuple):
    """What TENT predicts, and the network after its last update.

    Attributes:
        log_probabilities: float32 [n, classes] in the order of the images; each from before the update on its batch.
        network: scales and biases are those after the last update. Its running averages are those of training, so that
            it is meant for prediction by batch.
    """

    log_probabilities: np.ndarray
    network: Network


@fixed_settings()
def minimize_entropy(
    network: Network,
    images: Any,
    *,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    poll: Callable[[], None] = lambda: None,
) -> Adapted:
    """Predict each batch by its own statistics, and then take one step of Adam on the scales and biases of all batch
    normalizations that lowers the mean entropy of these predictions (TENT).

    Every call starts from the network it is given, so that nothing remains from another target. All other weights stay
    as they are. It can collapse to a few classes: low entropy is no proof of right predictions.

    Args:
        network: a network with batch normalization (`jaxcnn.norms.BatchNorm`).
        images: of the target, as stored, [n, height, width, channels].
        learning_rate: of Adam.
        batch_size: images of a batch; images are batched in random order.
        seed: seed of this order.
        poll: called before every batch; may raise to stop.

    Raises:
        InputError: the network has no batch normalization, or there are no images.

    Source: Wang et al. 2021 (arXiv:2006.10726), section 3; the prediction before the update, without a second forward
        pass, as in its published version and code.
    """
    layers = tuple("/".join(path) for path in batch_norms(network, images))
    of = (network.model, network.preprocess, network.crop, layers)
    try:
        step = _step(*of)
    except TypeError:
        # A field of the network is not hashable.
        step = _step.__wrapped__(*of)
    state = create_state(network.variables, _adam(), hyper={"learning_rate": learning_rate})
    found = []
    for batch in stream(images, batch_size, seed=seed, poll=poll):
        state, _, log_probabilities = step(state, {"image": batch})
        found.append(np.asarray(log_probabilities))
    adapted = Network(network.model, state.variables, network.preprocess, network.crop, network.step)
    return Adapted(in_stored_order(found, len(images), seed), adapted)


def _adam() -> optax.GradientTransformationExtraArgs:
    """Return Adam with its usual constants; the learning rate is an array of the state."""
    adam = optax.scale_by_adam()

    def update(gradients: Any, state: Any, params: Any = None, *, hyper: Any, **extra: Any) -> tuple[Any, Any]:
        updates, state = adam.update(gradients, state, params)
        return jax.tree.map(lambda x: -hyper["learning_rate"] * x, updates), state

    return optax.GradientTransformationExtraArgs(adam.init, update)


@lru_cache(maxsize=8)
def _step(
    model: nn.Module, preprocess: Callable[[jax.Array], jax.Array], crop: int | None, layers: tuple[str, ...]
) -> Callable[..., Any]:
    """Return the training step, whose readings are the log probabilities before the update."""
    network = ByBatch(model)

    def predictions(state: Any, batch: Batch, *_: Any) -> jax.Array:
        # The same computation as that of the loss, which the compiler therefore does once.
        logits, _ = network.apply(state.variables, batch["image"], train=True)
        return jax.nn.log_softmax(logits.astype(jnp.float32))

    step = make_train_step(
        network,
        _adam(),
        preprocess=lambda images: preprocess(data.center_crop(images, crop)),
        objective=Entropy(layers),
        readings=predictions,
    )
    return jax.jit(step)
