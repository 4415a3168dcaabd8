"""The settings of experiments as JSON trees, and those that vary among several."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxcnn.config import to_json
from jaxcnn.config.importing import find, locate
from jaxcnn.config.serialization import excluded_paths
from jaxcnn.layers.normalization import NORMS
from jaxcnn.runtime.errors import InputError

Tree = Mapping[str, Any]
"""An experiment in JSON types, as in the file config.json of a run."""


def varying(trees: Sequence[Tree]) -> list[str]:
    """Return the dotted paths of the settings that differ among experiments, in the order of the fields.

    A part of different kinds, such as `model.norm` with batch and layer normalization, is one setting. Settings that
    change no result (`data.data_dir`, cadences) are ignored, and so are those that some experiments lack, because
    configurations that were saved earlier lack newer fields.
    """
    free = excluded_paths()
    return [path for path in _differing(trees, "") if path not in free]


def _differing(values: Sequence[Any], path: str) -> list[str]:
    if all(isinstance(value, Mapping) for value in values) and len({value.get("class") for value in values}) == 1:
        prefix = f"{path}." if path else ""
        names = [name for name in values[0] if all(name in value for value in values)]
        return [each for name in names for each in _differing([value[name] for value in values], prefix + name)]
    return [path] if any(value != values[0] for value in values) else []


def setting(tree: Tree, path: str) -> Any:
    """Return the value at a dotted path, in JSON types; a norm that is given by its name has its options.

    Raises:
        KeyError: there is no such setting.
    """
    value: Any = tree
    for name in path.split("."):
        value = _written_out(value)
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[name]
    return value


def without(tree: Any, path: str) -> Any:
    """Return the settings without the one at a dotted path, which need not exist."""
    whole, (name, _, rest) = _written_out(tree), path.partition(".")
    if not isinstance(whole, Mapping) or name not in whole:
        return tree
    others = {key: value for key, value in whole.items() if key != name}
    return others | {name: without(whole[name], rest)} if rest else others


def paths_of(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every setting, and of every part that has settings."""
    whole = _written_out(tree)
    for name, value in whole.items() if isinstance(whole, Mapping) else ():
        if name != "class":
            yield prefix + name
            yield from paths_of(value, f"{prefix}{name}.")


def _written_out(value: Any) -> Any:
    """Return the record of a norm that is given by its name, in JSON types; any other value unchanged."""
    norm = NORMS.get(value) if isinstance(value, str) else None
    if norm is None:
        return value
    options = {f.name: getattr(norm, f.name) for f in dataclasses.fields(norm) if f.name != "name"}
    return {"class": locate(type(norm)), **options}


def text_of(value: Any) -> str:
    """Return a value in JSON types as short text: `batch`, `0.001`, `BatchNorm(momentum=0.99)`, `(0.1,0.2)`."""
    if isinstance(value, Mapping):
        place = str(value.get("class", value.get("import", "")))
        default = _defaults(place) if "class" in value else {}
        changed = [key for key in value if key not in ("class", "import") and (key, value[key]) not in default.items()]
        options = ",".join(f"{key}={text_of(value[key])}" for key in changed)
        name = place.replace(":", ".").rpartition(".")[2]
        return f"{name}({options})" if options else name
    if isinstance(value, list | tuple):
        return f"({','.join(map(text_of, value))})"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def texts_of(values: Sequence[Any]) -> list[str]:
    """Return values as texts that are short but differ where the values do: numbers have four significant digits if
    possible, and lists of layers only the layers that not all lists have."""
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) == len(values) and any(isinstance(each, Mapping) for value in lists for each in value):
        own = [text_of([each for each in value if not all(each in other for other in lists)]) for value in lists]
        whole = [text_of(value) for value in values]
        return own if len({*own}) == len({*whole}) else whole
    exact = [text_of(value) for value in values]
    short = [f"{value:.4g}" if isinstance(value, float) else text for value, text in zip(values, exact, strict=True)]
    return short if len({*short}) == len({*exact}) else exact


@functools.cache
def _defaults(place: str) -> dict[str, Any]:
    """Return the default options of an installed class in JSON types; none of a class of the user's files."""
    found = {}
    with contextlib.suppress(Exception):
        for f in dataclasses.fields(find(place)) if ":" not in place else ():
            # Not every default can be written, such as the parent of a linen module.
            with contextlib.suppress(InputError):
                found |= {} if f.default is dataclasses.MISSING else {f.name: to_json(f.default)}
    return found


def labels(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest ending of each dotted path that no other path has: `optimizer.momentum` is `momentum`."""
    found = {}
    for path in paths:
        parts = path.split(".")
        endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        found[path] = next(
            ending
            for ending in endings
            if ending == path or not any(f".{other}".endswith(f".{ending}") for other in paths if other != path)
        )
    return found
