"""Command-line arguments for the fields of an experiment, in the forms in which people type them."""

import dataclasses
import functools
import re
import types
import typing
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

import tyro
from flax import linen as nn
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxcnn.cli.objectives import is_objective, read_objective
from jaxcnn.config import Experiment, override
from jaxcnn.config.paths import nearest, paths
from jaxcnn.runtime.errors import InputError

_FIELD = "--config."


def parse(arguments: Sequence[str], default: Any, *, prog: str, description: str) -> Any:
    """Return the options of a command line that changes fields of an experiment.

    Args:
        arguments: what `take_names` leaves of the arguments.
        default: the options without arguments, a dataclass with a field `config`, the experiment.
        prog: name of the program in help and messages.
        description: what the help says first.

    Raises:
        InputError: an argument names no field.
        SystemExit: tyro has printed help, or an error in an argument.
    """
    return tyro.cli(
        Annotated[type(default), tyro.conf.arg(name="")],
        prog=prog,
        description=description,
        args=for_tyro(arguments, default.config),
        default=default,
        use_underscores=True,
        config=(tyro.conf.AvoidSubcommands,),
        registry=registry(default.config),
    )


def for_tyro(arguments: Sequence[str], experiment: Experiment) -> list[str]:
    """Return the arguments with every `--config.FIELD` in the form that tyro accepts.

    Depending on the field's annotation, these forms are also accepted: true and false in any case, and no value for
    true; none and null in any case for None; and a tuple as one word, such as 0.1,0.2 or (0.1, 0.2). Values that do not
    fit are left unchanged, so that tyro reports them.

    Args:
        arguments: arguments of the command line.
        experiment: experiment whose fields they change.

    Raises:
        InputError: there is no such field, and the message names the nearest one; or it has fields of its own.
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
    """Return tyro's rules for fields such as `model.norm`: names to choose from, as long as no part is chosen.

    By default tyro makes a subcommand for each kind of part.
    """
    rules = ConstructorRegistry()
    chosen = any(dataclasses.is_dataclass(_value(experiment, path)) for path, hint in paths(experiment) if _named(hint))

    @rules.primitive_rule
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

    return rules


def _value(part: Any, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), part)


def _named(hint: Any) -> bool:
    """Return whether a field holds a part that can be given by name."""
    kinds = _kinds(hint)
    return Literal in kinds and any(map(is_part, kinds.values()))


def take_names(arguments: Sequence[str], experiment: Experiment) -> tuple[list[str], Experiment]:
    """Apply the arguments that give a part by name; return the other arguments and the changed experiment.

    `--config.model.norm=batch` changes the norm, whose options then are fields: `--config.model.norm.momentum=0.99`. So
    do `--config.objective=DANN` and `--config.objective=DeepCoral(weight=100)`.

    Args:
        arguments: arguments of the command line.
        experiment: experiment that they change.

    Raises:
        InputError: no part has that name.
    """
    hints = dict(paths(experiment))
    fields = {path for path, hint in hints.items() if _named(hint) or is_objective(hint)}
    changes: dict[str, Any] = {}
    others, rest = [], deque(arguments)
    while rest:
        option, equals, value = rest.popleft().partition("=")
        path = option.removeprefix(_FIELD).replace("-", "_")
        if not option.startswith(_FIELD) or path not in fields or not (equals or (rest and not _is_option(rest[0]))):
            others.append(option + equals + value)
            continue
        word = value if equals else rest.popleft()
        if is_objective(hints[path]):
            changes[path] = read_objective(word)
        else:
            changes[path] = None if word in ("None", "null") else word
    try:
        return others, override(experiment, changes)
    except InputError:
        if any(dataclasses.is_dataclass(_value(experiment, path)) for path in changes):
            raise
        # They may fit together with the other arguments.
        return [*arguments], experiment


def _is_option(word: str) -> bool:
    return word.startswith("-") and not re.match(r"-(\.?\d|inf|nan)", word)


def _words(option: str, values: list[str], kinds: dict[Any, Any]) -> list[str]:
    """Return the option and its values in tyro's form, for a field that accepts these kinds of values."""
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
    """Return the alternatives of an annotation, by type: `tuple[int, int] | None` has `tuple` and `NoneType`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kinds(hint.__origin__)
    if origin in (Union, types.UnionType):
        return {kind: each for one in typing.get_args(hint) for kind, each in _kinds(one).items()}
    return {origin or hint: hint}


def _hint(path: str, hints: dict[str, Any]) -> Any:
    """Return the annotation of the field at a path.

    Raises:
        InputError: there is no such field, or it takes no value.
    """
    if path not in hints:
        parent = path.rpartition(".")[0]
        if parent in hints and not _names(parent, hints):
            raise InputError(
                f"{_FIELD}{path} is not a field of this experiment: {_FIELD}{parent}, as it is set, has no fields."
            )
        near, part = nearest(path, hints), path
        while not _names(part, hints):
            part = part.rpartition(".")[0]
        where = _FIELD + part if part else "the experiment"
        more = f"Did you mean {_FIELD}{near}?" if near else f"The fields of {where} are {_names(part, hints)}."
        raise InputError(f"{_FIELD}{path} is not a field of this experiment. {more}")
    if all(is_part(kind) for kind in _kinds(hints[path])):
        own = _names(path, hints)
        change = f"set its fields {own}, or replace it in the config file" if own else "replace it in the config file"
        raise InputError(f"{_FIELD}{path} takes no value; {change}.")
    return hints[path]


def is_part(kind: Any) -> bool:
    """Return whether values of a type are parts, with fields of their own, rather than words of a command line."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, nn.Module))


def _names(part: str, hints: dict[str, Any]) -> str:
    """Return the names of the fields of a part, "" for the experiment itself."""
    return ", ".join(path.rpartition(".")[2] for path in hints if path.rpartition(".")[0] == part)
