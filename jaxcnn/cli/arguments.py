"""Arguments for the fields of an experiment, in the forms that people type."""

import dataclasses
import re
import types
import typing
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from flax import linen as nn

from jaxcnn.config import Experiment
from jaxcnn.config.paths import nearest, paths
from jaxcnn.runtime.errors import InputError

_FIELD = "--config."


def for_tyro(arguments: Sequence[str], experiment: Experiment) -> list[str]:
    """The arguments with every `--config.FIELD` in the one form that tyro takes.

    What is added to that form, by the field's annotation: true and false in any case, and nothing at all for true;
    none and null in any case for None; and a tuple in one word, such as 0.1,0.2 or (0.1, 0.2). Values that do not fit
    stay as they are, for tyro to say so.

    Args:
        arguments: of the command line.
        experiment: whose fields they change.

    Raises:
        InputError: there is no such field, with the nearest one; or it has fields of its own.
    """
    hints = dict(paths(experiment))
    words, rest = [], deque(arguments)
    while rest:
        word = rest.popleft()
        option, equals, value = word.partition("=")
        path = field_path(option)
        if path is None:
            words.append(word)
            continue
        kinds = kinds_of(_hint(path, hints))
        values = [value] if equals else []
        if not equals:
            while rest and not is_option(rest[0]) and (tuple in kinds or not values):
                values.append(rest.popleft())
        words += _words(option, values, kinds)
    return words


def field_path(option: str) -> str | None:
    """The path of the field that an option sets, "seed" for "--config.seed"; None for other options."""
    return option.removeprefix(_FIELD).replace("-", "_") if option.startswith(_FIELD) else None


def is_option(word: str) -> bool:
    """Whether a word begins an option and is no value, as negative numbers are."""
    return word.startswith("-") and not re.match(r"-(\.?\d|inf|nan)", word)


def _words(option: str, values: list[str], kinds: dict[Any, Any]) -> list[str]:
    """The option and its values, of a field that takes these kinds of value."""
    if len(values) == 1 and is_none(values[0], kinds):
        return [option, "None"]
    if tuple in kinds:
        return [option, *(word for value in values for word in re.split(r"[,\s()\[\]]+", value) if word)]
    if bool in kinds and not values:
        return [option, "True"]
    if bool in kinds and values[0].lower() in ("true", "false"):
        return [option, values[0].capitalize()]
    return [f"{option}={value}" for value in values] or [option]


def is_none(value: str, kinds: dict[Any, Any]) -> bool:
    """Whether a word means None for a field that takes these kinds of value: none or null, unless that is a choice."""
    choices = typing.get_args(kinds.get(Literal))
    return type(None) in kinds and value.lower() in ("none", "null") and value not in choices


def kinds_of(hint: Any) -> dict[Any, Any]:
    """What an annotation takes, by type: `tuple[int, int] | None` takes `tuple` and `NoneType`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return kinds_of(hint.__origin__)
    if origin in (Union, types.UnionType):
        return {kind: each for one in typing.get_args(hint) for kind, each in kinds_of(one).items()}
    return {origin or hint: hint}


def _hint(path: str, hints: dict[str, Any]) -> Any:
    """The annotation of the field at a path.

    Raises:
        InputError: there is no such field, or none that takes a value.
    """
    if path not in hints:
        parent = path.rpartition(".")[0]
        if parent in hints and not _names(parent, hints):
            raise InputError(
                f"{_FIELD}{path} is no field of this experiment: {_FIELD}{parent} has no fields with its present value."
            )
        near, part = nearest(path, hints), path
        while not _names(part, hints):
            part = part.rpartition(".")[0]
        where = _FIELD + part if part else "the experiment"
        more = f"Did you mean {_FIELD}{near}?" if near else f"The fields of {where} are {_names(part, hints)}."
        raise InputError(f"{_FIELD}{path} is no field of this experiment. {more}")
    if all(_is_part(kind) for kind in kinds_of(hints[path])):
        own = _names(path, hints)
        change = f"set its fields {own}, or replace it in the config file" if own else "replace it in the config file"
        raise InputError(f"{_FIELD}{path} takes no value; {change}.")
    return hints[path]


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, nn.Module))


def _names(part: str, hints: dict[str, Any]) -> str:
    """Names of the fields of a part, "" for the experiment itself."""
    return ", ".join(path.rpartition(".")[2] for path in hints if path.rpartition(".")[0] == part)
