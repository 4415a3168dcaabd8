import numpy as np
import pytest
from scipy import optimize, stats

from jaxcnn.shift.detectors.classifier import balanced_halves, classifier_test


def by_hand(source, target, halves):
    """Accuracy, AUC and p-value by scipy: a penalized likelihood, the rank-sum statistic, a binomial tail."""
    fit = np.concatenate([source[halves.source_fit], target[halves.target_fit]])
    tested = np.concatenate([source[halves.source_test], target[halves.target_test]])
    signs = np.repeat([-1.0, 1.0], [len(halves.source_fit), len(halves.target_fit)])
    scale = fit.std(axis=0)
    fit, tested = (fit - fit.mean(axis=0)) / scale, (tested - fit.mean(axis=0)) / scale

    def loss(w):
        return np.logaddexp(0, -signs * (fit @ w[1:] + w[0])).sum() + w[1:] @ w[1:] / 2

    w = optimize.minimize(loss, np.zeros(1 + fit.shape[1]), tol=1e-10).x
    scores = tested @ w[1:] + w[0]
    one, two = np.split(scores, [len(halves.source_test)])
    correct = (one <= 0).sum() + (two > 0).sum()
    auc = stats.mannwhitneyu(two, one).statistic / (len(one) * len(two))
    return correct / len(scores), auc, stats.binom.sf(correct - 1, len(scores), 0.5), two


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 60, 0.0), (80, 50, 0.8), (40, 90, 1.5)])
def test_accuracy_area_and_p_value_are_those_of_an_independent_computation(n, m, shift):
    random = np.random.default_rng(n)
    source, target = random.normal(size=(n, 3)), random.normal(shift, size=(m, 3))
    found = classifier_test(source, target, seed=7)
    halves = balanced_halves(n, m, 7)
    accuracy, auc, p, scores = by_hand(source, target, halves)
    assert (found.statistic, found.effect, found.p) == pytest.approx((accuracy, auc, p), abs=1e-6)
    assert found.examples[:3] == tuple(halves.target_test[np.argsort(-scores)[:3]])


def test_halves_are_balanced_disjoint_and_drawn_from_all_rows():
    halves = balanced_halves(40, 15, seed=0)
    assert [len(rows) for rows in halves] == [7, 8, 7, 8]
    assert len({*halves.source_fit, *halves.source_test}) == 15 and max(halves.source_test) > 15
    assert {*halves.target_fit, *halves.target_test} == {*range(15)}


def test_an_unequal_number_of_images_raises_no_alarm():
    """Without balance a classifier that always answers `source` is right in nine of ten cases."""
    random = np.random.default_rng(1)
    alarms = sum(classifier_test(random.normal(size=(90, 2)), random.normal(size=(10, 2))).shifted for _ in range(20))
    assert alarms <= stats.binom.ppf(0.995, 20, 0.05)


def test_the_most_target_like_images_are_those_that_changed():
    random = np.random.default_rng(2)
    source, target = random.normal(size=(2, 200, 2))
    target[:20] += 6
    found = classifier_test(source, target)
    assert {*found.examples[:5]} <= {*range(20)}
