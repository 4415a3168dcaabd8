"""Batch norms that add another epsilon to their running variance than ours."""

import numpy as np


def fold_epsilon(var: np.ndarray, before: float, after: float) -> np.ndarray:
    """The running variance with which a norm of epsilon `after` gives what `var` gives with `before`.

    var + before - after, float32 [C]; equal epsilons leave it as it is. It may be below 0, but its sum with `after` is
    above 0 where that of `var` and `before` is. Training goes on with epsilon `after`.
    """
    if before == after:
        return var
    return (np.asarray(var, np.float64) + (before - after)).astype(np.float32)
