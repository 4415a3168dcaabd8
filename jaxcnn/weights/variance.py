"""Conversion of running variances between batch norms of different epsilons."""

import numpy as np


def fold_epsilon(var: np.ndarray, before: float, after: float) -> np.ndarray:
    """Return the running variance with which epsilon `after` gives the same outputs as `var` with `before`.

    The result is var + before - after, float32 [C], or `var` itself if the epsilons are equal. It may be below 0, but
    its sum with `after` is above 0 where the sum of `var` and `before` is. Training continues with epsilon `after`.
    """
    if before == after:
        return var
    return (np.asarray(var, np.float64) + (before - after)).astype(np.float32)
