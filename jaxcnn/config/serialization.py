"""Experiments to and from JSON, and what makes two of them different runs."""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from flax import linen as nn

from jaxcnn.config import saved_names
from jaxcnn.config.importing import find, locate
from jaxcnn.config.schema import Experiment, Part
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError


def to_json(value: Any) -> Any:
    """An experiment, or a part of one, as what `json` writes; `from_json` gives back an equal value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {} if isinstance(value, Part) else {"class": locate(type(value))}
        return kind | {k: to_json(getattr(value, k)) for k in settings_of(value) if not _comes_with_class(value, k)}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "__qualname__", None) and getattr(value, "__module__", None):
        return {"import": locate(value)}
    raise InputError(f"{value!r} cannot be written as JSON; use numbers, texts, tuples, modules, named functions.")


def from_json(value: Any, hint: Any = Experiment) -> Any:
    """Inverse of `to_json` for a value annotated with `hint`."""
    if isinstance(value, dict) and "import" in value:
        return find(value["import"])
    if isinstance(value, dict) and "class" in value:
        cls = find(value["class"])
    elif isinstance(value, dict) and dataclasses.is_dataclass(hint):
        cls = hint
    elif isinstance(value, dict):
        return {k: from_json(v, Any) for k, v in value.items()}
    elif isinstance(value, list):
        return (list if hint is list or typing.get_origin(hint) is list else tuple)(from_json(v, Any) for v in value)
    else:
        return value
    if cls is Experiment:
        value = saved_names.current(value)
    known = fields.hints(cls)
    unknown = [k for k in value if k != "class" and k not in known]
    if unknown:
        raise InputError(f"{cls.__name__} has no field {unknown[0]!r}.{fields.did_you_mean(unknown[0], known)}")
    return cls(**{k: from_json(v, known[k]) for k, v in value.items() if k != "class"})


def flatten(experiment: Experiment, *, identity_only: bool = False) -> dict[str, Any]:
    """Settings by dotted path, as in `{"model.class": ..., "optimizer.learning_rate": 0.01}`, in JSON's types.

    Args:
        experiment: what to list.
        identity_only: leave out fields that change neither weights nor results (data_dir, cadences), and those that are
            younger than some saved runs and have their default, so that the run ids of those runs stay.
    """
    return dict(_leaves(_identity(experiment) if identity_only else to_json(experiment)))


def _identity(experiment: Experiment) -> dict[str, Any]:
    """What decides the result, in JSON's types."""
    return _without({path for path, free in _walk(experiment) if free}, to_json(experiment))


def _without(paths: set[str], tree: Any, prefix: str = "") -> Any:
    if not isinstance(tree, dict):
        return tree
    kept = {key: value for key, value in tree.items() if prefix + key not in paths}
    return {key: _without(paths, value, f"{prefix}{key}.") for key, value in kept.items()}


def run_id(experiment: Experiment) -> str:
    """Twelve hexadecimal digits that equal experiments share, wherever their data lies and however they log."""
    text = json.dumps(dict(_leaves(saved_names.original(_identity(experiment)))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(saved: Experiment, now: Experiment) -> list[str]:
    """Settings that make two experiments different runs, as lines `optimizer.momentum: saved 0.9, now 0.5`."""
    a, b = flatten(saved, identity_only=True), flatten(now, identity_only=True)
    return [
        f"{path}: saved {a.get(path, 'nothing')}, now {b.get(path, 'nothing')}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def settings_of(value: Any) -> list[str]:
    skip = ("parent", "name") if isinstance(value, nn.Module) else ()
    return [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]


def _comes_with_class(value: Any, name: str) -> bool:
    """A function without an address that is the field's default, such as `nn.initializers.lecun_normal()`."""
    function = getattr(value, name)
    return "<" in getattr(function, "__qualname__", "") and getattr(type(value), name, None) is function


def _walk(value: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every setting by its path, and whether it is no part of the experiment's identity."""
    for f in dataclasses.fields(value):
        if f.name in settings_of(value):
            inner, identity = getattr(value, f.name), f.metadata.get("identity", True)
            yield prefix + f.name, identity is False or (identity == "unless default" and inner == f.default)
            if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
                yield from _walk(inner, f"{prefix}{f.name}.")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}{key}.")
    else:
        yield prefix[:-1], tree
