"""One pure function for a training step, one for an evaluation step; with and without batch statistics alike."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxcnn.losses import Loss, cross_entropy
from jaxcnn.state import TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Model(Protocol):
    """What the steps need of a network; any linen module with `__call__(x, *, train)` has it."""

    def apply(self, variables: dict, x: jax.Array, *, train: bool, **options: Any) -> Any:
        """Logits [n, classes], with the updated collections where `mutable` names some."""


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    seed: int | jax.Array = 0,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    loss: Loss = cross_entropy,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A jitted `step(state, batch) -> (state, metrics)`; the state given is donated, so do not use it again.

    All randomness is a function of (seed, state.step), so a resumed run repeats an uninterrupted one. On a batch that
    is sharded over devices, loss, gradients and batch statistics are those of the whole batch.

    Args:
        model: the network.
        optimizer: takes `value=loss` as optax's extended transformations do.
        seed: of augmentation and dropout.
        preprocess: images as stored to what the network sees.
        augment: `(key, images) -> images`, before `preprocess`; None leaves images alone.
        loss: `(logits, labels) -> losses`, one for each example; their mean is lowered. By default softmax
            cross-entropy, in nats.

    Returns:
        The step. `batch` has `image` [n, height, width, channels] and `label` int32 [n]; `metrics` has sums over the
        batch, `loss` and `correct`, and `n`, the examples.
    """
    root = jax.random.key(seed)

    @jax.jit(donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # A key is derived where it is used: each derivation takes XLA a second to compile for a CPU.
        augment_key, dropout_key = (jax.random.fold_in(root, 2 * state.step + use) for use in (0, 1))
        images = batch["image"]
        if augment:
            images = _once(lambda images: augment(augment_key, images), images, state.step)
        images = preprocess(images)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            metrics = _sums(loss, logits, batch["label"], jnp.ones_like(batch["label"], bool))
            return metrics["loss"] / metrics["n"], (updates.get("batch_stats", {}), metrics)

        (value, (batch_stats, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return train_step


def make_eval_step(
    model: Model,
    *,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    loss: Loss = cross_entropy,
) -> Callable[[dict[str, Any], Batch], tuple[Metrics, jax.Array]]:
    """A jitted `step(variables, batch) -> (metrics, logits)`.

    `batch` has `image`, `label` and `mask` (False for padding); `metrics` are sums over the unmasked examples as in
    `make_train_step`, `logits` are [n, classes] float32, padding included.
    """

    @jax.jit
    def eval_step(variables: dict[str, Any], batch: Batch) -> tuple[Metrics, jax.Array]:
        logits = model.apply(variables, preprocess(batch["image"]), train=False)
        return _sums(loss, logits, batch["label"], batch["mask"]), logits

    return eval_step


def _once(function: Callable[[jax.Array], jax.Array], images: jax.Array, step: jax.Array) -> jax.Array:
    """function(images), computed once. On a CPU XLA fuses it with what reads them and computes a pixel whenever it is
    read, which takes a fifth of a step of LeNet-5; not so inside a conditional, which here always holds."""
    if jax.default_backend() != "cpu":
        return function(images)
    result = jax.eval_shape(function, images)
    return jax.lax.cond(step >= 0, function, lambda _: jnp.zeros(result.shape, result.dtype), images)


def _sums(loss: Loss, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Metrics:
    losses = loss(logits, labels)
    correct = jnp.argmax(logits, axis=-1) == labels
    return {"loss": jnp.sum(losses, where=mask), "correct": jnp.sum(correct & mask), "n": jnp.sum(mask)}
