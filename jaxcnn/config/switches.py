"""Fields that act only if another field has certain values, as `momentum` acts only in sgd."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxcnn.config.schema import Experiment


@dataclass(frozen=True)
class Switch:
    """The field that switches another one on.

    Attributes:
        field: its dotted path.
        values: its values that do so; empty: every value above 0.
    """

    field: str
    values: tuple[str, ...] = ()


_SGD, _ADAM = Switch("optimizer.algorithm", ("sgd",)), Switch("optimizer.algorithm", ("adam",))
_TFDS = Switch("data.source", ("tfds",))

SWITCHES: Mapping[str, tuple[Switch, ...]] = {
    "data.name": (Switch("data.source", ("tfds", "arrays")),),
    "data.train_split": (_TFDS,),
    "data.test_split": (_TFDS,),
    "data.split_seed": (Switch("data.validation"),),
    "data.fake": (Switch("data.source", ("fake",)),),
    "optimizer.momentum": (_SGD,),
    "optimizer.nesterov": (_SGD, Switch("optimizer.momentum")),
    "optimizer.b1": (_ADAM,),
    "optimizer.b2": (_ADAM,),
    "optimizer.eps": (_ADAM,),
    "optimizer.weight_decay_scope": (Switch("optimizer.weight_decay"),),
    "optimizer.schedule.drops": (Switch("optimizer.schedule.name", ("step",)),),
    "optimizer.schedule.factor": (Switch("optimizer.schedule.name", ("step", "plateau")),),
    "optimizer.schedule.patience": (Switch("optimizer.schedule.name", ("plateau",)),),
    "optimizer.schedule.final": (Switch("optimizer.schedule.name", ("cosine",)),),
}
"""Switches of a field, or of a part with all its fields; each of them must be on. No two fields switch each other."""


def switched_off(experiment: Experiment, path: str) -> str | None:
    """Return why a field changes nothing in an experiment, as in `it acts only if optimizer.algorithm is sgd, and it is
    adam`; None if it acts.

    Args:
        experiment: the experiment.
        path: dotted path of the field.
    """
    for switch in switches_of(path):
        value: Any = functools.reduce(getattr, switch.field.split("."), experiment)
        if value not in switch.values if switch.values else not value:
            needed = " or ".join(switch.values) or "above 0"
            return f"it acts only if {switch.field} is {needed}, and it is {value}"
    return None


def switches_of(path: str) -> tuple[Switch, ...]:
    """Return the switches of a field; none if it always acts."""
    return next((found for field, found in SWITCHES.items() if f"{path}.".startswith(f"{field}.")), ())
