"""Which formulation of an operation is traced: XLA's own, or the one that is fastest on a CPU.

The choice and the target platform are part of the key of `jax.jit`'s caches: a jitted function is traced again where
either has changed.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import jax
from jax.sharding import AbstractMesh, AxisType

from jaxcnn.runtime.errors import InputError

Choice = Literal["auto", "lax"]
Platform = Literal["cpu", "gpu", "cuda", "rocm", "tpu"]

_choice = jax.make_user_context("auto")
_target = jax.make_user_context(None)  # None: the default backend.


def use_lax(*arrays: Any) -> bool:
    """Whether an operation on these arrays is traced as `lax`.

    It is within `choose("lax")`, where the target platform is not a CPU, and where the arrays are `distributed`.
    """
    if _choice.value == "lax" or (_target.value or jax.default_backend()) != "cpu":
        return True
    return distributed(jax.sharding.get_abstract_mesh(), *(jax.typeof(array).sharding.mesh for array in arrays))


def distributed(*meshes: AbstractMesh) -> bool:
    """Whether the types of arrays on these meshes say how the arrays are distributed.

    They do inside `jax.shard_map` (manual axes) and on explicit axes. `lax` has rules for such types, our primitives
    have none. Arrays on a mesh whose axes are all automatic have ordinary types.
    """
    return any(axis != AxisType.Auto for mesh in meshes for axis in mesh.axis_types)


@contextlib.contextmanager
def choose(choice: Choice) -> Iterator[None]:
    """What is traced within uses `lax` (XLA's own operations) or `auto` (the fastest formulation, the default).

    Raises:
        InputError: the choice is neither.
    """
    _check("choice", choice, get_args(Choice))
    with _choice(choice):
        yield


@contextlib.contextmanager
def target(platform: Platform) -> Iterator[None]:
    """What is traced within is for this platform; the default is the platform of `jax.default_backend()`.

    It is needed where a program is traced on another platform than it is compiled for:

        with ops.target("tpu"):
            jax.jit(f).trace(x).lower(lowering_platforms=("tpu",))

    Raises:
        InputError: the platform is none that JAX knows by this name.
    """
    _check("platform", platform, get_args(Platform))
    with _target(platform):
        yield


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; use one of {', '.join(allowed)}.")
