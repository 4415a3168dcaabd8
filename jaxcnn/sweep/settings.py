"""The settings of saved experiments: which differ, and how their values read."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from jaxcnn.config import Experiment, saved_names, to_json
from jaxcnn.config.importing import find, locate
from jaxcnn.config.schema import Part
from jaxcnn.layers.normalization import NORMS
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

Tree = dict[str, Any]
"""An experiment in JSON types, as in config.json."""


def settings_of(saved: Tree) -> Tree:
    """Return the settings of a saved experiment that decide its result, except the seed."""
    tree = saved_names.current(saved)
    for path in ("seed", *_free(Experiment)):
        tree = without(tree, path)
    return tree


def _free(part: type, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the fields that change no result, such as cadences and folders."""
    for field in dataclasses.fields(part):
        hint = fields.hints(part)[field.name]
        if field.metadata.get("identity", True) is False:
            yield prefix + field.name
        elif isinstance(hint, type) and issubclass(hint, Part):
            yield from _free(hint, f"{prefix}{field.name}.")


def without(tree: Any, path: str) -> Any:
    """Return the settings without the one at a dotted path."""
    tree, (key, _, rest) = _record(tree), path.partition(".")
    if not isinstance(tree, dict) or key not in tree:
        return tree
    kept = {name: value for name, value in tree.items() if name != key}
    return kept | {key: without(tree[key], rest)} if rest else kept


def value_at(tree: Any, path: str) -> Any:
    """Return the setting at a dotted path, in JSON types; None if there is none."""
    for key in path.split("."):
        tree = _record(tree)
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def paths(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every setting, and of every part that has settings."""
    tree = _record(tree)
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key != "class":
            yield prefix + key
            yield from paths(value, f"{prefix}{key}.")


def varying(trees: Sequence[Any], prefix: str = "") -> list[str]:
    """Return the paths of the settings in which experiments differ.

    Parts of the same class are compared by their options, as in `model.norm.momentum`; parts of several classes are one
    setting, as in `model.norm`.
    """
    if all(tree == trees[0] for tree in trees):
        return []
    records = [_record(tree) for tree in trees] if any(isinstance(tree, dict) for tree in trees) else trees
    if not all(isinstance(record, dict) for record in records) or len({r.get("class") for r in records}) > 1:
        return [prefix]
    keys = dict.fromkeys(key for record in records for key in record)
    start = f"{prefix}." if prefix else ""
    return [path for key in keys for path in varying([r.get(key) for r in records], start + key)]


def texts(values: Sequence[Any]) -> list[str]:
    """Return how each of several different values of a setting reads, as short as they can be told apart.

    A part that is given by its class reads as its name and the options that are not default or that differ:
    `BatchNorm(momentum=0.99)`. Of a list of layers only those are named that not all lists have.
    """
    found = [_text(value, values) for value in values]
    return found if len(set(found)) == len(found) else [json.dumps(value) for value in values]


def _text(value: Any, others: Sequence[Any]) -> str:
    if isinstance(value, float):
        return _number(value, [other for other in others if isinstance(other, float)])
    if isinstance(value, dict) and "import" in value:
        return _name(value["import"])
    if isinstance(value, dict):
        same = [r for r in map(_record, others) if isinstance(r, dict) and r.get("class") == value.get("class")]
        usual = _defaults(value.get("class", ""))
        options = {
            key: [record.get(key) for record in same]
            for key, option in value.items()
            if key != "class"
            and (option != usual.get(key, option) or any(record.get(key) != option for record in same))
        }
        inside = ", ".join(f"{key}={_text(value[key], among)}" for key, among in options.items())
        return f"{_name(value.get('class', ''))}({inside})" if inside else _name(value.get("class", ""))
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        lists = [other for other in others if isinstance(other, list)]
        own = [each for each in value if not all(each in other for other in lists)]
        return " ".join(_text(each, [each]) for each in own) or "none of these"
    if isinstance(value, list):
        inner = [_text(each, [each]) for each in value]
        return f"({', '.join(inner)}{',' * (len(inner) == 1)})"
    return str(value)


def _number(value: float, others: Sequence[float]) -> str:
    """Return a number with four digits, or with as many more as make all the numbers exact or at least distinct."""

    def written(digits: int) -> list[str]:
        return [f"{number:.{digits}g}" for number in others]

    exact = [digits for digits in (4, 5, 6) if list(map(float, written(digits))) == list(others)]
    distinct = [digits for digits in (4, 6, 9, 17) if len({*written(digits)}) == len({*others})]
    return f"{value:.{[*exact, *distinct][0]}g}"


def _name(place: str) -> str:
    """Return the name of a class or function: `BatchNorm` for `jaxcnn.layers.BatchNorm` or `mine.py:BatchNorm`."""
    return place.rpartition(":")[2].rpartition(".")[2]


def _record(value: Any) -> Any:
    """Return the record for which a string is shorthand, in JSON types; any other value unchanged."""
    norm = NORMS.get(value) if isinstance(value, str) else None
    if norm is None:
        return value
    options = {f.name: getattr(norm, f.name) for f in dataclasses.fields(norm) if f.name != "name"}
    return {"class": locate(type(norm)), **options}


def _defaults(place: str) -> dict[str, Any]:
    """Return the default options of a class of this package, in JSON types; a user's class is not imported."""
    if not place.startswith("jaxcnn.") or ":" in place:
        return {}
    with contextlib.suppress(InputError):
        defaults = {f.name: f.default for f in dataclasses.fields(find(place))}
        return {name: to_json(value) for name, value in defaults.items() if _is_json(value)}
    return {}


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | tuple)
