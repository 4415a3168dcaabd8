"""Readings of the layers of a network: activations, gradients, saturated and inactive units, weights."""

import difflib
import functools
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.layers import FUNCTIONS, ActivationName
from jaxcnn.objectives import Batch, CrossEntropy, Objective
from jaxcnn.probes.distribution import describe, measure, norms, sample
from jaxcnn.probes.losses import check_scalar, network_loss
from jaxcnn.probes.taps import ROOT, CalledModule, Tap, called_modules, tapped
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean

Readings = OrderedDict[str, dict[str, Any]]
"""Trees of small arrays by layer, in the order in which the forward pass calls the layers."""

SATURATED: Mapping[ActivationName, Callable[[jax.Array], jax.Array]] = {
    "tanh": lambda y: jnp.abs(y) > 0.95,
    "scaled_tanh": lambda y: jnp.abs(y) > 0.95 * 1.7159,
    "softsign": lambda y: jnp.abs(y) > 0.95,
    "sigmoid": lambda y: (y < 0.05) | (y > 0.95),
}
"""Whether a value of an activation is within a twentieth of a bound of the activation."""

DEAD_IMAGES = 1000
"""Images on which a unit must be inactive to be called dead."""


def tap_layers(
    loss: Callable[[Any], Any],
    params: Any,
    *,
    images: int = 1,
    layers: Sequence[str] = (),
    activations: Mapping[str, ActivationName] | None = None,
) -> tuple[Callable[[Any, Any], Any], OrderedDict[str, Any]]:
    """Return a loss with taps on layers, `with_taps(params, zeros) == loss(params)`, and `zeros`.

    The gradient with respect to `zeros`, for `layer_readings`, can be taken together with that of the parameters, by
    `jax.grad(with_taps, (0, 1))`, or without. The readings may be of any loss that applies linen modules; modules of
    the same path in several networks are one layer.

    Args:
        loss: function of the parameters; a result that is not only the loss needs `has_aux=True` in `jax.grad`.
        params: parameters, or their shapes.
        images: images of which the loss is the mean.
        layers, activations: as for `probe`.

    Raises:
        InputError: as in `probe`.
    """
    modules = called_modules(loss, params)
    known = _activations(modules, activations or {})
    taps = {
        name: Tap(
            functools.partial(_forward, known.get(name), modules[name].stateless),
            functools.partial(_backward, images),
        )
        for name in select(modules, layers, known)
    }
    return tapped(loss, taps, modules)


def stacked_readings(sums: Mapping[str, Any], params: Any, gradients: Any, updates: Any = None) -> dict[str, Any]:
    """Return the readings of layers in few arrays, because XLA compiles each array that a program returns.

    Args:
        sums: gradient with respect to the zeros of `tap_layers`.
        params, gradients: parameters, and the gradient with respect to them.
        updates: what the optimizer adds to the parameters; None: no update ratios.

    Returns:
        Arrays for `by_layer`.
    """
    own = [i for i, (layer, _) in enumerate(owners(params)) if layer in sums]
    trees = {"norm": params, "gradient_norm": gradients, "update_norm": updates}
    leaves = {name: [jax.tree.leaves(tree)[i] for i in own] for name, tree in trees.items() if tree is not None}
    forward, backward = zip(*sums.values(), strict=True)
    measured = [*(seen["values"] for seen in forward), *backward]
    if own:
        measured.append(measure(leaves["gradient_norm"]))
    return {
        "distributions": describe(jax.tree.map(lambda *parts: jnp.concatenate(parts), *measured)),
        "norms": {name: norms(arrays) for name, arrays in leaves.items() if own},
        "units": OrderedDict((name, _units(seen)) for name, (seen, _) in sums.items()),
    }


def by_layer(stacked: Mapping[str, Any], params: Any) -> Readings:
    """Return the readings by layer, as in `probe`.

    Args:
        stacked: result of `stacked_readings`, also as NumPy arrays.
        params: the parameters, or their shapes.
    """
    layers, readings = list(stacked["units"]), OrderedDict()

    def distribution(i: int) -> dict[str, Any]:
        return {name: values[i] for name, values in stacked["distributions"].items()}

    for i, name in enumerate(layers):
        readings[name] = {"activations": distribution(i), "gradients": distribution(len(layers) + i)}
        readings[name] |= stacked["units"][name]
    own = [(layer, name) for layer, name in owners(params) if layer in readings]
    for i, (layer, name) in enumerate(own):
        found = {key: values[i] for key, values in stacked["norms"].items()}
        if "update_norm" in found:
            found["update_ratio"] = found["update_norm"] / found["norm"]
        found["gradients"] = distribution(2 * len(layers) + i)
        readings[layer].setdefault("parameters", {})[name] = found
    return readings


def _units(seen: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return what is known of the units of a layer."""
    found = {key: seen[key] / jnp.sum(seen["values"].bins) for key in ("saturated", "sparsity") if key in seen}
    if "active" in seen:
        found |= {"active": seen["active"], "inactive": jnp.mean(seen["active"] == 0)}
    return found


def owners(params: Any) -> list[tuple[str, str]]:
    """Return the layer and the name of each parameter."""
    paths = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params))
    return [(layer or ROOT, name) for layer, _, name in (path.rpartition("/") for path in paths)]


def dead(readings: Sequence[Mapping[str, Any]], images: int) -> dict[str, float]:
    """Return the fraction of units that are inactive in all readings, for each layer of rectified units.

    Args:
        readings: readings of several batches, or of one.
        images: images of all these batches together.

    Raises:
        InputError: there are fewer than `DEAD_IMAGES` images, or no layer is known to be rectified.
    """
    if images < DEAD_IMAGES:
        raise InputError(
            f"images is {images}; a unit is called dead if it is inactive on at least {DEAD_IMAGES:,} images. Read "
            "more batches, or use `inactive`, which is about one batch."
        )
    active = {name: [r[name]["active"] for r in readings] for name in readings[0] if "active" in readings[0][name]}
    if not active:
        raise InputError("no layer is known to be rectified; name one, as in activations={'dense1': 'relu'}.")
    return {name: float(np.mean(np.sum(counts, axis=0) == 0)) for name, counts in active.items()}


def select(
    modules: Mapping[str, CalledModule], patterns: Sequence[str], known: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the names of the layers to read, in the order of their calls.

    Args:
        modules: result of `called_modules`.
        patterns: names, or patterns as of file names; without any, modules with parameters of their own and those of
            which the activation is known, provided that they give one floating array.
        known: names of modules whose activation is known.

    Raises:
        InputError: a pattern matches nothing, or a layer that gives something else; or nothing is left.
    """
    if not patterns:
        names = [name for name, module in modules.items() if module.output and (module.parameters or name in known)]
        if not names:
            raise InputError("the network has no layer with parameters or a known activation; name some in layers.")
        return tuple(names)
    chosen = set()
    for pattern in patterns:
        matching = {name for name in modules if fnmatchcase(name, pattern)}
        if not matching:
            raise InputError(f"layers has {pattern!r}, which matches no layer.{_near(pattern, modules)}")
        usable = {name for name in matching if modules[name].output}
        if not usable:
            raise InputError(
                f"layers has {pattern!r}, but the output of {min(matching)} is not one floating array, so that it "
                "cannot be read; name layers inside it."
            )
        chosen |= usable
    return tuple(name for name in modules if name in chosen)


def _near(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the names that are close, or else the first ones."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    names = list(known)
    return f" There are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}."


def _activations(modules: Mapping[str, CalledModule], named: Mapping[str, ActivationName]) -> dict[str, ActivationName]:
    for name, function in named.items():
        if name not in modules:
            raise InputError(f"activations has {name!r}, which is no layer.{_near(name, modules)}")
        if function not in FUNCTIONS:
            raise InputError(
                f"activations has {function!r} for {name}; it must be one of {', '.join(FUNCTIONS)}."
                f"{did_you_mean(function, FUNCTIONS)}"
            )
    return {name: module.activation for name, module in modules.items() if module.activation} | dict(named)


def _forward(activation: ActivationName | None, is_activation: bool, x: jax.Array) -> dict[str, Any]:
    sums: dict[str, Any] = {"values": measure([x])}
    if activation is None:
        return sums
    apply = (lambda x: x) if is_activation else FUNCTIONS[activation]
    some = apply(sample(x))
    if activation != "relu":
        return sums | {"saturated": jnp.sum(SATURATED[activation](some), dtype=jnp.float32)}
    # An output that is rectified later is positive where the activation is.
    largest = jnp.max(jnp.max(x, axis=0).reshape(-1, x.shape[-1]), axis=0)
    return sums | {"active": (largest > 0).astype(jnp.float32), "sparsity": jnp.sum(some == 0, dtype=jnp.float32)}


def _backward(images: int, gradient: jax.Array) -> dict[str, Any]:
    return measure([gradient], images)


def probe(
    model: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    *,
    objective: Objective = CrossEntropy(),
    key: jax.Array | None = None,
    updates: Any = None,
    layers: Sequence[str] = (),
    activations: Mapping[str, ActivationName] | None = None,
) -> Readings:
    loss, params = network_loss(model, variables, batch, objective=objective, key=key), variables.get("params", {})
    check_scalar(loss, params)
    images = len(batch["image"])
    with_taps, zeros = tap_layers(loss, params, images=images, layers=layers, activations=activations)
    gradients, sums = jax.grad(with_taps, (0, 1))(params, zeros)
    return by_layer(stacked_readings(sums, params, gradients, updates), params)
