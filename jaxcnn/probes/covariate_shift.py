"""Two meanings of internal covariate shift, which need not agree.

Ioffe & Szegedy (2015, section 2): the distribution of a layer's input changes because the parameters before it change;
`input_drift`. Santurkar et al. (2018, arXiv:1805.11604, definition 2.1): the gradient of a layer changes because the
layers before it have moved; `internal_covariate_shift`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.probes.layer_readings import select
from jaxcnn.probes.losses import Loss, check_scalar, check_updates
from jaxcnn.probes.taps import CalledModule, Tap, called_modules, owners, tapped
from jaxcnn.runtime.errors import InputError


def internal_covariate_shift(loss: Loss, params: Any, updates: Any, *, layers: Sequence[str] = ()) -> dict[str, Any]:
    """Return how much the gradient of each layer changes when the layers before it make their updates.

    With W_1 ... W_k the parameters of the layers in the order of the forward pass, before (t) and after (t+1) an
    update, G_i is the gradient of the loss with respect to W_i at (W_1^t, ..., W_k^t), and G'_i the one at
    (W_1^t+1, ..., W_i-1^t+1, W_i^t, ..., W_k^t), on the same batch and with the same dropout (Santurkar et al. 2018,
    definition 2.1). The shift of the first layer is exactly 0.

    It costs one gradient of the whole network for each layer, and one more; they are computed one after the other.

    Args:
        loss: scalar function of the parameters, for example from `network_loss`.
        params: parameters before the update.
        updates: what the update adds to them.
        layers: names of layers with parameters, or patterns as of file names; empty: those with a parameter of two or
            more axes. Norms are then left out, but they still move with the layers before a layer.

    Returns:
        `layers`: by layer `difference`, the Euclidean norm of G' - G; `norm`, that of G; and `cosine`, of the angle
        between them, NaN if one of them is 0. `gradient_evaluations`: the cost.

    Raises:
        InputError: the loss is not a scalar, a layer does not exist, the parameters are not named as the layers, or the
            updates not as the parameters.
    """
    check_scalar(loss, params)
    check_updates(updates, params)
    modules = _with_parameters(called_modules(loss, params), params)
    chosen = _choose(modules, layers, params)
    places = {name: place for place, name in enumerate(modules)}
    leaves, structure = jax.tree.flatten(params)
    changes = jax.tree.leaves(updates)
    # Parameters of no layer, such as those of an objective, do not move.
    owner = np.array([places.get(layer, len(places)) for layer, _ in owners(params)])

    def shift(start: list[jax.Array], inputs: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        first, place = inputs
        moved = [jnp.where(at < place, x + u, x) for at, x, u in zip(owner, leaves, changes, strict=True)]
        gradient = jax.tree.leaves(jax.grad(loss)(jax.tree.unflatten(structure, moved)))
        # The first turn, in which nothing has moved, is the gradient G itself, so that a shift of 0 has no rounding.
        start = [jnp.where(first, g, s) for g, s in zip(gradient, start, strict=True)]
        own = owner == place
        largest = jnp.max(jnp.where(own, jnp.stack([jnp.max(jnp.abs(s)) for s in start]), 0))
        unit = jnp.where(largest > 0, largest, 1)

        def total(products: list[jax.Array]) -> jax.Array:
            return jnp.sum(jnp.where(own, jnp.stack([jnp.sum(x) for x in products]), 0))

        old, new = ([x.astype(jnp.float32) / unit for x in each] for each in (start, gradient))
        pairs = list(zip(old, new, strict=True))
        difference = unit * jnp.sqrt(total([jnp.square(b - a) for a, b in pairs]))
        sizes = [jnp.sqrt(total([jnp.square(x) for x in each])) for each in (old, new)]
        cosine = total([a * b for a, b in pairs]) / (sizes[0] * sizes[1])
        return start, jnp.stack([difference, unit * sizes[0], cosine])

    turns = jnp.array([0, *(places[name] for name in chosen)])
    zeros = [jnp.zeros_like(x) for x in leaves]
    _, found = jax.lax.scan(shift, zeros, (jnp.arange(len(turns)) == 0, turns))
    return {
        "layers": OrderedDict(
            (name, dict(zip(("difference", "norm", "cosine"), found[i + 1], strict=True)))
            for i, name in enumerate(chosen)
        ),
        "gradient_evaluations": jnp.float32(len(turns)),
    }


def input_drift(
    loss: Loss, params: Any, updates: Any, *, layers: Sequence[str] = (), after: Loss | None = None
) -> dict[str, Any]:
    """Return how much the distribution of each layer's input changes in an update, on the same batch.

    A distribution is described by the mean and the standard deviation s of each unit (the last axis), over images and
    positions. It costs two forward passes.

    Args:
        loss, params, updates, layers: as for `internal_covariate_shift`.
        after: the loss after the update, of the same network and batch with other random numbers, so that noise which
            is drawn anew at every step belongs to the drift; None: `loss`.

    Returns:
        `layers`: by layer the root mean squares over units of `mean_shift`, the change of the mean as a multiple of s;
        `std_shift`, the change of s as a multiple of s; and `distance`, the square root of the sum of their squares,
        which for normal distributions is the 2-Wasserstein distance as a multiple of s. Units whose input is constant
        do not count; NaN if all are. `gradient_evaluations`: the cost, with a forward pass as a third of a gradient.

    Raises:
        InputError: as in `internal_covariate_shift`, or the input of a layer is not one floating array.
    """
    check_scalar(loss, params)
    check_updates(updates, params)
    modules = called_modules(loss, params)
    chosen = _choose(_with_parameters(modules, params), layers, params)
    for name in chosen:
        if modules[name].input is None:
            raise InputError(f"layers has {name!r}, whose input is not one floating array; leave it out.")
    taps = {name: Tap(_units, place="input") for name in chosen}

    def seen(loss: Loss, params: Any) -> dict[str, tuple[jax.Array, jax.Array]]:
        with_taps, zeros = tapped(loss, taps, modules)
        sums = jax.grad(with_taps, argnums=1)(params, zeros)
        return {name: _moments(forward) for name, (forward, _) in sums.items()}

    old, new = seen(loss, params), seen(after or loss, jax.tree.map(jnp.add, params, updates))
    return {
        "layers": OrderedDict((name, _drift(*old[name], *new[name])) for name in chosen),
        "gradient_evaluations": jnp.float32(2 / 3),
    }


class _Units(NamedTuple):
    """Sums over images and positions for each unit, as in `distribution.Sums`."""

    n: jax.Array
    calls: jax.Array
    sum: jax.Array
    mean_squares: jax.Array
    centred: jax.Array


def _units(x: jax.Array) -> _Units:
    x = x.astype(jnp.float32).reshape(-1, x.shape[-1])
    mean = jnp.mean(x, axis=0)
    n, calls = jnp.float32(len(x)), jnp.float32(1)
    return _Units(n, calls, len(x) * mean, len(x) * jnp.square(mean), jnp.sum(jnp.square(x - mean[None]), axis=0))


def _moments(sums: _Units) -> tuple[jax.Array, jax.Array]:
    """Return mean and standard deviation of each unit."""
    mean = sums.sum / sums.n
    between = jnp.where(sums.calls > 1, jnp.maximum(sums.mean_squares / sums.n - jnp.square(mean), 0), 0)
    return mean, jnp.sqrt(sums.centred / sums.n + between)


def _drift(mean: jax.Array, std: jax.Array, new_mean: jax.Array, new_std: jax.Array) -> dict[str, jax.Array]:
    varies = std > 0
    scale = jnp.where(varies, std, 1)

    def size(change: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.sum(jnp.square(change / scale), where=varies) / jnp.sum(varies))

    shifts = size(new_mean - mean), size(new_std - std)
    return {"mean_shift": shifts[0], "std_shift": shifts[1], "distance": jnp.hypot(*shifts)}


def _with_parameters(modules: Mapping[str, CalledModule], params: Any) -> dict[str, CalledModule]:
    """Return the modules that own some of the parameters, in the order of their calls."""
    found = {layer for layer, _ in owners(params)}
    result = {name: module for name, module in modules.items() if name in found}
    if not result:
        raise InputError(
            "no parameter belongs to a layer that the loss calls; params must be the network's collection 'params'."
        )
    return result


def _choose(modules: Mapping[str, CalledModule], layers: Sequence[str], params: Any) -> tuple[str, ...]:
    if layers:
        return select(modules, layers)
    ranks = [x.ndim for x in jax.tree.leaves(params)]
    kernels = {layer for (layer, _), rank in zip(owners(params), ranks, strict=True) if rank > 1}
    return tuple(name for name in modules if name in kernels) or tuple(modules)
