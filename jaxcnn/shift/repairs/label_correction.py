"""Class probabilities corrected for other class shares, with the shares estimated from predictions (BBSE)."""

import numpy as np


def correct_shares(log_probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the logarithm of p(y | x) w(y) / sum over classes of p(y | x) w(y), the class probabilities under other
    class shares if the images of a class are the same. They are right only if the given ones are calibrated.

    Args:
        log_probabilities: [n, classes].
        weights: target share / source share of each class, [classes], above 0.

    Returns:
        float32 [n, classes].

    Source: Saerens et al. 2002 (Neural Computation 14), equation 2.4; weights as in Lipton et al. 2018
        (arXiv:1802.03916), section 4.
    """
    joint = log_probabilities.astype(np.float64) + np.log(weights)
    return (joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)).astype(np.float32)
