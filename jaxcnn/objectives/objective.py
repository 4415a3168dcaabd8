"""The base of every objective."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.runtime import fields

Batch = dict[str, jax.Array]
"""Arrays by name, each with one row for each example; classification reads `image` and `label`."""
Sums = dict[str, jax.Array]
"""Scalars summed over examples, so that sums of several batches can be added; `n` counts the examples."""
Apply = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""`apply(params, model_state, images, key) -> (logits, model_state)`: the network in training mode."""


@dataclass(frozen=True)
class Objective:
    """What a training step minimizes. A frozen record: hashable, comparable, saved with the experiment.

    A subclass defines both methods. Its numbers are its fields and are checked against their annotations.
    """

    def __post_init__(self) -> None:
        fields.check(self)

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        """The loss of a batch, for `jax.value_and_grad(..., has_aux=True)`.

        Args:
            apply: the network in training mode; may be called several times, with keys derived from `key`.
            params: what the loss is differentiated by.
            model_state: every collection of the network but `params`.
            batch: augmented and preprocessed.
            key: for dropout and other randomness.

        Returns:
            The loss, a float32 scalar, and a pair: the new `model_state`, and sums over the batch.
        """
        raise NotImplementedError

    def sums(self, logits: jax.Array, batch: Batch) -> Sums:
        """What evaluation reports, as sums over the examples that `batch["mask"]` keeps (all of them without a mask).

        Args:
            logits: [n, classes], in evaluation mode.
            batch: as evaluation gives it.

        Returns:
            `loss` and `n`, and what else is measured; `correct` is reported as accuracy and error.
        """
        raise NotImplementedError


def mean_metrics(sums: dict[str, float]) -> dict[str, float]:
    """Means over examples of the sums that the step functions return, in their order; `correct` becomes `accuracy`."""
    means = {name: value / sums["n"] for name, value in sums.items() if name != "n"}
    return {{"correct": "accuracy"}.get(name, name): value for name, value in means.items()}
