"""The dotted paths of an experiment's fields, as used on command lines and in overrides."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from jaxcnn.config.serialization import settings_of
from jaxcnn.runtime import fields


def paths(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of an experiment as its path and its annotation: ("optimizer.schedule.factor", Fraction).

    A field whose value has fields of its own precedes those fields.
    """
    for name in settings_of(part):
        value = getattr(part, name)
        yield prefix + name, fields.hints(type(part))[name]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from paths(value, f"{prefix}{name}.")


def nearest(path: str, known: Iterable[str]) -> str | None:
    """Return the known path that an unknown one probably means, or None if none is likely.

    The last name decides, in this order: the same name elsewhere, initials (`lr` for `learning_rate`), a similar
    spelling, a name that begins with the other, a name that shares a word with it (`num_epochs` for `epochs`). Of
    several candidates, paths in the same part come first, then the most similar path.
    """
    part, _, name = path.rpartition(".")
    names = {candidate: candidate.rpartition(".")[2] for candidate in known}
    likely = (
        lambda other: other == name,
        lambda other: "".join(word[:1] for word in other.split("_")) == name and "_" in other,
        lambda other: _likeness(other, name) >= 0.75 and other[:1] == name[:1],
        lambda other: min(len(name), len(other)) > 2 and (other.startswith(name) or name.startswith(other)),
        lambda other: bool({*other.split("_")} & {*name.split("_")} - {""}),
    )
    for test in likely:
        found = [candidate for candidate, other in names.items() if test(other)]
        if found:
            return max(found, key=lambda candidate: (candidate.rpartition(".")[0] == part, _likeness(candidate, path)))
    return None


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
