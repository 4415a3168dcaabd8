"""Responses around local response normalizations are the network's, and their share gives the contrast gain."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.responses import Responses, _forward, shares
from jaxcnn.layers import LocalResponseNorm

RESPONSES = np.random.default_rng(0).exponential(3.0, (4, 2, 3, 7)).astype(np.float32)


@pytest.mark.parametrize(("size", "mode"), [(5, "sum"), (5, "mean"), (4, "sum"), (1, "sum")])
def test_shares_are_those_of_a_loop(size, mode):
    norm = LocalResponseNorm(size=size, alpha=0.2, k=1.5, alpha_mode=mode)
    found = shares(RESPONSES, norm)
    for c in range(7):
        window = RESPONSES[..., max(0, c - size // 2) : c + (size - 1) // 2 + 1].astype(np.float64)
        scaled = (0.2 if mode == "sum" else 0.2 / size) * (window**2).sum(-1)
        np.testing.assert_allclose(found[..., c], scaled / (1.5 + scaled), rtol=1e-12)


@pytest.mark.parametrize("norm", [LocalResponseNorm(), LocalResponseNorm(alpha=0.05), LocalResponseNorm(beta=0.3)])
def test_the_gain_of_the_root_mean_square_is_one_minus_two_beta_r(norm):
    def after(scale):
        x = scale * RESPONSES.astype(np.float64)
        # x / (k + alpha S)^beta, where k + alpha S = k / (1 - r).
        return x * ((1 - shares(x, norm)) / norm.k) ** norm.beta

    def rms(x):
        return np.sqrt(np.mean(x**2))

    step = 1e-4
    gain = np.log(rms(after(1 + step)) / rms(after(1 / (1 + step)))) / (2 * np.log1p(step))
    share = Responses(norm, RESPONSES, after(1.0)).share()
    assert gain == pytest.approx(1 - 2 * norm.beta * share, abs=1e-6) and share > 1e-4
    assert Responses(norm, 0 * RESPONSES, 0 * RESPONSES).share() == 0.0


@pytest.mark.slow
def test_responses_are_the_inputs_and_outputs_of_the_normalizations_in_the_network():
    model = SmallConvNet((3, 4), norm=LocalResponseNorm(alpha=0.4), ops="lax")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), images)
    found = _forward(model)(variables, images)
    _, captured = jax.jit(partial(model.apply, train=False, capture_intermediates=True))(variables, images)
    assert [*found] == ["norm1", "norm2"]
    for number, (before, after) in enumerate(found.values(), start=1):
        for x, name in ((before, f"act{number}"), (after, f"norm{number}")):
            np.testing.assert_allclose(x, captured["intermediates"][name]["__call__"][0], rtol=2e-5, atol=1e-6)
