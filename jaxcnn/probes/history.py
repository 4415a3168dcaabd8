"""The readings of a run, and the file probes.npz that holds them."""

import json
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.probes.layer_readings import Readings
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError

# Between the parts of a name in the file; names of layers may contain slashes.
_SEPARATOR = "|"


@dataclass(frozen=True)
class History:
    """Readings at several steps.

    Attributes:
        steps: [n], number of updates before each reading.
        readings: by name of the instrument, its result with a first axis [n] on all arrays: `gradients` as from
            `probe`, the others as from their functions.
        settings: the settings of the instruments, in JSON types.
    """

    steps: np.ndarray
    readings: dict[str, Any]
    settings: dict[str, Any]

    @classmethod
    def of(cls, steps: Sequence[int], readings: Sequence[dict[str, Any]], settings: dict[str, Any]) -> "History":
        """Stack readings of the same instruments and layers, at least one."""
        return cls(np.array(steps), jax.tree.map(lambda *each: np.stack(each), *readings), settings)

    def until(self, step: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the readings before update `step`, counted from 0, each with its step."""
        return [
            (int(at), jax.tree.map(lambda x, i=i: x[i], self.readings)) for i, at in enumerate(self.steps) if at < step
        ]


def write_history(path: Path, history: History) -> None:
    """Write an .npz file atomically.

    Its arrays are `steps` [n], `settings` (JSON), and for each instrument its arrays with a first axis [n], named by
    parts as in `ics|layers|conv1|cosine`. `gradients` has, for all layers at once, `gradients|layers` (names, [k]),
    `gradients|owners` (layer and name of each parameter, [p, 2]), `gradients|distributions|std` and others
    [n, 2 k + p] (of the outputs of the layers, of the gradients with respect to them, of the gradients of the
    parameters), `gradients|sizes|norm` and others [n, p], and `gradients|units|act1|active` and others.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {"steps": history.steps, "settings": np.array(json.dumps(history.settings))}
    for name, value in history.readings.items():
        if isinstance(value, Readings):
            parts = {"layers": np.array(list(value)), "owners": np.array(value.owners, str).reshape(-1, 2)}
            value = parts | {"distributions": value.distributions, "sizes": value.sizes, "units": value.units}
        arrays |= _flat(value, name)
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_history(path: Path) -> History:
    """Read a file of `write_history`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        readings = _nested({name: x for name, x in arrays.items() if _SEPARATOR in name})
        if "gradients" in readings:
            found = readings["gradients"]
            units = found.get("units", {})
            readings["gradients"] = Readings(
                distributions=found["distributions"],
                units=OrderedDict((str(name), units.get(name, {})) for name in found["layers"]),
                sizes=found.get("sizes", {}),
                owners=tuple((str(layer), str(name)) for layer, name in found["owners"]),
            )
        return History(arrays["steps"], readings, json.loads(str(arrays["settings"])))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as readings of probes: {error}") from error


def _flat(value: Any, name: str) -> dict[str, np.ndarray]:
    if not isinstance(value, Mapping):
        return {name: np.asarray(value)}
    found = {}
    for key, part in value.items():
        found |= _flat(part, f"{name}{_SEPARATOR}{key}")
    return found


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Invert `_flat`; the order of layers is that of the arrays."""
    tree: dict[str, Any] = {}
    for name, x in arrays.items():
        *parents, last = name.split(_SEPARATOR)
        place = tree
        for parent in parents:
            place = place.setdefault(parent, OrderedDict() if parent == "layers" else {})
        place[last] = x
    return tree
