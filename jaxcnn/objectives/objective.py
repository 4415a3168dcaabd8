"""The base of every objective, its own parameters, and which parameters train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

Batch = dict[str, jax.Array]
"""Arrays by name, each with one row for each example; classification reads `image` and `label`."""
Sums = dict[str, jax.Array]
"""Scalars summed over examples, so that sums of several batches can be added; `n` counts the examples."""
Apply = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""`apply(params, model_state, images, key) -> (logits, model_state)`: the network in training mode."""


OWN = "~objective"
"""Where an objective's own parameters lie among those of the network: a name that no layer has."""


@dataclass(frozen=True)
class Objective:
    """What a training step minimizes. A frozen record: hashable, comparable, saved with the experiment.

    A subclass defines `__call__` and `sums`, and `init` and `trains` where it needs them. Its numbers are its fields
    and are checked against their annotations.
    """

    def __post_init__(self) -> None:
        fields.check(self)

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        """The loss of a batch, for `jax.value_and_grad(..., has_aux=True)`.

        Args:
            apply: the network in training mode; may be called several times, with keys derived from `key`.
            params: what the loss is differentiated by; `params[OWN]` are the objective's own parameters, where it has
                some. `apply` takes them all and hands the network its own.
            model_state: every collection of the network but `params`.
            batch: augmented and preprocessed.
            key: for dropout and other randomness.

        Returns:
            The loss, a float32 scalar, and a pair: the new `model_state`, and sums over the batch.
        """
        raise NotImplementedError

    def init(self, key: jax.Array, logits: jax.ShapeDtypeStruct) -> Any:
        """Parameters of the objective's own, such as a learned temperature: a tree of arrays, or None for none.

        They are trained, decay by the same rule as the network's, and are saved with them; networks never see them.

        Args:
            key: for random values.
            logits: shape [1, classes] and dtype of the network's answer to one image.
        """
        return None

    def trains(self, params: Any) -> Any:
        """Which parameters train: True for all, or a tree of bool that is a prefix of `params`, whose leaves decide on
        all that is below them. A parameter that does not train is neither updated nor decayed."""
        return True

    def sums(self, logits: jax.Array, batch: Batch, own: Any = None) -> Sums:
        """What evaluation reports, as sums over the examples that `batch["mask"]` keeps (all of them without a mask).

        Args:
            logits: [n, classes], in evaluation mode.
            batch: as evaluation gives it.
            own: the objective's own parameters; given only where it has some.

        Returns:
            `loss` and `n`, and what else is measured; `correct` is reported as accuracy and error.
        """
        raise NotImplementedError


def network_params(params: Any) -> Any:
    """The parameters of the network alone."""
    return {name: layer for name, layer in params.items() if name != OWN} if OWN in params else params


def trained(objective: Objective, params: Any) -> Any:
    """Which parameters train under an objective: a tree of bool of the structure of `params`.

    Raises:
        InputError: none does, or the objective's answer does not fit the parameters.
    """
    kind = type(objective).__name__
    try:
        mask = jax.tree.map(lambda on, part: jax.tree.map(lambda _: bool(on), part), objective.trains(params), params)
    except ValueError as error:
        raise InputError(f"{kind}.trains does not fit the parameters: {error}") from error
    if not any(jax.tree.leaves(mask)):
        raise InputError(f"{kind}.trains selects no parameter; at least one must train.")
    return mask


def mean_metrics(sums: dict[str, float]) -> dict[str, float]:
    """Means over examples of the sums that the step functions return, in their order; `correct` becomes `accuracy`."""
    means = {name: value / sums["n"] for name, value in sums.items() if name != "n"}
    return {{"correct": "accuracy"}.get(name, name): value for name, value in means.items()}
