"""Fields that take a name or a record, such as a network's `norm`, as options of a command line.

`--config.model.norm=batch` names a record, whose fields are then options, too: `--config.model.norm.momentum=0.9`.
"""

import dataclasses
import operator
import typing
from collections import deque
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxcnn.cli.arguments import field_path, is_none, is_option, kinds_of
from jaxcnn.config import Experiment, override
from jaxcnn.config.paths import paths
from jaxcnn.config.serialization import settings_of
from jaxcnn.runtime.errors import InputError

REGISTRY = ConstructorRegistry()
"""For `tyro.cli`: such a field is one option, which takes the names."""


def _names(hint: Any) -> tuple[str, ...]:
    """The names that a field takes besides records; none where it takes no names or no records."""
    kinds = kinds_of(hint)
    records = any(isinstance(kind, type) and dataclasses.is_dataclass(kind) for kind in kinds)
    return typing.get_args(kinds[Literal]) if records and Literal in kinds else ()


@REGISTRY.primitive_rule
def _one_option(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    names = _names(info.type)
    if not names:
        return None
    choices = ("None", *names) if type(None) in kinds_of(info.type) else names

    def shown(value: Any) -> list[str]:
        name = getattr(value, "shorthand", value)
        return [f"{type(value).__name__} with the options below" if name is None is not value else str(name)]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=lambda words: None if words == ["None"] else words[0],
        is_instance=lambda value: True,
        str_from_instance=shown,
        choices=choices,
    )


def chosen(arguments: list[str], experiment: Experiment) -> tuple[Experiment, list[str]]:
    """The experiment with the records that arguments name, and the other arguments.

    Both stay as they are where a name is wrong, or does not fit the experiment without the other arguments.
    """
    hints = {path: hint for path, hint in paths(experiment) if _names(hint)}
    changes, others, rest = {}, [], deque(arguments)
    while rest:
        word = rest.popleft()
        option, equals, value = word.partition("=")
        path = field_path(option)
        if path in hints and (equals or (rest and not is_option(rest[0]))):
            value = value if equals else rest.popleft()
            changes[path] = None if is_none(value, kinds_of(hints[path])) else value
        else:
            others.append(word)
    try:
        return override(experiment, changes), others
    except InputError:
        return experiment, arguments


def with_records(launch: Any, experiment: Experiment) -> Any:
    """A dataclass instance with more fields, the records in such fields of the experiment, for `tyro.cli`."""
    new = []
    for path, record in _records(experiment).items():
        record = _settable(record)
        kind = Annotated[type(record), tyro.conf.FlagConversionOff, tyro.conf.arg(name=f"config.{path}")]
        new.append((_field(path), kind, dataclasses.field(default=record)))
    kind = dataclasses.make_dataclass(type(launch).__name__, new, bases=(type(launch),), frozen=True)
    return kind(**{f.name: getattr(launch, f.name) for f in dataclasses.fields(launch)})


def without_records(launch: Any, kind: type, experiment: Experiment) -> Any:
    """The inverse of `with_records`, an instance of `kind`, whose `config` has the records' options as parsed.

    Raises:
        InputError: they do not fit the rest.
    """
    changes = {
        f"{path}.{name}": getattr(getattr(launch, _field(path)), name)
        for path, record in _records(experiment).items()
        for name in settings_of(record)
    }
    values = {f.name: getattr(launch, f.name) for f in dataclasses.fields(kind)}
    return kind(**values | {"config": override(launch.config, changes)})


def _records(experiment: Experiment) -> dict[str, Any]:
    """The records in such fields, by path."""
    found = {path: operator.attrgetter(path)(experiment) for path, hint in paths(experiment) if _names(hint)}
    return {path: value for path, value in found.items() if dataclasses.is_dataclass(value)}


def _settable(record: Any) -> Any:
    """The record as one of a subclass that hides what is not set in it, such as the name of a layer."""
    names = settings_of(record)
    rest = [f.name for f in dataclasses.fields(record) if f.name not in names]
    hidden = [(name, tyro.conf.Suppress[Any], dataclasses.field(default=getattr(record, name))) for name in rest]
    kind = dataclasses.make_dataclass(type(record).__name__, hidden, bases=(type(record),), frozen=True)
    return kind(**{name: getattr(record, name) for name in names})


def _field(path: str) -> str:
    return path.replace(".", "_")
