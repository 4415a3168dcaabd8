"""The verdict on contrast follows from hand-made gains by the rule."""

import pytest

from jaxcnn.claims.lrn_contrast import ARMS, CONTRASTS, decide, draw, gains


def run(share, noise=0.0):
    """A run whose squares are, at contrast 1, this share of the denominator; the gain has an error of `noise`."""
    # With alpha S = z k at contrast 1, r is z s^2 / (1 + z s^2).
    z = share / (1 - share)
    share_at = [z * s**2 / (1 + z * s**2) for s in CONTRASTS]
    after = [s / (2 * (1 + z * s**2)) ** 0.75 for s in CONTRASTS]
    gain = [1 - 1.5 * r + noise for r in share_at]
    return {"before": list(CONTRASTS), "after": after, "gain": gain, "share": share_at}


def measured(unit, pixels, alpha, seeds=5):
    shares = dict(zip(ARMS, (unit, pixels, alpha), strict=True))
    first = {arm: [run(share, 0.001 * i) for i in range(seeds)] for arm, share in shares.items()}
    return {
        "contrasts": list(CONTRASTS),
        "first": first,
        "shares": {arm: [[share, share / 2]] * seeds for arm, share in shares.items()},
    }


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.2, 0.3, 0.3), "holds"),
        ((1e-4, 0.3, 0.5), "holds if pixels are in 0..255 or alpha is 0.4 for pixels of unit deviation"),
        ((1e-4, 0.3, 0.01), "holds if pixels are in 0..255"),
        ((1e-4, 0.01, 0.3), "holds if alpha is 0.4 for pixels of unit deviation"),
        ((1e-4, 0.01, 0.01), "does not hold"),
    ],
)
def test_a_normalization_acts_if_its_gain_is_below_nine_tenths(shares, verdict):
    decided = decide(measured(*shares))
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(1 - 1.5 * shares[0] + 0.002)


def test_conditions_have_the_gains_r_and_the_divisor(tmp_path):
    found = measured(1e-4, 0.4, 0.8)
    text = decide(found).conditions
    assert "is 1.002 with the paper's α, pixels of unit deviation (r by layer: 0.0001, 5e-05); 0.402 with the" in text
    assert "the measured gain differs from 1 - 2 beta r by 0.004 at most" in text
    assert text.endswith("divides responses by 1.68; k^beta is 1.68.")
    assert gains(found, "alpha") == pytest.approx([-0.2 + 0.001 * i for i in range(5)])
    assert draw(found, tmp_path / "a.png").is_file()


def test_arms_whose_runs_diverge_have_no_gain(tmp_path):
    found = measured(1e-4, 0.3, 0.3)
    found["first"] |= {"unit": [], "pixels": found["first"]["pixels"][:1]}
    decided = decide(found)
    assert decided.verdict == "holds if alpha is 0.4 for pixels of unit deviation"
    assert (decided.effect, decided.interval) == (None, (None, None))
    assert draw(found, tmp_path / "a.png").is_file()
