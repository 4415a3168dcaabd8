"""Experiments that differ from a base in some of their fields."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.config import Experiment, override, run_id
from jaxcnn.config.switches import switched_off, switches_of
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.settings import text_of

# Draws per point after which a space counts as too small for the number of points.
_ATTEMPTS = 100


def grid(base: Experiment, axes: Mapping[str, Iterable[Any]]) -> list[Experiment]:
    """Return an experiment for every combination of values; the last axis varies fastest.

    Where another field switches an axis off (`config.switches`: Adam has no momentum), the field keeps the value of the
    base, and combinations that differ only in it are one experiment.

    Args:
        base: experiment whose fields are changed.
        axes: values by dotted path, as in `jaxcnn.override`: `{"model.norm": ["none", "batch"], "seed": range(5)}`. An
            axis of one value is allowed.

    Raises:
        InputError: an axis has no values or the same value twice, its values do not change what is computed (as those
            of `data.data_dir`, or of `optimizer.momentum` with Adam), a field is unknown, or a value does not fit.
    """
    return grids([(base, axes)])


def grids(pairs: Sequence[tuple[Experiment, Mapping[str, Iterable[Any]]]]) -> list[Experiment]:
    """Return the grids of several bases, one after another; an axis must change something in one of them.

    Args:
        pairs: bases and their axes, which have the same paths.

    Raises:
        InputError: as for `grid`.
    """
    found, changes, why = [], set(), {}
    for base, axes in pairs:
        made = _Made(_experiment(base), {path: _values(path, given) for path, given in _checked(axes).items()})
        found += made.experiments()
        changes |= {path for path in made.values if made.changes(path)}
        why |= {path: made.why_not(path) for path in made.values if path not in why}
    for path in [path for path in why if path not in changes]:
        raise InputError(
            f"axis {path} changes nothing: {why[path]}. Remove it, or vary a field that changes the result."
        )
    return found


class _Made:
    """The grid of one base."""

    def __init__(self, base: Experiment, values: Mapping[str, Sequence[Any]]) -> None:
        self.values = values
        self._shape = tuple(map(len, values.values()))
        # The place of each combination along the axes, where None is the value of the base.
        self._places: list[tuple[int | None, ...]] = []
        self._made: dict[tuple[int | None, ...], Experiment] = {}
        self._ids: dict[tuple[int | None, ...], str] = {}
        self._off: dict[str, str] = {}
        for place in itertools.product(*map(range, self._shape)):
            given = {path: each[i] for (path, each), i in zip(values.items(), place, strict=True)}
            experiment = override(base, given)
            off = {path: why for path in given if (why := switched_off(experiment, path))}
            self._off |= off
            key = tuple(None if path in off else i for path, i in zip(given, place, strict=True))
            self._places.append(key)
            if key not in self._made:
                acting = {path: value for path, value in given.items() if path not in off}
                self._made[key] = override(base, acting) if off else experiment

    def experiments(self) -> list[Experiment]:
        return [*self._made.values()]

    def changes(self, path: str) -> bool:
        """Return whether some values of an axis give different runs; it is true of an axis of one value."""
        axis = [*self.values].index(path)
        lines = np.moveaxis(np.arange(len(self._places)).reshape(self._shape), axis, -1).reshape(-1, self._shape[axis])
        # The first two values usually differ, so few ids are computed.
        return self._shape[axis] == 1 or any(self._id(i) != self._id(line[0]) for line in lines for i in line[1:])

    def _id(self, number: int) -> str:
        key = self._places[number]
        if key not in self._ids:
            self._ids[key] = run_id(self._made[key])
        return self._ids[key]

    def why_not(self, path: str) -> str:
        return self._off.get(path, f"its {len(self.values[path])} values give the same run")


def random(base: Experiment, space: Mapping[str, Any], n: int, seed: int) -> list[Experiment]:
    """Return `n` different experiments with values drawn independently from a space.

    Args:
        base: experiment whose fields are changed.
        space: for every dotted path a list of values, each equally likely, or a distribution of `scipy.stats`, such as
            `{"optimizer.learning_rate": scipy.stats.loguniform(1e-4, 1), "model.norm": ["none", "batch"]}`.
        n: number of experiments.
        seed: seed of the draws. The same seed and space give the same experiments, and the first of a larger `n`.

    Raises:
        InputError: as for `grid`; a value is neither a list nor a distribution; or the space has fewer than `n` points.
    """
    _experiment(base)
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"n is {n!r}; it must be an integer > 0, the number of experiments.")
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed is {seed!r}; it must be an integer >= 0, the seed of the draws.")
    draws = {path: _draw(path, values) for path, values in _checked(space).items()}
    generator = np.random.default_rng(seed)
    found: dict[str, Experiment] = {}
    for _ in range(_ATTEMPTS * n):
        given = {path: draw(generator) for path, draw in draws.items()}
        experiment = override(base, given)
        off = {path: why for path in given if (why := switched_off(experiment, path))}
        for path, why in off.items():
            if not any(field in given for switch in switches_of(path) for field in switch.fields):
                raise InputError(f"{path} changes nothing: {why}. Remove it, or vary a field that changes the result.")
        experiment = override(base, {path: value for path, value in given.items() if path not in off})
        found.setdefault(run_id(experiment), experiment)
        if len(found) == n:
            return list(found.values())
    raise InputError(f"{_ATTEMPTS * n} draws gave {len(found)} different experiments, not {n}; enlarge the space.")


def _checked(axes: Any) -> Mapping[str, Any]:
    if not isinstance(axes, Mapping) or not axes:
        raise InputError(f"the axes are {axes!r}; give values by field, as in {{'seed': [0, 1, 2]}}.")
    for path in axes:
        if not isinstance(path, str):
            raise InputError(f"an axis is named {path!r}; it must be the dotted path of a field, such as 'seed'.")
    return axes


def _experiment(base: Any) -> Experiment:
    if not isinstance(base, Experiment):
        raise InputError(f"base is {type(base).__name__}; it must be Experiment, for example load_config(FILE).")
    return base


def _values(path: str, given: Any) -> list[Any]:
    if isinstance(given, str | bytes | Mapping) or not _is_iterable(given):
        raise InputError(f"axis {path} is {given!r}; it must be a list of values.")
    values = [_plain(value) for value in given]
    if not values:
        raise InputError(f"axis {path} has no values; give at least one, or remove it.")
    for number, value in enumerate(values):
        if any(_same(value, other) for other in values[:number]):
            raise InputError(f"axis {path} has the value {text_of(value)} twice; give each value once.")
    return values


def _is_iterable(value: Any) -> bool:
    # An array without axes has the method, but raises in it.
    return isinstance(value, Iterable) and not (isinstance(value, np.ndarray) and value.ndim == 0)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as the Python number that fields accept, and an array as a tuple."""
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _draw(path: str, values: Any) -> Any:
    """Return a function that draws a value with a generator."""
    if hasattr(values, "rvs"):
        return lambda generator: _plain(values.rvs(random_state=generator))
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray | range):
        raise InputError(f"{path} is {values!r}; it must be a list of values or a distribution of scipy.stats.")
    choices = _values(path, values)
    return lambda generator: choices[generator.integers(len(choices))]
