"""JAX's own settings, pinned while a run is trained or evaluated."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def fixed_settings() -> Iterator[None]:
    """Compute in float32, compiled, with the same random numbers, whatever the process has set.

    Its settings, which $JAX_ENABLE_X64, $JAX_NUMPY_DTYPE_PROMOTION, $JAX_DISABLE_JIT, $JAX_TRANSFER_GUARD and
    $JAX_THREEFRY_PARTITIONABLE give, would otherwise change the numbers or end in an error. They hold again after the
    block, and throughout in other threads. It decorates a function, too: `@fixed_settings()`.
    """
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.disable_jit(False),
        jax.transfer_guard("allow"),
        jax.threefry_partitionable(True),
    ):
        yield
