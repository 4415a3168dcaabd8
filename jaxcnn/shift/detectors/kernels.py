"""The maximum mean discrepancy (MMD) of two samples, with a permutation test."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.samples import check_samples

PERMUTATIONS = 499
"""With 499 a p-value can be exactly 0.05, so that the test has exactly this level."""


@fixed_settings()
def maximum_mean_discrepancy(
    source: Any, target: Any, *, permutations: int = PERMUTATIONS, limit: int = 1000, seed: int = 0
) -> Detection:
    """Test whether two samples have the same mean embedding in the space of a Gaussian kernel, and so the same
    distribution.

    The kernel is exp(-d^2 / 2 s^2) for features at distance d, with 2 s^2 the median of d^2 over all pairs.

    Args:
        source: features [n, d].
        target: features [m, d].
        permutations: number of random splits of the pooled samples.
        limit: most images of a sample that are used, selected at random: time and memory grow with their square.
        seed: seed of the selection and of the permutations.

    Returns:
        `statistic`: the unbiased estimate of MMD^2, which is below 0 about half of the time if there is no shift;
        `effect`: the square root of its positive part; `p`: (1 + number of permutations with an estimate at least as
        large) / (1 + permutations), which is never 0.

    Raises:
        InputError: as in `check_samples`.

    Source: Gretton et al. 2012 (JMLR 13), lemma 6; the median as in its section 8.
    """
    source, target = check_samples(source, target)
    random = np.random.default_rng(seed)
    source, target = (x[random.permutation(len(x))[:limit]] for x in (source, target))
    n, m = len(source), len(target)
    kernel = gaussian_kernel(np.concatenate([source, target]))
    picked = np.zeros((permutations + 1, n + m), np.float32)
    picked[:, :n] = 1
    picked[1:] = random.permuted(picked[1:], axis=1)
    estimates = np.asarray(_estimates(kernel, picked.T))
    p = (1 + int((estimates[1:] >= estimates[0]).sum())) / (1 + permutations)
    statistic = float(estimates[0])
    return Detection("mmd", statistic, p, max(statistic, 0.0) ** 0.5, n, m)


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """Return the kernel of all pairs of rows, float32 [n, n], with 0 on the diagonal: no estimate uses it."""
    from scipy.spatial.distance import squareform
    from sklearn.metrics.pairwise import euclidean_distances

    # Products of centred features in float64 lose no accuracy, and are faster than differences.
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0, dtype=np.float64)
    squares = squareform(euclidean_distances(centred, squared=True), checks=False)
    # If more than half of the pairs are equal, any positive width tells them from the others.
    width = np.median(squares) or squares.mean() or 1.0
    return squareform(np.exp(-squares / width)).astype(np.float32)


@jax.jit
def _estimates(kernel: jax.Array, picked: jax.Array) -> jax.Array:
    """Return the estimate of MMD^2 for every column of `picked`, [N, splits]: 1 for an image of the first sample, 0 for
    one of the second."""
    n = picked[:, 0].sum()
    m = len(picked) - n
    product = jnp.matmul(kernel, picked, precision="highest")
    within = jnp.sum(picked * product, axis=0)
    across = jnp.sum((1 - picked) * product, axis=0)
    rest = jnp.sum(kernel) - within - 2 * across
    return within / (n * (n - 1)) + rest / (m * (m - 1)) - 2 * across / (n * m)
