"""The choice of the formulation in which an operation is traced: XLA's own, or the one that is fastest on a CPU.

The choice and the target platform are part of the cache key of `jax.jit`: a jitted function is traced again if either
has changed.
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
    """Return whether an operation on these arrays is traced as `lax`.

    This is the case within `choose("lax")`, if the target platform is not a CPU, and if the arrays are `distributed`.
    """
    if _choice.value == "lax" or (_target.value or jax.default_backend()) != "cpu":
        return True
    return distributed(jax.sharding.get_abstract_mesh(), *(jax.typeof(array).sharding.mesh for array in arrays))


def distributed(*meshes: AbstractMesh) -> bool:
    """Return whether the types of arrays on these meshes state how the arrays are distributed.

    They do inside `jax.shard_map` (manual axes) and on explicit axes. `lax` has rules for such types; our primitives
    have none. Arrays on a mesh whose axes are all automatic have ordinary types.
    """
    return any(axis != AxisType.Auto for mesh in meshes for axis in mesh.axis_types)


@contextlib.contextmanager
def choose(choice: Choice) -> Iterator[None]:
    """Trace operations within the block as `lax` (XLA's own) or `auto` (the fastest formulation, the default).

    Raises:
        InputError: the choice is neither of these.
    """
    _check("choice", choice, get_args(Choice))
    with _choice(choice):
        yield


@contextlib.contextmanager
def target(platform: Platform) -> Iterator[None]:
    """Trace operations within the block for this platform; the default is that of `jax.default_backend()`.

    This is needed if a program is traced on a platform other than the one that it is compiled for:

        with ops.target("tpu"):
            jax.jit(f).trace(x).lower(lowering_platforms=("tpu",))

    Raises:
        InputError: JAX has no platform of this name.
    """
    _check("platform", platform, get_args(Platform))
    with _target(platform):
        yield


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; use one of {', '.join(allowed)}.")
