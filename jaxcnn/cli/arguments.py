"""Arguments for the fields of an experiment, in the forms that people type."""

import dataclasses
import functools
import re
import types
import typing
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from flax import linen as nn
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxcnn.config import Experiment, override
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
        option, equals, value = rest.popleft().partition("=")
        if not option.startswith(_FIELD):
            words.append(option + equals + value)
            continue
        path = option.removeprefix(_FIELD).replace("-", "_")
        kinds = _kinds(_hint(path, hints))
        values = [value] if equals else []
        if not equals:
            while rest and not _is_option(rest[0]) and (tuple in kinds or not values):
                values.append(rest.popleft())
        words += _words(option, values, kinds)
    return words


def registry(experiment: Experiment) -> ConstructorRegistry:
    """What tyro is to know of fields such as `model.norm`: names to choose from while no part is chosen.

    By itself tyro makes a subcommand for each kind of part.
    """
    made = ConstructorRegistry()
    chosen = any(dataclasses.is_dataclass(_value(experiment, path)) for path, hint in paths(experiment) if _named(hint))

    @made.primitive_rule
    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if chosen or not _named(info.type):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{{','.join(typing.get_args(_kinds(info.type)[Literal]))}}}",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: value is None or isinstance(value, str),
            str_from_instance=lambda value: [str(value)],
        )

    return made


def _value(part: Any, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), part)


def _named(hint: Any) -> bool:
    """Whether a field holds a part for which names stand."""
    kinds = _kinds(hint)
    return Literal in kinds and any(map(_is_part, kinds.values()))


def take_names(arguments: Sequence[str], experiment: Experiment) -> tuple[list[str], Experiment]:
    """The experiment with the parts that names among the arguments stand for, and the other arguments.

    `--config.model.norm=batch` changes the norm, whose options then are fields: `--config.model.norm.momentum=0.99`.

    Args:
        arguments: of the command line.
        experiment: which they change.

    Raises:
        InputError: no part has that name.
    """
    fields = {path for path, hint in paths(experiment) if _named(hint)}
    changes: dict[str, str | None] = {}
    others, rest = [], deque(arguments)
    while rest:
        option, equals, value = rest.popleft().partition("=")
        path = option.removeprefix(_FIELD).replace("-", "_")
        if not option.startswith(_FIELD) or path not in fields or not (equals or (rest and not _is_option(rest[0]))):
            others.append(option + equals + value)
            continue
        word = value if equals else rest.popleft()
        changes[path] = None if word in ("None", "null") else word
    try:
        return others, override(experiment, changes)
    except InputError:
        if any(dataclasses.is_dataclass(_value(experiment, path)) for path in changes):
            raise
        # Together with the other arguments they may fit.
        return [*arguments], experiment


def _is_option(word: str) -> bool:
    return word.startswith("-") and not re.match(r"-(\.?\d|inf|nan)", word)


def _words(option: str, values: list[str], kinds: dict[Any, Any]) -> list[str]:
    """The option and its values, of a field that takes these kinds of value."""
    choices = [
        choice for hint in kinds.values() if typing.get_origin(hint) is Literal for choice in typing.get_args(hint)
    ]
    if len(values) == 1 and type(None) in kinds and values[0].lower() in {"none", "null"} - {*choices}:
        return [option, "None"]
    if tuple in kinds:
        return [option, *(word for value in values for word in re.split(r"[,\s()\[\]]+", value) if word)]
    if bool in kinds and not values:
        return [option, "True"]
    if bool in kinds and values[0].lower() in ("true", "false"):
        return [option, values[0].capitalize()]
    return [f"{option}={value}" for value in values] or [option]


def _kinds(hint: Any) -> dict[Any, Any]:
    """What an annotation takes, by type: `tuple[int, int] | None` takes `tuple` and `NoneType`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kinds(hint.__origin__)
    if origin in (Union, types.UnionType):
        return {kind: each for one in typing.get_args(hint) for kind, each in _kinds(one).items()}
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
    if all(_is_part(kind) for kind in _kinds(hints[path])):
        own = _names(path, hints)
        change = f"set its fields {own}, or replace it in the config file" if own else "replace it in the config file"
        raise InputError(f"{_FIELD}{path} takes no value; {change}.")
    return hints[path]


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, nn.Module))


def _names(part: str, hints: dict[str, Any]) -> str:
    """Names of the fields of a part, "" for the experiment itself."""
    return ", ".join(path.rpartition(".")[2] for path in hints if path.rpartition(".")[0] == part)
