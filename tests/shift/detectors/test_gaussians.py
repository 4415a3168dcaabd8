import numpy as np
import pytest
from scipy import linalg, stats

from jaxcnn.shift.detectors.gaussians import (
    Gaussian,
    Moments,
    diagonal_frechet,
    fit_gaussian,
    frechet,
    frechet_distance,
)


def test_the_distance_of_normal_distributions_without_correlations_is_a_sum_over_features():
    a = Gaussian(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    b = Gaussian(np.array([3.0, 2.5]), np.diag([1.0, 16.0]))
    assert frechet_distance(a, b) == pytest.approx(2**2 + 0.5**2 + (2 - 1) ** 2 + (3 - 4) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_it_does_not_depend_on_the_axes_and_is_symmetric():
    random = np.random.default_rng(0)
    q = np.linalg.qr(random.normal(size=(3, 3)))[0]
    a, b = (Gaussian(random.normal(size=3), x @ x.T) for x in random.normal(size=(2, 3, 3)))
    turned = [Gaussian(q @ g.mean, q @ g.covariance @ q.T) for g in (a, b)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(a, b))
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_it_is_the_formula_with_scipys_matrix_square_root():
    random = np.random.default_rng(1)
    a, b = (Gaussian(random.normal(size=5), x @ x.T) for x in random.normal(size=(2, 5, 8)))
    root = linalg.sqrtm(a.covariance @ b.covariance)
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_a_singular_covariance_is_no_obstacle():
    flat = Gaussian(np.zeros(2), np.array([[1.0, 1.0], [1.0, 1.0]]))
    point = Gaussian(np.zeros(2), np.zeros((2, 2)))
    assert frechet_distance(flat, point) == frechet_distance(point, flat) == pytest.approx(2)


def test_a_covariance_is_shrunk_towards_a_multiple_of_the_identity():
    features = np.random.default_rng(2).normal(size=(30, 10))
    plain, shrunk = np.cov(features.T, bias=True), fit_gaussian(features).covariance
    assert np.trace(shrunk) == pytest.approx(np.trace(plain))
    assert np.ptp(np.linalg.eigvalsh(shrunk)) < np.ptp(np.linalg.eigvalsh(plain))


def test_the_ratio_is_one_without_a_shift_and_grows_with_it():
    random = np.random.default_rng(3)
    source, target = random.normal(size=(2, 80, 4))
    none, some = frechet(source, target, splits=99), frechet(source, target + 1, splits=99)
    assert 0.4 < none.effect < 2 and not none.shifted
    assert some.effect > 5 and some.p == 0.01
    assert some.statistic == pytest.approx(frechet_distance(*map(fit_gaussian, (source, target + 1))))


def moments(values):
    """Moments of values [n, positions, units]."""
    return Moments(values.mean(axis=1), np.square(values).mean(axis=1))


def test_the_diagonal_distance_is_that_of_all_positions_and_names_the_unit():
    random = np.random.default_rng(4)
    source, target = random.normal(size=(2, 40, 6, 3))
    target[..., 1] = 3 * target[..., 1] + 2
    found = diagonal_frechet(moments(source), moments(target))
    x, y = source.reshape(-1, 3), target.reshape(-1, 3)
    a, b = (Gaussian(v.mean(0), np.diag(v.var(0))) for v in (x, y))
    assert found.statistic == pytest.approx(frechet_distance(a, b))
    assert found.part == 1 and found.p == 0.001 and found.effect > 10


def test_units_that_never_change_are_no_shift():
    ones = Moments(np.ones((20, 2)), np.ones((20, 2)))
    other = Moments(np.ones((15, 2)), np.ones((15, 2)))
    found = diagonal_frechet(ones, other)
    assert (found.statistic, found.p, found.effect) == (0.0, 1.0, 1.0)


def test_false_alarms_have_the_level_of_the_test():
    random = np.random.default_rng(5)
    alarms = sum(
        diagonal_frechet(*(moments(x) for x in random.normal(size=(2, 20, 4, 3))), splits=99, seed=i).shifted
        for i in range(200)
    )
    low, high = stats.binom.interval(0.99, 200, 0.05)
    assert low <= alarms <= high
