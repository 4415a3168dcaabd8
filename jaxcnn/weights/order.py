"""The order of layers where only their names determine it."""

import re
from collections.abc import Iterable


def natural(name: str) -> tuple:
    """Return a sort key that orders numbers by value, conv2 before conv10; timm's `head` comes after `pre_logits`."""
    return name.startswith("head"), [(p.isdigit(), int(p) if p.isdigit() else p) for p in re.split(r"(\d+)", name)]


def series(name: str) -> str:
    """Return a name without its numbers; the numbers order the names of a series (`conv`, `conv_1`, `conv_10`)."""
    return re.sub(r"_?\d+", "", name)


def by_series(names: Iterable[str]) -> list[str]:
    """Sort names by their numbers within a series, and the series by the positions of their first names."""
    names = list(names)
    first = {series(name): index for index, name in reversed(list(enumerate(names)))}
    return sorted(names, key=lambda name: (first[series(name)], natural(name)))
