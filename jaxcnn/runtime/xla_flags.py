"""XLA flags, which JAX reads from $XLA_FLAGS once, when it creates its first array."""

import os

import jax

_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"


def set_xla_flags() -> None:
    """Make XLA run CPU convolutions with Eigen, which is faster than YNNPACK, the default of jaxlib since 0.10.1.

    Call it before the first array is created; later calls have no effect. `jaxcnn train` and `jaxcnn evaluate` call
    it. A value of the flag that is already in $XLA_FLAGS is kept. Child processes inherit the flag. It does not affect
    GPU and TPU.

    Milliseconds per output on two AVX-512 cores in float32 with 3 x 3 windows (jaxlib 0.10.2), YNNPACK -> Eigen: 64 ->
    64 at 32x32, batch 64: 68 -> 35; 128 -> 128 at 16x16: 44 -> 29; 256 -> 256 at 8x8: 40 -> 31; 512 -> 512 at 28x28,
    batch 8: 222 -> 196. Input gradients are convolutions too. Products and sums stay with YNNPACK, which is faster for
    them.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA terminates the process on an unknown flag, so the flag is set only for releases known to support it.
    if _YNNPACK not in flags and jax.__version_info__ < (0, 13):
        os.environ["XLA_FLAGS"] = f"{flags} {_YNNPACK}=-individual_convolution".lstrip()
