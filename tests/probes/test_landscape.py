"""Losses and curvature along a step, on quadratic losses whose Hessian is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import InputError
from jaxcnn.probes import gradient_step, hessian_eigenvalue, loss_along_step, network_loss
from tests.probes.probed_networks import Plain, batch_of, run, variables_of


def symmetric(eigenvalues, seed=0):
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return vectors * eigenvalues @ vectors.T


def quadratic(hessian):
    """Return x'Hx / 2 as a loss of two parameters, which together are x."""

    def loss(params):
        x = jnp.concatenate([params["a"], params["b"].ravel()])
        return 0.5 * jnp.vdot(x, jnp.asarray(hessian, jnp.float32) @ x)

    return loss


def split(x):
    x = jnp.asarray(x, jnp.float32)
    return {"a": x[:2], "b": x[2:].reshape(2, -1)}


X = np.random.default_rng(3).normal(size=6)


@pytest.mark.parametrize("eigenvalues", [[1, 2, 3, 4, 5, 9], [-20, 2, 3, 4, 5, 9], [-1e-3, -5e-4, 0, 0, 0, 0]])
def test_the_eigenvalue_of_largest_magnitude_is_found_with_its_sign(eigenvalues):
    loss = quadratic(symmetric(eigenvalues))
    found = run(functools.partial(hessian_eigenvalue, loss, tolerance=1e-4), split(X), jax.random.key(0))
    assert found["eigenvalue"] == pytest.approx(max(eigenvalues, key=abs), rel=1e-3)
    assert found["residual"] <= 1e-4 * abs(found["eigenvalue"])
    assert found["gradient_evaluations"] == 1 + 2 * found["iterations"] and found["iterations"] < 50


def test_two_eigenvalues_of_equal_magnitude_show_in_the_residual():
    loss = quadratic(symmetric([-7, 1, 1, 1, 1, 7]))
    found = run(functools.partial(hessian_eigenvalue, loss, iterations=40), split(X), jax.random.key(0))
    assert found["iterations"] == 40 and found["residual"] > 0.1 * 7
    assert abs(found["eigenvalue"]) < 7


def test_a_linear_loss_has_an_eigenvalue_of_0():
    found = hessian_eigenvalue(lambda params: jnp.sum(params["a"]), split(X), jax.random.key(0))
    assert found["eigenvalue"] == 0 and found["residual"] == 0 and found["iterations"] == 1


def test_the_eigenvalue_of_a_network_is_that_of_its_full_hessian():
    batch = batch_of(8)
    variables = variables_of(Plain(), batch)
    loss, params = network_loss(Plain(), variables, batch), variables["params"]
    found = run(functools.partial(hessian_eigenvalue, loss, iterations=200), params, jax.random.key(0))
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    values = np.linalg.eigvalsh(np.asarray(run(jax.hessian(lambda x: loss(unravel(x))), flat), np.float64))
    assert found["eigenvalue"] == pytest.approx(max(values, key=abs), rel=1e-2)
    assert np.min(np.abs(values - found["eigenvalue"])) <= found["residual"] + 1e-5


def test_the_landscape_of_a_quadratic_loss_is_its_closed_form():
    hessian = symmetric([0.5, 1, 2, 3, 5, 8])
    step = -0.1 * hessian @ X
    found = run(functools.partial(loss_along_step, quadratic(hessian)), split(X), split(step))
    multiples = np.array([0.5, 1, 2, 4])
    losses = [0.5 * (X + c * step) @ hessian @ (X + c * step) for c in multiples]
    changes = multiples * np.linalg.norm(hessian @ step)
    assert found["loss"] == pytest.approx(0.5 * X @ hessian @ X, rel=1e-5)
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-4)
    np.testing.assert_allclose(found["loss_range"], [min(losses), max(losses)], rtol=1e-4)
    assert found["gradient_norm"] == pytest.approx(np.linalg.norm(hessian @ X), rel=1e-5)
    np.testing.assert_allclose(found["gradient_changes"], changes, rtol=1e-4)
    assert found["gradient_predictiveness"] == pytest.approx(changes[-1], rel=1e-4)
    smoothness = np.linalg.norm(hessian @ step) / np.linalg.norm(step)
    assert found["smoothness"] == pytest.approx(smoothness, rel=1e-4) and smoothness < 8
    assert found["gradient_evaluations"] == 5


def test_a_gradient_step_has_the_direction_of_the_gradient_and_the_length_of_the_update():
    gradient, update = split([3.0, 0, 0, 0, 4, 0]), split([0.0, 0.1, 0, 0, 0, 0])
    step = gradient_step(gradient, update)
    np.testing.assert_allclose(step["a"], [-0.06, 0], rtol=1e-6)
    np.testing.assert_allclose(step["b"], [[0, 0], [-0.08, 0]], rtol=1e-6)


@pytest.mark.parametrize("function", [hessian_eigenvalue, loss_along_step])
def test_a_loss_that_is_not_scalar_is_refused(function):
    with pytest.raises(InputError, match=r"the loss has shape \(2,\) and type float32; it must be one floating scalar"):
        function(lambda params: params["a"], split(X), split(X))
