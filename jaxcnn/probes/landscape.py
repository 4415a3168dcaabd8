"""The loss and its gradient along a step, and the curvature of the loss."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn.probes.distribution import norms
from jaxcnn.probes.losses import Loss, check_scalar


def loss_along_step(
    loss: Loss, params: Any, step: Any, *, multiples: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
) -> dict[str, jax.Array]:
    """Return how the loss and its gradient change along a step (Santurkar et al. 2018, section 3.1).

    It costs one gradient at the start and one for each multiple.

    Args:
        loss: scalar function of the parameters, for example from `network_loss`.
        params: parameters at the start.
        step: what is added to them for a multiple of 1; the paper's is the learning rate times the negative gradient.
        multiples: multiples c of the step, above 0.

    Returns:
        `loss` at the start; `losses` [c]; `loss_range` [2], the smallest and the largest of these losses;
        `gradient_norm` at the start; `gradient_changes` [c], the Euclidean norm of the gradient minus that at the
        start; `gradient_predictiveness`, the largest of them; `smoothness` (effective beta), the largest ratio of such
        a change to the distance; `gradient_evaluations`, the cost.

    Raises:
        InputError: the loss is not a scalar.
    """
    check_scalar(loss, params)
    value, gradient = jax.value_and_grad(loss)(params)

    def at(multiple: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, there = jax.value_and_grad(loss)(jax.tree.map(lambda x, s: x + multiple * s, params, step))
        return value, _norm(jax.tree.map(jnp.subtract, there, gradient))

    scales = jnp.array(multiples, jnp.float32)
    losses, changes = jax.lax.map(at, scales)
    return {
        "loss": value,
        "losses": losses,
        "loss_range": jnp.stack([jnp.min(losses), jnp.max(losses)]),
        "gradient_norm": _norm(gradient),
        "gradient_changes": changes,
        "gradient_predictiveness": jnp.max(changes),
        "smoothness": jnp.max(changes / (scales * _norm(step))),
        "gradient_evaluations": jnp.float32(1 + len(multiples)),
    }


def gradient_step(gradients: Any, updates: Any) -> Any:
    """Return a step in the direction of the negative gradient, as long as an update.

    For gradient descent without momentum and weight decay this is the update itself; for other optimizers it makes
    `loss_along_step` comparable with the paper, which goes along the gradient.
    """
    scale = _norm(updates) / _norm(gradients)
    return jax.tree.map(lambda g: -scale * g, gradients)


def hessian_eigenvalue(
    loss: Loss, params: Any, key: jax.Array, *, iterations: int = 50, tolerance: float = 1e-3
) -> dict[str, jax.Array]:
    """Return the eigenvalue of the Hessian with the largest magnitude, with its sign, by power iteration.

    A step of the iteration is a Hessian-vector product, with the gradient linearized once. If two eigenvalues have
    nearly the same magnitude, the residual stays large: then the value is only between the two.

    Args:
        loss: scalar function of the parameters, for example from `network_loss`; differentiable twice.
        params: parameters.
        key: random key of the first vector.
        iterations: largest number of products.
        tolerance: residual, as a fraction of the eigenvalue, at which the iteration ends.

    Returns:
        `eigenvalue`, the Rayleigh quotient of the last vector v of length 1; `residual`, the norm of
        H v - eigenvalue v, within which there is an eigenvalue of H; `iterations`, the number of products;
        `gradient_evaluations`, the cost, with a product as two gradients.

    Raises:
        InputError: the loss is not a scalar.
    """
    check_scalar(loss, params)
    _, product = jax.linearize(jax.grad(loss), params)

    def proceed(carry: tuple[jax.Array, ...]) -> jax.Array:
        count, value, residual, _ = carry
        return (count < iterations) & ((count == 0) | (residual > tolerance * jnp.abs(value)))

    def multiply(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        count, _, _, vector = carry
        image = product(vector)
        value = optax.tree.vdot(vector, image)
        residual = _norm(jax.tree.map(lambda w, v: w - value * v, image, vector))
        return count + 1, value, residual, _unit(image)

    start = _unit(optax.tree.random_like(key, params))
    zero = jnp.float32(0)
    count, value, residual, _ = jax.lax.while_loop(proceed, multiply, (jnp.int32(0), zero, zero, start))
    return {
        "eigenvalue": value,
        "residual": residual,
        "iterations": count,
        "gradient_evaluations": 1.0 + 2.0 * count,
    }


def _norm(tree: Any) -> jax.Array:
    return norms([norms(jax.tree.leaves(tree))])[0]


def _unit(tree: Any) -> Any:
    size = _norm(tree)
    return jax.tree.map(lambda x: x / jnp.where(size > 0, size, 1), tree)
