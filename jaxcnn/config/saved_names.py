"""Settings as runs saved before version 0.2 name them, in both directions.

`current` lets those runs load. `original` keeps their run ids: a run id is computed from the original names wherever
they can express a setting. Each change of a field is one entry of `_CHANGES`.
"""

from collections.abc import Callable
from typing import Any

Tree = dict[str, Any]
"""An experiment in JSON's types, as `to_json` gives it."""

_LOSSES = {
    "cross_entropy": {"class": "jaxcnn.objectives.CrossEntropy"},
    "map": {"class": "jaxcnn.objectives.MaximumAPosteriori", "j": 10.0},
    "mse": {"class": "jaxcnn.objectives.MeanSquaredError"},
}


def _objective_of_loss(saved: Tree) -> Tree:
    """`objective` was a name under `loss`."""
    if saved.get("loss") not in _LOSSES:
        return saved
    rest = {name: value for name, value in saved.items() if name != "loss"}
    return rest | {"objective": _LOSSES[saved["loss"]]}


def _loss_of_objective(tree: Tree) -> Tree:
    loss = next((name for name, objective in _LOSSES.items() if objective == tree.get("objective")), None)
    if loss is None:
        return tree
    rest = {name: value for name, value in tree.items() if name != "objective"}
    return rest | {"loss": loss}


_CHANGES: tuple[tuple[Callable[[Tree], Tree], Callable[[Tree], Tree]], ...] = (
    (_objective_of_loss, _loss_of_objective),
)
"""The oldest first; each from the original form to the one after the change, and back."""


def current(saved: Tree) -> Tree:
    """A saved experiment under today's names."""
    for forward, _ in _CHANGES:
        saved = forward(saved)
    return saved


def original(tree: Tree) -> Tree:
    """An experiment under the names of the first saved runs; a setting that they cannot express stays as it is."""
    for _, back in reversed(_CHANGES):
        tree = back(tree)
    return tree
