"""Scikit-learn's digits, and programs that compute a worked example from them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxcnn.config import Data
from jaxcnn.data import Dataset, load


@functools.cache
def digits() -> Dataset:
    """Return scikit-learn's digits, 32x32 pixels."""
    return load(Data(source="digits"), seed=0)


def run_once(program: Callable[..., Any], *arguments: Any) -> Any:
    """Compile a function of arrays as one program, run it, and return its result as NumPy arrays."""
    # Optimizing would take longer than it saves.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.device_get(jax.jit(program, compiler_options=options)(*arguments))
