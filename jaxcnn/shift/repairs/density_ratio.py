"""Importance weights of source images: how much more frequent images like them are in the target."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.cost import Interval
from jaxcnn.shift.detecting import MOST_FEATURES, components
from jaxcnn.shift.detectors.samples import check_samples
from jaxcnn.shift.features import Outputs

CAP = 10.0
"""Largest weight, before the weights are scaled to mean 1. Weights are estimated worst where they are largest, and
without a cap a few images would decide the result. A smaller cap has less variance and more bias towards the source; 10
leaves the weights of two normal distributions one standard deviation apart as they are for 99 % of the target."""

LEAST_SHARE = 0.05
"""Smallest effective sample size, as a share of the images, with which weights are used."""

LARGEST_AUC = 0.95
"""Largest area under the ROC curve with which weights are used: beyond it source and target hardly overlap."""

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class ImportanceWeights:
    """Importance weights of source images.

    Attributes:
        weights: capped, with mean 1, float64 [n]; they fit `sample_weight` of scikit-learn.
        ratios: estimates of p(features | target) / p(features | source), as they were before the cap, [n].
        effective: effective sample size of the ratios, (sum w)^2 / sum w^2: about as many images without weights have
            the same variance. It is that before the cap, which would conceal that samples hardly overlap: with a cap of
            c it cannot fall far below n / c. It is optimistic where samples hardly overlap: then the largest weights
            are those of images that the source does not contain.
        auc: area under the ROC curve of the classifier between source and target, on images that it was not fitted to.
        capped: share of the images whose weight was capped.
    """

    weights: np.ndarray
    ratios: np.ndarray
    effective: float
    auc: float
    capped: float

    @property
    def refused(self) -> str | None:
        """Why the weights must not be used; None if they may be."""
        n = len(self.weights)
        if self.auc > LARGEST_AUC:
            return (
                f"source and target hardly overlap: a classifier tells them apart with an area under the ROC curve of "
                f"{self.auc:.3f}, above {LARGEST_AUC:g}. Weights cannot replace source images like those of the target."
            )
        if self.effective < LEAST_SHARE * n:
            return (
                f"the effective sample size is {self.effective:.1f} of {n} source images, below "
                f"{100 * LEAST_SHARE:g} %: a few images would decide the result. Give more source images, or a "
                "target that is more similar."
            )
        return None

    @property
    def used(self) -> float:
        """Effective sample size of the capped weights."""
        return effective_size(self.weights)


def importance_weights(source: Any, target: Any, *, cap: float = CAP, seed: int = 0) -> ImportanceWeights:
    """Estimate the density ratio of target and source at each source image with a logistic regression between them.

    The ratio is (n / m) p(target | x) / p(source | x) for n source and m target images that the classifier is fitted
    to. Each image is rated by a classifier that was fitted to the four fifths of the images without it, because a
    classifier overestimates how well it separates the images that it was fitted to. Features are standardized; more
    than `detecting.MOST_FEATURES` are reduced to principal components.

    Weights repair a covariate shift only if p(y | features) is the same in source and target.

    Args:
        source: features of n images, [n, d].
        target: features of m images, [m, d].
        cap: largest weight before scaling to mean 1, above 0.
        seed: seed of the folds.

    Raises:
        InputError: as in `check_samples`, or the cap is not above 0. Weights that must not be used are returned too;
            see `ImportanceWeights.refused`.

    Source: Bickel et al. 2009 (JMLR 10), section 4, on the ratio; Kish 1965 on the effective sample size.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    if not cap > 0:
        raise InputError(f"cap is {cap!r}; it must be a number above 0.")
    source, target = check_samples(source, target)
    n, pooled = len(source), np.concatenate([source, target]).astype(np.float64)
    if pooled.shape[1] > MOST_FEATURES:
        pooled = components(pooled)
    of_target = np.arange(len(pooled)) >= n
    logits, areas = np.empty(len(pooled)), []
    # On matrices as small as these, threads of BLAS that wait for each other take many times as long as one.
    with threadpool_limits(1, user_api="blas"):
        for fit, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(pooled, of_target):
            scaler = StandardScaler().fit(pooled[fit])
            classifier = LogisticRegression(solver="newton-cholesky", max_iter=1000)
            classifier.fit(scaler.transform(pooled[fit]), of_target[fit])
            scores = classifier.decision_function(scaler.transform(pooled[held]))
            areas.append(roc_auc_score(of_target[held], scores))
            logits[held] = scores + np.log((~of_target[fit]).sum() / of_target[fit].sum())
    # Far from the other sample exp would overflow.
    ratios = np.exp(np.clip(logits[:n], -700, 700))
    weights = np.minimum(ratios, cap)
    return ImportanceWeights(
        weights / weights.mean(), ratios, effective_size(ratios), float(np.mean(areas)), float(np.mean(ratios > cap))
    )


def effective_size(weights: np.ndarray) -> float:
    """Return (sum w)^2 / sum w^2 of weights above 0: n for equal weights, 1 if one weight is all."""
    shares = weights / weights.max()
    return float(shares.sum() ** 2 / np.square(shares).sum())


def weighted_accuracy(source: Outputs, weights: np.ndarray) -> tuple[float, Interval]:
    """Estimate the accuracy of the network on the target from labelled source images.

    Args:
        source: outputs for n labelled images.
        weights: importance weights of these images, [n].

    Returns:
        The weighted share of right predictions, and its 95 % interval (Wilson, for as many images as the effective
        sample size of the weights). The interval does not contain errors of the weights themselves.

    Raises:
        InputError: the source has no labels.

    Source: Sugiyama et al. 2007 (JMLR 8), section 3, importance-weighted validation.
    """
    if source.labels is None:
        raise InputError("source has no labels; an estimate of accuracy needs them. Give labelled source images.")
    estimate = float(np.average(source.predictions == source.labels, weights=weights))
    n, z = effective_size(weights), 1.959964
    centre, half = estimate + z**2 / (2 * n), z * np.sqrt(estimate * (1 - estimate) / n + (z / (2 * n)) ** 2)
    return estimate, (float((centre - half) / (1 + z**2 / n)), float((centre + half) / (1 + z**2 / n)))
