"""JAX settings that are fixed while a run is trained or evaluated."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def fixed_settings() -> Iterator[None]:
    """Compute in float32, compiled and with the same random numbers, whatever the settings of the process are.

    Those settings ($JAX_ENABLE_X64, $JAX_NUMPY_DTYPE_PROMOTION, $JAX_DISABLE_JIT, $JAX_TRANSFER_GUARD and
    $JAX_THREEFRY_PARTITIONABLE) would otherwise change results or cause an error. They are restored after the block,
    and other threads are not affected. It can also decorate a function: `@fixed_settings()`.
    """
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.disable_jit(False),
        jax.transfer_guard("allow"),
        jax.threefry_partitionable(True),
    ):
        yield
