"""The order of layers, where a file leaves it to their names."""

import re
from collections.abc import Iterable


def natural(name: str) -> tuple:
    """Sorts names with their numbers by value, conv2 before conv10; timm's `head` comes after `pre_logits`."""
    return name.startswith("head"), [(p.isdigit(), int(p) if p.isdigit() else p) for p in re.split(r"(\d+)", name)]


def series(name: str) -> str:
    """A name without its numbers: names of one series (`conv`, `conv_1`, `conv_10`) say in which order they come."""
    return re.sub(r"_?\d+", "", name)


def by_series(names: Iterable[str]) -> list[str]:
    """Names in the order of their numbers within a series, the series in the order of their first names."""
    names = list(names)
    first = {series(name): index for index, name in reversed(list(enumerate(names)))}
    return sorted(names, key=lambda name: (first[series(name)], natural(name)))
