"""Conversion of settings between today's names and those of the first saved runs.

`current` lets those runs load. `original` preserves their run ids: a run id is computed from the original names if they
can express the setting. Each change of a field is one entry of `_CHANGES`.
"""

from collections.abc import Callable
from typing import Any

Tree = dict[str, Any]
"""An experiment in JSON types, as `to_json` returns it."""

_LOSSES = {
    "cross_entropy": {"class": "jaxcnn.objectives.CrossEntropy"},
    "map": {"class": "jaxcnn.objectives.MaximumAPosteriori", "j": 10.0},
    "mse": {"class": "jaxcnn.objectives.MeanSquaredError"},
}


def _objective_of_loss(saved: Tree) -> Tree:
    """Convert `loss`, the name of a loss, to `objective`."""
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


_LRN = {"lrn_size": 5, "lrn_alpha": 1e-4, "lrn_beta": 0.75, "lrn_k": 2.0, "lrn_alpha_mode": "sum"}
_LRN_CLASS = "jaxcnn.layers.LocalResponseNorm"
_WITH_LRN = ("jaxcnn.models.AlexNet", "jaxcnn.models.VGG")


def _record_of_lrn_fields(saved: Tree) -> Tree:
    """Convert the constants of local response normalization, which were fields of the network, to a `norm` record."""
    model = saved.get("model")
    if not isinstance(model, dict) or not _LRN.keys() <= model.keys():
        return saved
    rest = {name: value for name, value in model.items() if name not in _LRN}
    used = rest["norm"] in ("local_response", None) or rest.get("configuration") == "A-LRN"
    if used and any(model[name] != default for name, default in _LRN.items()):
        rest["norm"] = {"class": _LRN_CLASS} | {name.removeprefix("lrn_"): model[name] for name in _LRN}
    return saved | {"model": rest}


def _lrn_fields_of_record(tree: Tree) -> Tree:
    model = tree.get("model")
    if not isinstance(model, dict) or model.get("class") not in _WITH_LRN:
        return tree
    norm = model["norm"]
    if norm == "local_response_caffe":
        norm = {"class": _LRN_CLASS, "size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0, "alpha_mode": "mean"}
    if not isinstance(norm, dict):
        return tree | {"model": model | _LRN}
    if norm["class"] != _LRN_CLASS:
        return tree
    # The default norm of a network was not named.
    name = {"A-LRN": "none", "2012": None}.get(model.get("configuration") or model.get("variant"), "local_response")
    fields = {f"lrn_{constant}": value for constant, value in norm.items() if constant != "class"}
    return tree | {"model": model | {"norm": name} | fields}


_CHANGES: tuple[tuple[Callable[[Tree], Tree], Callable[[Tree], Tree]], ...] = (
    (_objective_of_loss, _loss_of_objective),
    (_record_of_lrn_fields, _lrn_fields_of_record),
)
"""Pairs of conversions, oldest change first: from the form before a change to the form after it, and back."""


def current(saved: Tree) -> Tree:
    """Convert a saved experiment to today's names."""
    for forward, _ in _CHANGES:
        saved = forward(saved)
    return saved


def original(tree: Tree) -> Tree:
    """Convert an experiment to the names in the first saved runs; a setting they cannot express is left unchanged."""
    for _, back in reversed(_CHANGES):
        tree = back(tree)
    return tree
