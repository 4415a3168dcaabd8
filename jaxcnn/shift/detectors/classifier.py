"""The classifier two-sample test (C2ST): can a classifier tell target images from source images?"""

from typing import Any, NamedTuple

import numpy as np

from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.samples import check_samples

EXAMPLES = 9
"""Number of the most target-like images in the result."""


class Halves(NamedTuple):
    """Rows of the source and of the target, as many of one as of the other, to fit a classifier and to test it."""

    source_fit: np.ndarray
    source_test: np.ndarray
    target_fit: np.ndarray
    target_test: np.ndarray


def classifier_test(source: Any, target: Any, *, seed: int = 0) -> Detection:
    """Fit a logistic regression to one half of both samples and test on the other half whether it beats chance.

    The larger sample is reduced at random to the size of the smaller one, so that chance is exactly one half.

    Args:
        source: features [n, d].
        target: features [m, d].
        seed: seed of the random halves.

    Returns:
        `statistic`: accuracy on the tested half; `effect`: area under the ROC curve there; `p`: of the one-sided
        binomial test; `examples`: rows of the target, of the tested half, that look most like the target.

    Raises:
        InputError: as in `check_samples`.

    Source: Lopez-Paz and Oquab 2017 (arXiv:1610.06545), section 3.
    """
    from scipy import stats
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    source, target = check_samples(source, target)
    halves = balanced_halves(len(source), len(target), seed)
    fit = np.concatenate([source[halves.source_fit], target[halves.target_fit]])
    tested = np.concatenate([source[halves.source_test], target[halves.target_test]])
    # The default solver makes many small calls of BLAS, which with several threads take ten times as long.
    scaler, classifier = StandardScaler().fit(fit), LogisticRegression(solver="newton-cg", max_iter=1000)
    classifier.fit(scaler.transform(fit), _is_target(halves.source_fit, halves.target_fit))
    truth = _is_target(halves.source_test, halves.target_test)
    scores = classifier.decision_function(scaler.transform(tested))
    correct = int(((scores > 0) == truth).sum())
    p = float(stats.binomtest(correct, len(truth), 0.5, "greater").pvalue)
    most = np.argsort(-scores[truth], kind="stable")[:EXAMPLES]
    return Detection(
        "classifier",
        correct / len(truth),
        p,
        float(roc_auc_score(truth, scores)),
        len(source),
        len(target),
        examples=tuple(halves.target_test[most].tolist()),
    )


def balanced_halves(n: int, m: int, seed: int) -> Halves:
    """Return random rows of n source and m target images: the smaller number of each, in two halves."""
    random, size = np.random.default_rng(seed), min(n, m)
    source, target = (random.permutation(count)[:size] for count in (n, m))
    return Halves(source[: size // 2], source[size // 2 :], target[: size // 2], target[size // 2 :])


def _is_target(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.arange(len(source) + len(target)) >= len(source)
