"""The base class of objectives, their own parameters, and the selection of the parameters that train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

Batch = dict[str, jax.Array]
"""Arrays by name, each with one row per example; classification reads `image` and `label`. What else it has, apart from
the views that an objective makes, is what the objective needs (`Need`)."""
Need = Literal["target", "progress", "features"]
"""What an objective may need besides labelled images. target: `batch["target"]`, unlabelled images of another
population (`data.target`), as many as there are in `image`, augmented and preprocessed like these. progress:
`batch["progress"]`, the share of the steps that is done, a float32 scalar in [0, 1). features: the argument `features`
of `init`."""
Sums = dict[str, jax.Array]
"""Scalars summed over examples, so that sums of several batches can be added; `n` counts the examples."""
Apply = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""`apply(params, model_state, images, key) -> (logits, model_state)`: the network in training mode."""


OWN = "~objective"
"""The key of an objective's own parameters among those of the network; no layer has this name."""


@dataclass(frozen=True)
class Objective:
    """What a training step minimizes: a frozen record that is hashable, comparable and saved with the experiment.

    A subclass is decorated with `@dataclass(frozen=True)`. It defines `__call__` and `sums`, and if needed `init`,
    `trains` and `views`. Its options are its fields, which are checked against their annotations.

    Attributes:
        needs: what it needs besides labelled images.
    """

    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        fields.check(self)

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        """Return the loss of a batch, for `jax.value_and_grad(..., has_aux=True)`.

        Args:
            apply: the network in training mode; it may be called several times, with keys derived from `key`.
            params: parameters with respect to which the loss is differentiated; `params[OWN]` are the objective's own,
                if it has any. `apply` takes all of them and passes the network its own.
            model_state: all collections of the network except `params`.
            batch: augmented and preprocessed batch.
            key: random key for dropout and other randomness.

        Returns:
            The loss, a float32 scalar, and a pair of the new `model_state` and the sums over the batch, with `n`.
        """
        raise NotImplementedError

    def init(self, key: jax.Array, logits: jax.ShapeDtypeStruct, features: jax.ShapeDtypeStruct | None = None) -> Any:
        """Return the objective's own parameters, such as a learned temperature: a tree of arrays, or None.

        They are trained and saved with the network's parameters, and weight decay follows the same rule. Networks
        never see them.

        Args:
            key: random key for initial values.
            logits: shape [1, classes] and dtype of the network's output for one image.
            features: shape [1, d] and dtype of the penultimate features of one image (`probes.with_features`); passed
                only if `needs` has "features".
        """
        return None

    def views(self, key: jax.Array, batch: Batch) -> Batch:
        """Return a training batch with changed images, or with further views of them.

        It is called inside the training step, after augmentation and before preprocessing: images are uint8 in 0..255
        or float32, in 0..1 if they were stored as uint8 (`data.to_float` makes both float32). `image`, `target` and new
        arrays with four axes are preprocessed then.

        Args:
            key: random key of the step.
            batch: batch with `image`, `label` and what the objective needs.
        """
        return batch

    def trains(self, params: Any) -> Any:
        """Return which parameters train: True for all, or a tree of bools that is a prefix of `params`, where each leaf
        decides for all parameters below it. A parameter that does not train is neither updated nor decayed."""
        return True

    def sums(self, logits: jax.Array, batch: Batch, own: Any = None) -> Sums:
        """Return the metrics of evaluation, as sums over the examples that `batch["mask"]` selects (all without it).

        Args:
            logits: [n, classes], in evaluation mode.
            batch: evaluation batch.
            own: the objective's own parameters; passed only if it has any.

        Returns:
            `loss`, `n` and any other metrics; `correct` is reported as accuracy and error.
        """
        raise NotImplementedError


def network_params(params: Any) -> Any:
    """Return only the parameters of the network."""
    return {name: layer for name, layer in params.items() if name != OWN} if OWN in params else params


def trained(objective: Objective, params: Any) -> Any:
    """Return which parameters train under an objective: a tree of bools with the structure of `params`.

    Raises:
        InputError: no parameter trains, or the result of `objective.trains` does not fit the parameters.
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
    """Convert the sums that the step functions return to means over examples; `correct` becomes `accuracy`."""
    means = {name: value / sums["n"] for name, value in sums.items() if name != "n"}
    return {{"correct": "accuracy"}.get(name, name): value for name, value in means.items()}
