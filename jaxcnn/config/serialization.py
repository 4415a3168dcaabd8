"""Conversion of experiments to and from JSON, and the settings that make two of them different runs."""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn

from jaxcnn.config import saved_names
from jaxcnn.config.code import code_of, referred
from jaxcnn.config.importing import find, identity, in_file, locate
from jaxcnn.config.schema import Data, Experiment, Part
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.file_digest import file_digest


def to_json(value: Any, *, folder: Path | None = None) -> Any:
    """Convert an experiment, or a part of one, to a value that `json` can write; `from_json` restores an equal value.

    Args:
        value: the value to convert.
        folder: files that define classes are named by paths relative to it; None: by absolute paths.

    Raises:
        InputError: a part of the value cannot be written, or is a class that could not be found again.
    """
    return _tree(value, lambda thing: locate(thing, folder))


def _tree(value: Any, place: Callable[[Any], str]) -> Any:
    if (name := getattr(value, "shorthand", None)) is not None:
        return name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {} if isinstance(value, Part) else {"class": place(type(value))}
        names = [name for name in settings_of(value) if not _comes_with_class(value, name)]
        return kind | {name: _tree(getattr(value, name), place) for name in names}
    if isinstance(value, tuple | list):
        return [_tree(v, place) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _tree(v, place) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "__qualname__", None) and getattr(value, "__module__", None):
        return {"import": place(value)}
    raise InputError(f"{value!r} cannot be written as JSON; use numbers, strings, tuples, modules or named functions.")


def from_json(value: Any, hint: Any = Experiment, *, folder: Path | None = None) -> Any:
    """Invert `to_json`, for a value annotated with `hint` and the same folder."""
    if isinstance(value, dict) and "import" in value:
        return find(value["import"], folder)
    if isinstance(value, dict) and "class" in value:
        cls = find(value["class"], folder)
    elif isinstance(value, dict) and dataclasses.is_dataclass(hint):
        cls = hint
    elif isinstance(value, dict):
        return {k: from_json(v, Any, folder=folder) for k, v in value.items()}
    elif isinstance(value, list):
        kind = list if hint is list or typing.get_origin(hint) is list else tuple
        return kind(from_json(v, Any, folder=folder) for v in value)
    else:
        return value
    if cls is Experiment:
        value = saved_names.current(value)
    known = fields.hints(cls)
    unknown = [k for k in value if k != "class" and k not in known]
    if unknown:
        raise InputError(f"{cls.__name__} has no field {unknown[0]!r}.{fields.did_you_mean(unknown[0], known)}")
    return cls(**{k: from_json(v, known[k], folder=folder) for k, v in value.items() if k != "class"})


def flatten(experiment: Experiment, *, identity_only: bool = False) -> dict[str, Any]:
    """Return the settings by dotted path, as in `{"model.class": ..., "optimizer.learning_rate": 0.01}`, in JSON types.

    Args:
        experiment: the experiment.
        identity_only: exclude fields that change neither weights nor results (data_dir, cadences), and fields that are
            newer than some saved runs and have their default value, so that the run ids of those runs do not change.
    """
    return dict(_leaves(_identity(experiment) if identity_only else to_json(experiment)))


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that decide the result, in JSON types; the user's files are identified by their content."""
    tree = without({path for path, free in _walk(experiment) if free}, _tree(experiment, identity))
    if (file := data_file(experiment.data)) is not None:
        tree["data"]["name"] = file_digest(file)
    # Code that an import statement finds is identified by its import path.
    files = {thing.__qualname__ for thing in {*referred(experiment)} if in_file(thing)}
    code = {name: digest for name, digest in code_of(experiment).items() if name in files}
    return tree | ({"code": code} if code else {})


def data_file(data: Data) -> Path | None:
    """Return the .npz file that `data.name` names, if it exists; its content is part of a run's identity."""
    path = Path(data.name).expanduser() if data.source == "arrays" and data.name else None
    return path if path is not None and path.is_file() else None


def without(paths: set[str], tree: Any, prefix: str = "") -> Any:
    """Return a tree of settings in JSON types without those at these dotted paths."""
    if not isinstance(tree, dict):
        return tree
    kept = {key: value for key, value in tree.items() if prefix + key not in paths}
    return {key: without(paths, value, f"{prefix}{key}.") for key, value in kept.items()}


def run_id(experiment: Experiment) -> str:
    """Return twelve hexadecimal digits that are the same for equal experiments, wherever their data is stored and
    however they log."""
    text = json.dumps(dict(_leaves(saved_names.original(_identity(experiment)))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(saved: Experiment, now: Experiment) -> list[str]:
    """List the settings that make two experiments different runs: `optimizer.momentum: saved 0.9, now 0.5`."""
    a, b = flatten(saved, identity_only=True), flatten(now, identity_only=True)
    return [
        f"{path}: saved {a.get(path, 'nothing')}, now {b.get(path, 'nothing')}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def settings_of(value: Any) -> list[str]:
    skip = ("parent", "name") if isinstance(value, nn.Module) else ()
    if getattr(value, "name", "") is None:
        # This is a template, which a network names.
        skip = (*skip, "name")
    return [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]


def _comes_with_class(value: Any, name: str) -> bool:
    """Return whether a field is its default and a function without an import path, such as
    `nn.initializers.lecun_normal()`."""
    function = getattr(value, name)
    return "<" in getattr(function, "__qualname__", "") and getattr(type(value), name, None) is function


def _walk(value: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the path of every setting, and whether it is excluded from the experiment's identity."""
    for f in dataclasses.fields(value):
        if f.name in settings_of(value):
            inner, identity = getattr(value, f.name), f.metadata.get("identity", True)
            yield prefix + f.name, identity is False or (identity == "unless default" and inner == f.default)
            if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
                yield from _walk(inner, f"{prefix}{f.name}.")


def excluded_paths(part: type = Experiment, prefix: str = "") -> set[str]:
    """Return the dotted paths of the settings that are not part of an experiment's identity, as `data.data_dir` is."""
    found = set()
    for f in dataclasses.fields(part):
        if f.metadata.get("identity", True) is False:
            found.add(prefix + f.name)
        if isinstance(f.default, Part):
            found |= excluded_paths(type(f.default), f"{prefix}{f.name}.")
    return found


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}{key}.")
    else:
        yield prefix[:-1], tree
