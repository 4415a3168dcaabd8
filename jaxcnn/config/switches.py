"""Fields that act only if another field has certain values, as `momentum` acts only in sgd."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxcnn.config.schema import Experiment


@dataclass(frozen=True)
class Switch:
    """What switches a field on.

    Attributes:
        fields: dotted paths of the fields of which one must have such a value.
        values: its values that do so; empty: every value above 0.
    """

    fields: tuple[str, ...]
    values: tuple[str, ...] = ()

    def is_on(self, value: Any) -> bool:
        """Return whether a value of one of the fields switches it on."""
        return value in self.values if self.values else bool(value)


_SGD, _ADAM = Switch(("optimizer.algorithm",), ("sgd",)), Switch(("optimizer.algorithm",), ("adam",))
_TFDS = Switch(("data.source",), ("tfds",))

SWITCHES: Mapping[str, tuple[Switch, ...]] = {
    "data.name": (Switch(("data.source",), ("tfds", "arrays")),),
    "data.train_split": (_TFDS,),
    "data.test_split": (_TFDS,),
    "data.split_seed": (Switch(("data.validation", "data.train_count")),),
    "data.fake": (Switch(("data.source",), ("fake",)),),
    "optimizer.momentum": (_SGD,),
    "optimizer.nesterov": (_SGD, Switch(("optimizer.momentum",))),
    "optimizer.b1": (_ADAM,),
    "optimizer.b2": (_ADAM,),
    "optimizer.eps": (_ADAM,),
    "optimizer.weight_decay_scope": (Switch(("optimizer.weight_decay",)),),
    "optimizer.schedule.drops": (Switch(("optimizer.schedule.name",), ("step",)),),
    "optimizer.schedule.factor": (Switch(("optimizer.schedule.name",), ("step", "plateau")),),
    "optimizer.schedule.patience": (Switch(("optimizer.schedule.name",), ("plateau",)),),
    "optimizer.schedule.final": (Switch(("optimizer.schedule.name",), ("cosine",)),),
}
"""Switches of a field, or of a part with all its fields; each of them must be on. No two fields switch each other."""


def switched_off(experiment: Experiment, path: str) -> str | None:
    """Return why a field changes nothing in an experiment; None if it acts.

    The reason reads as in `it acts only if optimizer.algorithm is sgd, not adam`.

    Args:
        experiment: the experiment.
        path: dotted path of the field.
    """
    for switch in switches_of(path):
        values: list[Any] = [functools.reduce(getattr, field.split("."), experiment) for field in switch.fields]
        if not any(map(switch.is_on, values)):
            needed = " or ".join(switch.values) or "above 0"
            found = ", ".join(map(str, values))
            return f"it acts only if {' or '.join(switch.fields)} is {needed}, not {found}"
    return None


def switches_of(path: str) -> tuple[Switch, ...]:
    """Return the switches of a field; none if it always acts."""
    return next((found for field, found in SWITCHES.items() if f"{path}.".startswith(f"{field}.")), ())
