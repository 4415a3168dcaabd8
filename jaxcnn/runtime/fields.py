"""Validation of configuration fields against their annotations: type, choices, bounds."""

import dataclasses
import difflib
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from jaxcnn.runtime.errors import InputError

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
"""JAX takes a larger seed modulo 2**32, so two different seeds would give the same random numbers."""


@dataclasses.dataclass(frozen=True)
class Synonyms:
    """Metadata of a choice for `Annotated`: pairs of another library's name and ours, which messages translate."""

    pairs: tuple[tuple[str, str], ...]


_BOUNDS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Gt: ("gt", ">", operator.gt),
    Ge: ("ge", ">=", operator.ge),
    Lt: ("lt", "<", operator.lt),
    Le: ("le", "<=", operator.le),
}


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a class by field name, including `Annotated`."""
    return typing.get_type_hints(cls, include_extras=True)


def describe(hint: Any) -> str:
    """Describe an annotation in words, for error messages: `a finite number > 0 or None`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return " ".join([describe(hint.__origin__), " and ".join(f"{s} {b}" for s, b, _ in _bounds(hint))]).strip()
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in typing.get_args(hint))
    if origin is tuple:
        inner = typing.get_args(hint)
        if Ellipsis in inner:
            return f"a tuple, each element {describe(inner[0])}"
        return f"a tuple of {len(inner)} elements, each {describe(inner[0])}"
    if hint in (None, type(None)):
        return "None"
    names = {float: "a finite number", int: "an integer", bool: "True or False", str: "a string"}
    return names.get(hint) or getattr(hint, "__name__", str(hint))


def accept(value: Any, hint: Any) -> Any:
    """Convert a value to the type of its annotation: NumPy numbers to Python numbers, integers to floats, lists to
    tuples, and a dtype to its name if that is one of the choices.

    Raises:
        ValueError: the value has another type, is not among the choices, is out of bounds, or is not finite.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        value = accept(value, args[0])
        if not all(holds(value, bound) for _, bound, holds in _bounds(hint)):
            raise ValueError(value)
        return value
    if origin is Literal:
        for each in (value, _dtype_name(value)):
            if any(each == a and type(each) is type(a) for a in args):
                return each
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
        if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is int:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
    elif hint in (None, type(None)):
        if value is None:
            return None
    elif isinstance(value, origin or hint):
        return value
    raise ValueError(value)


def _dtype_name(value: Any) -> str | None:
    """Return the name of a dtype, `bfloat16` for `jnp.bfloat16` or its `np.dtype`; None for any other value."""
    if not isinstance(value, type | np.dtype):
        return None
    try:
        return np.dtype(value).name
    except TypeError:
        return None


def _bounds(hint: Any) -> list[tuple[str, Any, Callable[[Any, Any], bool]]]:
    """Return the sign, value and test of each bound in an `Annotated`."""
    known = [(b, *_BOUNDS[type(b)]) for b in hint.__metadata__ if type(b) in _BOUNDS]
    return [(sign, getattr(b, name), holds) for b, name, sign, holds in known]


def check(instance: Any, names: Iterable[str] | None = None) -> None:
    """Check the fields of a frozen dataclass instance against its annotations; call it from `__post_init__`.

    Dataclasses do not validate their fields, so a misspelled choice or a NaN would otherwise go unnoticed.

    Raises:
        InputError: a field is invalid; the message names the class, the field, the value and what is allowed.
    """
    known = hints(type(instance))
    for name in names or [f.name for f in dataclasses.fields(instance)]:
        value = getattr(instance, name)
        try:
            accepted = accept(value, known[name])
        except ValueError:
            allowed = f"{describe(known[name])}.{hint_for(value, known[name])}"
            raise InputError(f"{type(instance).__name__}.{name} is {value!r}; it must be {allowed}") from None
        if accepted is not value:
            object.__setattr__(instance, name, accepted)


def hint_for(value: Any, hint: Any) -> str:
    """Return ` Did you mean 'adam'?` if a choice is close to the value or means the same, otherwise an empty string."""
    parts = _parts(hint)
    translated = {a: b for part in parts if isinstance(part, Synonyms) for a, b in part.pairs}
    if isinstance(value, str) and value.lower() in translated:
        return f" Did you mean {translated[value.lower()]!r}?"
    choices = [part for part in parts if typing.get_origin(part) is Literal]
    return did_you_mean(value, (str(word) for choice in choices for word in typing.get_args(choice)))


def _parts(hint: Any) -> list[Any]:
    """Return an annotation with everything inside it, such as alternatives and metadata."""
    inner = () if typing.get_origin(hint) is Literal else typing.get_args(hint)
    return [hint, *(part for each in inner for part in _parts(each))]


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """Return ` Did you mean 'learning_rate'?` if a known word has these initials or a similar spelling, otherwise an
    empty string."""
    names = {name.lower(): name for name in sorted(known)}
    initials = [name for name in names if "_" in name and "".join(part[:1] for part in name.split("_")) == word]
    # A wrong hint is worse than none, so three letters in four must agree.
    close = initials or difflib.get_close_matches(str(word).lower(), names, n=1, cutoff=0.75)
    return f" Did you mean {names[close[0]]!r}?" if close else ""
