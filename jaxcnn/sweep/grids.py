"""Experiments that differ from a base in some of their fields."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.config import Experiment, override, run_id
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.settings import text_of

# Draws per point after which a space counts as too small for the number of points.
_ATTEMPTS = 100


def grid(base: Experiment, axes: Mapping[str, Iterable[Any]]) -> list[Experiment]:
    """Return an experiment for every combination of values; the last axis varies fastest.

    Args:
        base: experiment whose fields are changed.
        axes: values by dotted path, as in `jaxcnn.override`: `{"model.norm": ["none", "batch"], "seed": range(5)}`. An
            axis of one value is allowed.

    Raises:
        InputError: an axis has no values or the same value twice, its values do not change what is computed (as those
            of `data.data_dir`), a field is unknown, or a value does not fit.
    """
    values = {path: _values(path, given) for path, given in _checked(axes).items()}
    combinations = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    experiments = [override(base, changes) for changes in combinations]
    ids = np.array([run_id(experiment) for experiment in experiments]).reshape([*map(len, values.values())])
    for axis, (path, given) in enumerate(values.items()):
        if len(given) > 1 and (ids == ids.take([0], axis)).all():
            raise InputError(
                f"axis {path} changes nothing: its {len(given)} values give the same run. Remove it, or vary a field "
                "that changes the result."
            )
    return experiments


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
    if not isinstance(n, int) or n < 1:
        raise InputError(f"n is {n!r}; it must be an integer > 0, the number of experiments.")
    draws = {path: _draw(path, values) for path, values in _checked(space).items()}
    generator = np.random.default_rng(seed)
    found: dict[str, Experiment] = {}
    for _ in range(_ATTEMPTS * n):
        experiment = override(base, {path: draw(generator) for path, draw in draws.items()})
        found.setdefault(run_id(experiment), experiment)
        if len(found) == n:
            return list(found.values())
    raise InputError(f"{_ATTEMPTS * n} draws gave {len(found)} different experiments, not {n}; enlarge the space.")


def _checked(axes: Any) -> Mapping[str, Any]:
    if not isinstance(axes, Mapping) or not axes:
        raise InputError(f"the axes are {axes!r}; give values by field, as in {{'seed': [0, 1, 2]}}.")
    return axes


def _values(path: str, given: Any) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"axis {path} is {given!r}; it must be a list of values.")
    values = [_plain(value) for value in given]
    if not values:
        raise InputError(f"axis {path} has no values; give at least one, or remove it.")
    for number, value in enumerate(values):
        if any(_same(value, other) for other in values[:number]):
            raise InputError(f"axis {path} has the value {text_of(value)} twice; give each value once.")
    return values


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as the Python number that fields accept."""
    return value.item() if isinstance(value, np.generic) else value


def _draw(path: str, values: Any) -> Any:
    """Return a function that draws a value with a generator."""
    if hasattr(values, "rvs"):
        return lambda generator: _plain(values.rvs(random_state=generator))
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray | range):
        raise InputError(f"{path} is {values!r}; it must be a list of values or a distribution of scipy.stats.")
    choices = _values(path, values)
    return lambda generator: choices[generator.integers(len(choices))]
