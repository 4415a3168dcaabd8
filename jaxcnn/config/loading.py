"""Experiments from config files, and changes to their fields."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn

from jaxcnn.config.importing import call, import_file
from jaxcnn.config.paths import nearest, paths
from jaxcnn.config.schema import Experiment
from jaxcnn.config.serialization import settings_of
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError


def load_config(path: str | Path) -> Experiment:
    """Load the experiment that a config file's `get_config()` returns.

    Raises:
        InputError: there is no such file, a syntax error (the message names the line), no `get_config`, or an invalid
            value of a field.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"config file {path} is a folder; name a Python file.")
    if not path.is_file():
        there = {file.stem: file for file in path.parent.glob("*.py")} if path.parent.is_dir() else {}
        close = next(iter(difflib.get_close_matches(path.stem, sorted(there), n=1)), None)
        hint = f" Did you mean {str(there[close])!r}?" if close else ""
        raise InputError(f"config file {path} does not exist.{hint}")
    module = import_file(path, again=True)
    if not callable(getattr(module, "get_config", None)):
        raise InputError(f"config file {path} has no function get_config() that returns an Experiment.")
    experiment = call(path, module.get_config)
    if not isinstance(experiment, Experiment):
        raise InputError(f"{path}: get_config() returned {type(experiment).__name__}, not an Experiment.")
    return experiment


def load_sweep(path: str | Path, name: str) -> list[dict[str, Any]]:
    """Return the changes that a config file's function `sweep_NAME()` yields, one dict of dotted paths for each point.

    Raises:
        InputError: there is no such function (the message names the nearest one), or it yields something else.
    """
    module = import_file(Path(path))
    functions = {key.removeprefix("sweep_"): value for key, value in vars(module).items() if key.startswith("sweep_")}
    if not callable(functions.get(name)):
        known = f" It has {', '.join(functions)}." if functions else f" Define sweep_{name}(), which yields dicts."
        raise InputError(f"config file {path} has no sweep {name!r}.{fields.did_you_mean(name, functions)}{known}")
    points = call(Path(path), lambda: list(functions[name]()))
    for number, point in enumerate(points):
        if not isinstance(point, Mapping) or not all(isinstance(key, str) for key in point):
            raise InputError(
                f"{path}: point {number} of sweep_{name}() is {point!r}; it must be a dict such as "
                "{'model.norm': 'batch'}."
            )
    return points


def override(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Return the experiment with fields changed by dotted path: `override(e, {"model.norm": "batch", "seed": 1})`.

    Raises:
        InputError: a path is unknown (the message suggests the closest one), or values do not fit their fields or each
            other.
    """
    return _replace(experiment, changes, "", dict(paths(experiment)))


def _replace(part: Any, changes: Mapping[str, Any], prefix: str, paths: Iterable[str]) -> Any:
    """Replace all fields of a part at once, because their values may fit each other only in combination."""
    known = settings_of(part) if dataclasses.is_dataclass(part) else []
    new: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        key, _, rest = path.partition(".")
        if key not in known:
            near = nearest(prefix + path, paths)
            raise InputError(f"unknown field {prefix + path!r}.{f' Did you mean {near!r}?' if near else ''}")
        if rest:
            inner.setdefault(key, {})[rest] = value
        else:
            new[key] = value
    for key, deeper in inner.items():
        # A name may be shorthand for a part, which the field contains once it is set.
        whole = getattr(_with(part, {key: new[key]}) if key in new else part, key)
        new[key] = _replace(whole, deeper, f"{prefix}{key}.", paths)
    return _with(part, new)


def _with(part: Any, new: Mapping[str, Any]) -> Any:
    return part.clone(**new) if isinstance(part, nn.Module) else dataclasses.replace(part, **new)
