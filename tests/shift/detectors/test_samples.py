import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.detectors.class_counts import chi_square
from jaxcnn.shift.detectors.classifier import classifier_test
from jaxcnn.shift.detectors.gaussians import Moments, diagonal_frechet, frechet
from jaxcnn.shift.detectors.kernels import maximum_mean_discrepancy
from jaxcnn.shift.detectors.marginals import kolmogorov_smirnov

RANDOM = np.random.default_rng(0)
SOURCE, TARGET = RANDOM.normal(size=(2, 60, 3))
BROKEN = np.where(np.arange(60)[:, None] < 2, np.nan, TARGET)


@pytest.mark.parametrize("test", [kolmogorov_smirnov, maximum_mean_discrepancy, classifier_test, frechet])
@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (SOURCE, TARGET[:4], r"target has 4 images; this test needs at least 1\d"),
        (SOURCE[:0], TARGET, r"source has 0 images; this test needs at least 1\d"),
        (SOURCE, BROKEN, "target has 2 images with features that are NaN or infinite. Remove them"),
        (SOURCE, TARGET[:, :2], "target has 2 features and source has 3. Give images of the same shape"),
        (SOURCE, SOURCE.copy(), "target is identical to source. Give other images"),
        (SOURCE[None], TARGET, r"source has shape \(1, 60, 3\); it must be a matrix"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused_with_the_reason(test, source, target, message):
    with pytest.raises(InputError, match=message):
        test(source, target)


def test_frechet_needs_five_images_for_each_feature():
    with pytest.raises(InputError, match=r"source has 60 images; this test needs at least 100 \(5 for each of 20 feat"):
        frechet(*RANDOM.normal(size=(2, 60, 20)))


def test_moments_are_checked_as_other_samples_are():
    one, two = Moments(SOURCE, SOURCE**2), Moments(BROKEN, TARGET**2)
    with pytest.raises(InputError, match="target is identical"):
        diagonal_frechet(one, one)
    with pytest.raises(InputError, match="target has 2 images with features that are NaN"):
        diagonal_frechet(one, two)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.zeros(9, int), "target has 9 images; this test needs at least 10"),
        (np.zeros(20), r"target has classes of shape \(20,\) and type float64; they must be a list of integers from 0"),
        (np.full(20, -1), "they must be a list of integers from 0"),
        (np.zeros((20, 2), int), r"shape \(20, 2\)"),
    ],
)
def test_classes_that_cannot_be_counted_are_refused(classes, message):
    with pytest.raises(InputError, match=message):
        chi_square(np.zeros(20, int), classes)
