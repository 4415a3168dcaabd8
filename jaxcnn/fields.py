"""What a configuration field accepts, read from its annotation: type, choices, bounds."""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt

from jaxcnn.errors import InputError

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]

_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    Gt: ("gt", lambda v, b: v > b.gt),
    Ge: ("ge", lambda v, b: v >= b.ge),
    Lt: ("lt", lambda v, b: v < b.lt),
    Le: ("le", lambda v, b: v <= b.le),
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Annotations of a class with `Annotated` kept, by field name."""
    return typing.get_type_hints(cls, include_extras=True)


def describe(hint: Any) -> str:
    """An annotation in words, for error messages: `a finite number > 0 or None`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *bounds = typing.get_args(hint)
        signs = [f"{_SIGNS[_BOUNDS[type(b)][0]]} {getattr(b, _BOUNDS[type(b)][0])}" for b in bounds if type(b) in _BOUNDS]
        return " ".join([describe(base), " and ".join(signs)]).strip()
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in typing.get_args(hint))
    if origin is tuple:
        inner = typing.get_args(hint)
        if Ellipsis in inner:
            return f"a tuple, each {describe(inner[0])}"
        return f"a tuple of {len(inner)}, each {describe(inner[0])}"
    if hint in (None, type(None)):
        return "None"
    names = {float: "a finite number", int: "a whole number", bool: "True or False", str: "a text"}
    return names.get(hint) or getattr(hint, "__name__", str(hint))


def accept(value: Any, hint: Any) -> Any:
    """The value as its annotation wants it: whole numbers become floats, lists become tuples.

    Raises:
        ValueError: the value is of another type, not among the choices, out of bounds, or not finite.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        value = accept(value, args[0])
        if not all(_BOUNDS[type(b)][1](value, b) for b in args[1:] if type(b) in _BOUNDS):
            raise ValueError(value)
        return value
    if origin is Literal:
        if any(value == a and type(value) is type(a) for a in args):
            return value
    elif origin in (Union, types.UnionType):
        for arg in args:
            try:
                return accept(value, arg)
            except ValueError:
                continue
    elif origin is tuple and isinstance(value, tuple | list):
        each = [args[0]] * len(value) if Ellipsis in args else list(args)
        if len(each) == len(value):
            return tuple(accept(v, h) for v, h in zip(value, each, strict=True))
    elif hint is float:
        if isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint in (None, type(None)):
        if value is None:
            return None
    elif isinstance(value, origin or hint):
        return value
    raise ValueError(value)


def check(instance: Any, names: Iterable[str] | None = None) -> None:
    """Check the fields of a frozen dataclass instance against its annotations; call it from `__post_init__`.

    Dataclasses check nothing by themselves, so a misspelled choice or a NaN would otherwise travel on.

    Raises:
        InputError: naming the class, the field, the value and what is allowed.
    """
    known = hints(type(instance))
    for name in names or [f.name for f in dataclasses.fields(instance)]:
        value = getattr(instance, name)
        try:
            accepted = accept(value, known[name])
        except ValueError:
            where = f"{type(instance).__name__}.{name}"
            raise InputError(f"{where} is {value!r}; it must be {describe(known[name])}.{hint_for(value, known[name])}") from None
        if accepted is not value:
            object.__setattr__(instance, name, accepted)


def hint_for(value: Any, hint: Any) -> str:
    """` Did you mean 'adam'?` where a choice is close to the value, else nothing."""
    return did_you_mean(value, map(str, typing.get_args(hint))) if typing.get_origin(hint) is Literal else ""


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """` Did you mean 'learning_rate'?` where a known word is close, else nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
