"""Every test for a shift on the features that it is meant for, with one correction over all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.detectors.class_counts import chi_square
from jaxcnn.shift.detectors.classifier import classifier_test
from jaxcnn.shift.detectors.detection import Detection, corrected
from jaxcnn.shift.detectors.gaussians import Moments, diagonal_frechet, frechet
from jaxcnn.shift.detectors.kernels import maximum_mean_discrepancy
from jaxcnn.shift.detectors.marginals import kolmogorov_smirnov
from jaxcnn.shift.detectors.samples import LEAST, check_samples
from jaxcnn.shift.features import Outputs

COMPONENTS = 32
"""Principal components to which pixels, and features of more than `MOST_FEATURES` values, are reduced (Rabanser et al.
2019, section 4)."""

MOST_FEATURES = 128


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample as the tests see it, one row an image.

    Attributes:
        pixels: principal components of the pixels, [n, d].
        penultimate: penultimate features or their principal components, [n, d].
        softmax: class probabilities, [n, classes].
        classes: predicted classes, int [n].
    """

    pixels: np.ndarray
    penultimate: np.ndarray
    softmax: np.ndarray
    classes: np.ndarray

    def take(self, rows: np.ndarray) -> "Sample":
        """Return the rows of some images."""
        return Sample(self.pixels[rows], self.penultimate[rows], self.softmax[rows], self.classes[rows])


Test = Callable[[Sample, Sample, int], Detection]
"""A function of source, target and seed."""

TESTS: Mapping[str, Test] = {
    "KS on pixels": lambda a, b, _: replace(kolmogorov_smirnov(a.pixels, b.pixels), features="pixels"),
    "KS on features": lambda a, b, _: replace(kolmogorov_smirnov(a.penultimate, b.penultimate), features="penultimate"),
    "KS on softmax": lambda a, b, _: replace(kolmogorov_smirnov(a.softmax, b.softmax), features="softmax"),
    "MMD on features": lambda a, b, seed: replace(
        maximum_mean_discrepancy(a.penultimate, b.penultimate, seed=seed), features="penultimate"
    ),
    "C2ST on features": lambda a, b, seed: replace(
        classifier_test(a.penultimate, b.penultimate, seed=seed), features="penultimate"
    ),
    "χ² on predictions": lambda a, b, _: replace(chi_square(a.classes, b.classes), features="predicted classes"),
}
"""The tests whose false alarms and power `calibrate` measures, by name."""


@dataclass(frozen=True)
class Findings:
    """Results of the tests.

    Attributes:
        detections: one for each test that could be made, with Holm's correction over all of them.
        refused: by name of a test that could not be made, the reason.
    """

    detections: tuple[Detection, ...]
    refused: Mapping[str, str]

    @property
    def shifted(self) -> bool:
        """Whether any test found a shift."""
        return any(each.shifted for each in self.detections)


def detect(source: Outputs, target: Outputs, *, seed: int = 0) -> Findings:
    """Test by every detector whether the target comes from the distribution of the source.

    Use source images that the network was not trained on, and a target made from other images than these: the tests
    assume independent samples, and a corruption of the same images is not one.

    Args:
        source, target: outputs of one network, from `features.read`.
        seed: seed of random splits and permutations.

    Raises:
        InputError: images of source and target have different shapes, or as in `check_samples`.
    """
    a, b = make_samples(source, target)
    check_samples(a.penultimate, b.penultimate)
    tests = dict(TESTS)
    tests["Fréchet on features"] = lambda a, b, seed: replace(
        frechet(a.penultimate, b.penultimate, seed=seed), features="penultimate"
    )
    found, refused = [], {}
    for name, test in tests.items():
        try:
            found.append(test(a, b, seed))
        except InputError as error:
            refused[name] = str(error)
    return Findings(corrected(found), refused)


def detect_by_layer(source: Outputs, target: Outputs, *, seed: int = 0) -> tuple[Detection, ...]:
    """Return the diagonal Fréchet distance of every layer with Holm's correction, from the input on; `features` names
    the layer. The first that is `shifted` is where the shift starts to be visible.

    Args:
        source, target: outputs of one network.
        seed: seed of random splits.

    Raises:
        InputError: as in `check_samples`.
    """
    splits = _splits(len(source.layers))
    return corrected(
        [
            replace(diagonal_frechet(moments, target.layers[name], splits=splits, seed=seed), features=name)
            for name, moments in source.layers.items()
        ]
    )


def detect_by_class(source: Outputs, target: Outputs, *, seed: int = 0) -> tuple[Detection, ...]:
    """Return the diagonal Fréchet distance of the penultimate features of every class with Holm's correction; `part` is
    the class. Classes with fewer than `LEAST` images in a sample are left out.

    Args:
        source, target: outputs of one network. Classes are the labels if both have them, otherwise the predictions.
        seed: seed of random splits.

    Raises:
        InputError: no class has enough images.
    """
    known = source.labels is not None and target.labels is not None
    classes = [each.labels if known else each.predictions for each in (source, target)]
    enough = [c for c in range(source.log_probabilities.shape[1]) if min((own == c).sum() for own in classes) >= LEAST]
    if not enough:
        raise InputError(f"no class has {LEAST} images both in source and in target. Give more images.")
    splits, found = _splits(len(enough)), []
    for c in enough:
        a, b = (each.features[own == c] for each, own in zip((source, target), classes, strict=True))
        result = diagonal_frechet(Moments(a, a**2), Moments(b, b**2), splits=splits, seed=seed)
        found.append(replace(result, features="penultimate", part=c))
    return corrected(found)


def _splits(tests: int) -> int:
    """Return how many random splits let the smallest p-value stay significant when it is multiplied by the number of
    tests."""
    return max(999, 40 * tests - 1)


def make_samples(source: Outputs, target: Outputs) -> tuple[Sample, Sample]:
    """Return what the tests compare.

    Principal components are those of both samples together: components of the source alone would describe the source
    better than other images of the same distribution, which would raise false alarms.

    Raises:
        InputError: images of source and target have different shapes.
    """
    shapes = [tuple(np.shape(each.images)[1:]) for each in (source, target)]
    if shapes[0] != shapes[1]:
        one, two = ("x".join(map(str, shape)) for shape in shapes)
        raise InputError(f"target has images of {two} and source of {one}. Resize or pad the target to {one}.")
    n = len(source)
    pixels = components(np.concatenate([_flat(each.images) for each in (source, target)]))
    features = np.concatenate([source.features, target.features])
    if features.shape[1] > MOST_FEATURES:
        features = components(features)
    softmax = np.exp(np.concatenate([source.log_probabilities, target.log_probabilities]))
    classes = np.concatenate([source.predictions, target.predictions])
    both = Sample(pixels, features, softmax, classes)
    return both.take(np.arange(n)), both.take(np.arange(n, n + len(target)))


def components(features: np.ndarray) -> np.ndarray:
    """Return the first principal components, at most `COMPONENTS`, of features [n, d]."""
    from sklearn.decomposition import PCA

    if not np.ptp(features, axis=0).any():
        # There is no variance to explain.
        return features[:, :1]
    # Threads of BLAS that wait for each other on a busy machine take many times as long as one.
    with threadpool_limits(1, user_api="blas"):
        return PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)


def _flat(images: np.ndarray) -> np.ndarray:
    return np.asarray(images).reshape(len(images), -1).astype(np.float32)
