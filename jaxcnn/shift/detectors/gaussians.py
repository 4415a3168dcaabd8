"""The Fréchet distance between two samples, as if each were normally distributed, and its ratio to random splits."""

from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.samples import check_samples

PER_FEATURE = 5
"""Images for each feature that a covariance needs; with fewer the distance is mostly its bias."""


class Gaussian(NamedTuple):
    """Mean [d] and covariance [d, d] of a normal distribution."""

    mean: np.ndarray
    covariance: np.ndarray


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """Return the mean and the covariance of features [n, d], shrunk towards a multiple of the identity (Ledoit and Wolf
    2004), because the plain estimate has eigenvalues that are too small and too large."""
    from sklearn.covariance import ledoit_wolf

    return Gaussian(features.mean(axis=0), ledoit_wolf(features)[0])


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return the squared 2-Wasserstein distance of two normal distributions,
    |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2).

    Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ b.covariance @ root)
    # Eigenvalues of 0 may come out slightly negative.
    common = np.sqrt(np.maximum(middle, 0)).sum()
    means = np.square(a.mean - b.mean).sum()
    return float(max(means + np.trace(a.covariance) + np.trace(b.covariance) - 2 * common, 0.0))


def frechet(source: Any, target: Any, *, splits: int = 199, seed: int = 0) -> Detection:
    """Test the Fréchet distance of two samples against that of random splits of the pooled samples.

    The distance of two finite samples is above 0 even without a shift, the more so the fewer images and the more
    features there are; the ratio to random splits is comparable between layers and sample sizes.

    Args:
        source: features [n, d].
        target: features [m, d].
        splits: number of random splits into n and m images.
        seed: seed of the splits.

    Returns:
        `statistic`: the distance, with shrunk covariances; `effect`: its ratio to the mean of the random splits; `p`:
        (1 + number of splits with a distance at least as large) / (1 + splits).

    Raises:
        InputError: as in `check_samples`; it needs `PER_FEATURE` images for each feature.
    """
    d = np.asarray(source).shape[-1]
    reason = f" ({PER_FEATURE} for each of {d} features)"
    source, target = check_samples(source, target, least=max(10, PER_FEATURE * d), reason=reason)
    pooled, n = np.concatenate([source, target]).astype(np.float64), len(source)

    def distance(rows: np.ndarray) -> float:
        return frechet_distance(fit_gaussian(pooled[rows[:n]]), fit_gaussian(pooled[rows[n:]]))

    random = np.random.default_rng(seed)
    # On matrices as small as these, threads of BLAS that wait for each other can take a hundred times as long.
    with threadpool_limits(1, user_api="blas"):
        null = [distance(random.permutation(len(pooled))) for _ in range(splits)]
        observed = distance(np.arange(len(pooled)))
    return _against(null, observed, n, len(target), "frechet")


class Moments(NamedTuple):
    """What a layer does with each image: mean and mean square of every unit over positions, [n, units] each.

    From them follow the mean and the variance of a unit over any set of images and all positions, the statistics that
    batch normalization uses.
    """

    mean: np.ndarray
    square: np.ndarray


def diagonal_frechet(source: Moments, target: Moments, *, splits: int = 999, seed: int = 0) -> Detection:
    """Test the Fréchet distance of two normal distributions without correlations, which is cheap for any layer: the sum
    over units of the squared differences of means and of standard deviations.

    Args:
        source: moments of n images.
        target: moments of m images.
        splits: number of random splits; the smallest p-value is 1 / (1 + splits).
        seed: seed of the splits.

    Returns:
        As `frechet`, and `part`: the unit with the largest term.

    Raises:
        InputError: as in `check_samples`.
    """
    source, target = Moments(*source), Moments(*target)
    check_samples(np.hstack(source), np.hstack(target))
    pooled = np.hstack([np.concatenate(each) for each in zip(source, target, strict=True)]).astype(np.float64)
    n, m = len(source.mean), len(target.mean)
    picked = np.zeros((splits + 1, n + m))
    picked[:, :n] = 1
    picked[1:] = np.random.default_rng(seed).permuted(picked[1:], axis=1)
    sums = picked @ pooled
    terms = _unit_terms(sums / n, (pooled.sum(axis=0) - sums) / m)
    observed, *null = terms.sum(axis=1).tolist()
    return _against(null, observed, n, m, "diagonal_frechet", part=int(terms[0].argmax()))


def _unit_terms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the term of each unit, [splits, units], from means and mean squares side by side, [splits, 2 units]."""

    def parts(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, square = np.split(moments, 2, axis=1)
        return mean, np.sqrt(np.maximum(square - np.square(mean), 0))

    (mean, std), (other_mean, other_std) = parts(a), parts(b)
    return np.square(mean - other_mean) + np.square(std - other_std)


def _against(null: list[float], distance: float, n: int, m: int, name: Any, part: int | None = None) -> Detection:
    mean = float(np.mean(null))
    p = (1 + sum(each >= distance for each in null)) / (1 + len(null))
    # Units that are constant in both samples have distance 0 in all splits too.
    return Detection(name, distance, p, distance / mean if mean else 1.0, n, m, part=part)
