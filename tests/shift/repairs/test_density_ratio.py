import numpy as np
import pytest
from scipy import stats

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Outputs
from jaxcnn.shift.repairs.density_ratio import effective_size, importance_weights, weighted_accuracy


def normal(n, mean, seed, d=2):
    """Normal features, of which the first has this mean."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x[:, 0] += mean
    return x


@pytest.mark.parametrize(("n", "m"), [(4000, 4000), (6000, 1500)])
@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_ratios_of_two_normal_distributions(n, m, shift):
    """log p_t / p_s = shift x - shift^2 / 2, whatever the sizes of the samples; E w = 1 and E w^2 = exp(shift^2)."""
    source = normal(n, 0, 0)
    found = importance_weights(source, normal(m, shift, 1), cap=1e9)
    np.testing.assert_allclose(np.log(found.ratios), shift * source[:, 0] - shift**2 / 2, atol=0.4)
    assert found.ratios.mean() == pytest.approx(1, abs=0.1)
    assert found.effective / n == pytest.approx(np.exp(-(shift**2)), rel=0.2)
    assert found.auc == pytest.approx(stats.norm.cdf(shift / 2**0.5), abs=0.02)
    assert found.weights.mean() == pytest.approx(1) and found.capped == 0 and found.refused is None


def test_weights_do_not_depend_on_the_number_of_images():
    """Weights that sum to 1 would change the strength of a regularization with n."""
    for n in (200, 2000):
        found = importance_weights(normal(n, 0, 0), normal(500, 0.5, 1))
        assert found.weights.mean() == pytest.approx(1) and found.weights.sum() == pytest.approx(n)


def test_the_cap_bounds_weights_before_they_are_scaled():
    found = importance_weights(normal(2000, 0, 0), normal(2000, 1.5, 1), cap=3)
    np.testing.assert_allclose(found.weights, np.minimum(found.ratios, 3) / np.minimum(found.ratios, 3).mean())
    assert found.capped == pytest.approx(np.mean(found.ratios > 3)) and found.capped > 0
    assert found.used > found.effective


def test_little_overlap_is_refused():
    """The effective size falls as exp(-shift^2), which a cap conceals; the area rises more slowly."""
    source = normal(3000, 0, 1)
    few = importance_weights(source, normal(3000, 2.0, 51))
    assert few.auc < 0.95 and few.used > 0.05 * 3000 and "effective sample size is" in few.refused
    far = importance_weights(source, normal(3000, 4, 51))
    assert "hardly overlap" in far.refused and "0.9" in far.refused


def test_samples_far_apart_stay_finite():
    """Where densities underflow, all weights could become 0 or NaN."""
    found = importance_weights(normal(100, 0, 0), normal(100, 1e6, 1))
    assert np.isfinite(found.weights).all() and found.weights.mean() == pytest.approx(1)
    assert np.isfinite(found.effective) and "hardly overlap" in found.refused


def test_images_are_rated_by_a_classifier_that_does_not_know_them():
    """On noise with many features, a classifier separates the images that it was fitted to, but no others."""
    found = importance_weights(normal(60, 0, 0, d=40), normal(60, 0, 1, d=40))
    assert 0.3 < found.auc < 0.7


def test_many_features_are_reduced():
    assert importance_weights(normal(100, 0, 0, d=300), normal(100, 0.1, 1, d=300)).refused is None


def test_effective_sizes():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([1e300, 0, 0])) == 1
    assert effective_size(np.array([1.0, 2, 3])) == pytest.approx(36 / 14)


def test_the_accuracy_on_a_target_is_estimated():
    """A classifier that is right above 0 only: 1/2 on the source, and the normal probability of the shift on the
    target."""
    source, target = normal(5000, 0, 0), normal(5000, 0.7, 1)
    log_probabilities = np.log(np.where(source[:, :1] > 0, [[0.1, 0.9]], [[0.9, 0.1]]))
    outputs = Outputs(source, source, log_probabilities, labels=np.ones(5000, int))
    estimate, (low, high) = weighted_accuracy(outputs, importance_weights(source, target).weights)
    assert estimate == pytest.approx(stats.norm.cdf(0.7), abs=0.03) and low < estimate < high
    equal, interval = weighted_accuracy(outputs, np.ones(5000))
    right = int((source[:, 0] > 0).sum())
    wilson = stats.binomtest(right, 5000).proportion_ci(method="wilson")
    assert equal == pytest.approx(right / 5000) and interval == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    with pytest.raises(InputError, match="source has no labels"):
        weighted_accuracy(Outputs(source, source, log_probabilities), np.ones(5000))


@pytest.mark.parametrize("cap", [0, -1, float("nan")])
def test_a_cap_must_be_positive(cap):
    with pytest.raises(InputError, match="cap is"):
        importance_weights(normal(20, 0, 0), normal(20, 0, 1), cap=cap)


def test_features_that_are_not_finite_are_refused():
    broken = normal(20, 0, 0)
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="target has 1 images with features that are NaN"):
        importance_weights(normal(20, 0, 1), broken)
