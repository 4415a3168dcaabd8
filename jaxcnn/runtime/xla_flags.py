"""Flags of XLA, which JAX reads from $XLA_FLAGS once, when it makes its first array."""

import os

import jax

_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"


def set_xla_flags() -> None:
    """Have XLA run convolutions on a CPU by Eigen again, which is faster than YNNPACK, jaxlib's choice since 0.10.1.

    Call it before the first array; later it changes nothing. `jaxcnn train` and `jaxcnn evaluate` do. A value that
    $XLA_FLAGS has for the flag stays. Processes of this one inherit it. GPU and TPU take no notice.

    On two AVX-512 cores, float32, windows of 3 x 3 (jaxlib 0.10.2), ms of an output by YNNPACK -> by Eigen: 64 -> 64 at
    32x32, batch 64: 68 -> 35; 128 -> 128 at 16x16: 44 -> 29; 256 -> 256 at 8x8: 40 -> 31; 512 -> 512 at 28x28, batch 8:
    222 -> 196. Input gradients are convolutions too. Products and sums stay with YNNPACK, which is faster at those.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA ends a process that has a flag it does not know, so only releases known to have this one are given it.
    if _YNNPACK not in flags and jax.__version_info__ < (0, 13):
        os.environ["XLA_FLAGS"] = f"{flags} {_YNNPACK}=-individual_convolution".lstrip()
