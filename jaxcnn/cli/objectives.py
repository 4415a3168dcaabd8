"""Objectives as words of a command line: `DANN`, `DeepCoral(weight=100)`."""

import ast
import dataclasses
from typing import Any

from jaxcnn import objectives
from jaxcnn.objectives import Objective
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean


def is_objective(hint: Any) -> bool:
    """Return whether a field with this annotation holds an objective."""
    return isinstance(hint, type) and issubclass(hint, Objective)


def read_objective(text: str) -> Objective:
    """Return the objective that a word names, with options by name in parentheses if there are any.

    Objectives are those of `jaxcnn.objectives` and `jaxcnn.shift`; others belong in a config file.

    Raises:
        InputError: there is no such objective or option, or a value does not fit.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, text)
    except InputError:
        raise
    except (SyntaxError, ValueError):
        raise InputError(
            f"objective is {text!r}; it must be a name such as CrossEntropy, with options in parentheses if needed, as "
            "in DeepCoral(weight=100)."
        ) from None


def split_objectives(text: str) -> list[str]:
    """Split a list of objectives at the commas that are in no parentheses."""
    words, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            words.append("")
        else:
            words[-1] += letter
    return words


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name):
        return _named(node.id, {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        return _named(node.func.id, {each.arg: _option(each.value, text) for each in node.keywords if each.arg})
    raise ValueError(text)


def _option(node: ast.expr, text: str) -> Any:
    return _value(node, text) if isinstance(node, ast.Name | ast.Call) else ast.literal_eval(node)


def _named(name: str, options: dict[str, Any]) -> Objective:
    known = _known()
    if name not in known:
        raise InputError(f"objective {name!r} is unknown; there are {', '.join(known)}.{did_you_mean(name, known)}")
    fields = [field.name for field in dataclasses.fields(known[name])]
    required = [field.name for field in dataclasses.fields(known[name]) if field.default is dataclasses.MISSING]
    for option in options:
        if option not in fields:
            has = f"its options are {', '.join(fields)}" if fields else "it has none"
            raise InputError(f"{name} has no option {option!r}; {has}.{did_you_mean(option, fields)}")
    if absent := [field for field in required if field not in options]:
        raise InputError(f"{name} lacks {', '.join(absent)}; write {name}({absent[0]}=...).")
    return known[name](**options)


def _known() -> dict[str, type[Objective]]:
    """Return the objectives by name; base classes, which lack a method, are left out."""
    from jaxcnn import shift

    found = {name: getattr(module, name) for module in (objectives, shift) for name in module.__all__}
    bases = ("Objective", "Classification")
    return {name: each for name, each in found.items() if is_objective(each) and name not in bases}
