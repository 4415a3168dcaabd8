"""Which kind of shift it is: tests that separate a change of the images from a change of the class shares."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.detectors.class_counts import chi_square
from jaxcnn.shift.detectors.detection import Detection, corrected
from jaxcnn.shift.detectors.marginals import kolmogorov_smirnov
from jaxcnn.shift.detectors.samples import LEAST
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.label_shift import estimate_class_shares

Verdict = Literal["none", "label", "covariate", "both", "not label alone"]

MEANINGS: Mapping[Verdict, str] = {
    "none": "no test found a shift",
    "label": "label shift: the shares of the classes have changed, the images of a class have not",
    "covariate": "covariate shift: the images of a class have changed, the shares of the classes have not",
    "both": "both: the images of a class and the shares of the classes have changed",
    "not label alone": "other class shares cannot explain the shift: the images of a class have changed; whether the "
    "shares of the classes have changed too cannot be told without target labels",
}
"""What each verdict says."""

_LIMITS = (
    "A test that finds nothing does not show that there is no change; it may need more images.",
    "Images are compared through the features of the network, which may not see a change.",
)
_ASSUMED = (
    "That an image keeps its label, p(y | x), is assumed: on images unlike all source images nothing can test it. If "
    "it is wrong, the shift is a change of concept, which these tests do not tell from covariate shift."
)


@dataclass(frozen=True)
class Kind:
    """The kind of a shift.

    Attributes:
        verdict: as in `MEANINGS`.
        tests: the tests behind it, with Holm's correction over both.
        limits: what the tests cannot tell, in sentences.
    """

    verdict: Verdict
    tests: tuple[Detection, Detection]
    limits: tuple[str, ...]


def kind_of_shift(source: Outputs, target: Outputs, *, seed: int = 0) -> Kind:
    """Decide between covariate shift, label shift and both.

    Under label shift p(y) changes and p(x | y) does not; under the usual covariate shift, a corruption, p(x | y)
    changes and p(y) does not. With target labels both are tested directly: the counts of the labels by chi-square, and
    the penultimate features of each class by Kolmogorov-Smirnov, corrected for all features and classes.

    Without target labels the class shares are estimated from the predictions (`estimate_class_shares`) on one half of
    the source; the other half is thinned to these shares, and its class probabilities are compared with the target's.
    If they still differ, label shift alone is no explanation.

    Args:
        source: outputs for source images that the network was not trained on, with labels.
        target: outputs for target images, with labels or without.
        seed: seed of the halves and of thinning.

    Raises:
        InputError: the source has no labels, or there are too few images.
    """
    if source.labels is None:
        raise InputError("source has no labels; the kind of a shift needs them. Give labelled source images.")
    return _with_labels(source, target) if target.labels is not None else _without_labels(source, target, seed)


def _with_labels(source: Outputs, target: Outputs) -> Kind:
    counts = replace(chi_square(source.labels, target.labels), features="labels")
    tested, left_out = [], []
    for label in range(source.log_probabilities.shape[1]):
        own, other = source.features[source.labels == label], target.features[target.labels == label]
        if min(len(own), len(other)) < LEAST:
            left_out.append(str(label))
        else:
            tested.append((label, kolmogorov_smirnov(own, other)))
    if not tested:
        raise InputError(
            f"no class has {LEAST} images both in source and in target; the images of a class cannot be compared. Give "
            "more images."
        )
    label, least = min(tested, key=lambda pair: pair[1].p)
    within = replace(
        least,
        p=min(1.0, len(tested) * least.p),
        p_holm=None,
        source=len(source),
        target=len(target),
        features="penultimate, within classes",
        part=label,
    )
    tests = corrected([counts, within])
    verdict: Verdict = {
        (False, False): "none",
        (True, False): "label",
        (False, True): "covariate",
        (True, True): "both",
    }[tests[0].shifted, tests[1].shifted]
    few = [f"The classes {', '.join(left_out)} have fewer than {LEAST} images and were not compared."] * bool(left_out)
    return Kind(verdict, tests, (*_LIMITS, _ASSUMED, *few))


def _without_labels(source: Outputs, target: Outputs, seed: int) -> Kind:
    random = np.random.default_rng(seed)
    order = random.permutation(len(source))
    known, rest = (source.take(np.sort(half)) for half in np.array_split(order, 2))
    shares = estimate_class_shares(known.labels, known.predictions, target.predictions)
    rows = thin(rest.labels, shares.target, random)
    if len(rows) < LEAST:
        raise InputError(
            f"source has {len(rows)} images left after thinning to the estimated class shares of the target; the test "
            f"needs at least {LEAST}. Give more source images, or a target with labels."
        )
    any_shift = kolmogorov_smirnov(np.exp(source.log_probabilities), np.exp(target.log_probabilities))
    left = kolmogorov_smirnov(np.exp(rest.log_probabilities[rows]), np.exp(target.log_probabilities))
    tests = corrected(
        [replace(any_shift, features="softmax"), replace(left, features="softmax, class shares made equal")]
    )
    verdict: Verdict = "not label alone" if tests[1].shifted else "label" if tests[0].shifted else "none"
    limits = (
        "Target labels are unknown: the class shares of the target are estimated from predictions, which is right only "
        "if the images of a class are unchanged.",
        f"The condition number of the estimate is {shares.condition:.3g}; with a large one the shares are uncertain.",
    )
    return Kind(verdict, tests, (*_LIMITS, _ASSUMED, *limits))


def thin(labels: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the rows of as many images as possible, drawn without repetition, whose classes have these shares.

    Images are left out rather than repeated, because a test takes repeated images for independent ones.

    Args:
        labels: int [n].
        shares: [classes], with sum 1; a class with share above 0 must occur.
        random: source of random numbers.
    """
    counts = np.bincount(labels, minlength=len(shares))
    total = min(int(count / share) for count, share in zip(counts, shares, strict=True) if share > 0)
    wanted = np.minimum(np.round(total * shares).astype(int), counts)
    groups = [random.permutation(np.flatnonzero(labels == label))[:n] for label, n in enumerate(wanted)]
    return np.sort(np.concatenate(groups))
