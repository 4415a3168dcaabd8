"""The axes of a sweep on the command line: `--grid.model.norm=none,batch --grid.seed=0,1,2`."""

import contextlib
import re
import types
import typing
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from jaxcnn.cli.arguments import is_part
from jaxcnn.cli.objectives import is_objective, read_objective, split_objectives
from jaxcnn.config import Experiment, override
from jaxcnn.config.paths import nearest, paths
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

_AXIS = "--grid."


def take_axes(arguments: Sequence[str], prefix: str = _AXIS) -> tuple[list[str], dict[str, str]]:
    """Return the other arguments, and the text of every axis by the dotted path of its field.

    Raises:
        InputError: an axis has no values, or is given twice.
    """
    others, axes, rest = [], {}, deque(arguments)
    while rest:
        option, equals, text = rest.popleft().partition("=")
        if not option.startswith(prefix):
            others.append(option + equals + text)
            continue
        path = option.removeprefix(prefix).replace("-", "_")
        if not equals and rest and not rest[0].startswith("--"):
            text = rest.popleft()
        if not text.strip():
            raise InputError(f"{option} has no values; separate them by commas, as in {option}=0,1,2.")
        if path in axes:
            raise InputError(f"{option} is given twice; give all its values at once, separated by commas.")
        axes[path] = text
    return others, axes


def read_axes(axes: dict[str, str], experiment: Experiment) -> dict[str, list[Any]]:
    """Return the values of every axis, as the annotations of its field say.

    Values are separated by commas; tuples are in parentheses, and a text that contains commas is in double quotes.

    Args:
        axes: result of `take_axes`.
        experiment: experiment whose fields they change; a part that an axis names (`model.norm`) has its fields too.

    Raises:
        InputError: there is no such field, and the message names the nearest one; or a value does not fit it.
    """
    found = {}
    for path in sorted(axes, key=lambda path: path.count(".")):
        hints = dict(paths(experiment))
        if path not in hints:
            if parent := _without_fields(path, hints):
                raise InputError(
                    f"{_AXIS}{path} is not a field of this experiment: {parent}, as it is set, has no fields. "
                    f"Set it to a part that has them by {_AXIS}{parent} or --config.{parent}."
                )
            near = nearest(path, hints)
            more = f" Did you mean {_AXIS}{near}?" if near else " --help lists the fields."
            raise InputError(f"{_AXIS}{path} is not a field of this experiment.{more}")
        if all(is_part(kind) for kind in _alternatives(hints[path])) and not is_objective(hints[path]):
            own = [field.removeprefix(f"{path}.") for field in hints if field.startswith(f"{path}.")]
            names = ", ".join(field for field in own if "." not in field)
            raise InputError(
                f"{_AXIS}{path} takes no values; vary its fields{f' {names}' if names else ''}, or write a function "
                f"sweep_NAME() in the config file, which yields {{{path!r}: ...}}."
            )
        split = split_objectives if is_objective(hints[path]) else _split
        found[path] = [_value(text, hints[path], path) for text in split(axes[path])]
        with contextlib.suppress(InputError):
            # A part that this axis names may have fields that other axes change; `grid` checks all values together.
            experiment = override(experiment, {path: found[path][-1]})
    return {path: found[path] for path in axes}


def _without_fields(path: str, hints: Mapping[str, Any]) -> str | None:
    """Return the part of a path that exists but has no fields as it is set, such as `model.norm`, which is none."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        parent = ".".join(parts[:count])
        if parent in hints:
            may_have = any(is_part(kind) for kind in _alternatives(hints[parent]))
            return parent if may_have and not any(field.startswith(f"{parent}.") for field in hints) else None
    return None


def _split(text: str) -> list[str]:
    """Split at the commas that are neither in parentheses nor in double quotes around a whole value."""
    return re.findall(r'\s*("[^"]*"|(?:\([^()]*\)|[^,])*?)\s*,', text + ",", re.DOTALL)


def _value(text: str, hint: Any, path: str) -> Any:
    if is_objective(hint):
        return read_objective(text)
    with contextlib.suppress(ValueError):
        return fields.accept(_element(text, hint), hint)
    is_tuple = any(tuple in (kind, typing.get_origin(kind)) for kind in _alternatives(hint))
    form = ". Write a tuple in parentheses, as in (1,2)" if is_tuple else ""
    choices = [str(choice) for kind in _alternatives(hint) for choice in typing.get_args(kind)]
    close = fields.did_you_mean(text, choices)
    raise InputError(f"{_AXIS}{path} has the value {text!r}; it must be {fields.describe(hint)}{form}.{close}")


def _alternatives(hint: Any) -> list[Any]:
    """Return the types that an annotation allows, choices first and text last."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _alternatives(hint.__origin__)
    if origin in (Union, types.UnionType):
        found = [each for one in typing.get_args(hint) for each in _alternatives(one)]
        return sorted(found, key=lambda kind: (kind is str) - (typing.get_origin(kind) is Literal))
    return [hint]


def _converted(text: str, kind: Any) -> Any:
    """Convert a word to a type; raise ValueError if it does not fit."""
    if kind in (int, float):
        return kind(text)
    if kind is str and text:
        return text[1:-1] if re.fullmatch(r'"[^"]*"', text) else text
    if tuple in (kind, typing.get_origin(kind)):
        return _tuple(text, typing.get_args(kind))
    words: dict[str, Any] = {}
    if typing.get_origin(kind) is Literal:
        words = {str(choice): choice for choice in typing.get_args(kind)}
    elif kind is bool:
        words = {"True": True, "true": True, "False": False, "false": False}
    elif kind is type(None):
        words = dict.fromkeys(("None", "none", "null"))
    if text not in words:
        raise ValueError(text)
    return words[text]


def _tuple(text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not re.fullmatch(r"\(.*\)", text):
        raise ValueError(text)
    words = [word for word in _split(text[1:-1]) if word]
    each = kinds[:1] * len(words) if Ellipsis in kinds else kinds
    if len(each) != len(words):
        raise ValueError(text)
    return tuple(_element(word, kind) for word, kind in zip(words, each, strict=True))


def _element(word: str, hint: Any) -> Any:
    for kind in _alternatives(hint):
        with contextlib.suppress(ValueError):
            return _converted(word, kind)
    raise ValueError(word)
