"""Readings of the layers of a network: activations, gradients, saturated and inactive units, weights."""

import difflib
import functools
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.layers import FUNCTIONS, ActivationName
from jaxcnn.objectives import Batch, CrossEntropy, Objective
from jaxcnn.probes.distribution import describe, measure, norms, sample
from jaxcnn.probes.losses import check_scalar, check_updates, network_loss
from jaxcnn.probes.taps import ROOT, CalledModule, Tap, called_modules, owners, tapped
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Readings(Mapping[str, dict[str, Any]]):
    """Readings by layer, in the order of their first calls: `readings["conv1"]["gradients"]["std"]`, see `probe`.

    As a tree it has few arrays, because XLA compiles each array that a program returns. Arrays may have further axes in
    front, from `jax.vmap` or from stacking the readings of several steps.

    Attributes:
        distributions: what `distribution.describe` returns, [..., k]: of the outputs of all layers, of the gradients
            with respect to them, and of the gradients of all parameters.
        units: by layer, what is known of its units.
        sizes: `norm`, `update_norm` and `update_ratio` of all parameters.
        owners: layer and name of each parameter.
    """

    distributions: dict[str, jax.Array]
    units: OrderedDict[str, dict[str, jax.Array]]
    sizes: dict[str, jax.Array]
    owners: tuple[tuple[str, str], ...] = field(metadata={"static": True})

    def __getitem__(self, layer: str) -> dict[str, Any]:
        known = self.units[layer]
        place = list(self.units).index(layer)
        found = {"activations": self._distribution(place), "gradients": self._distribution(len(self) + place), **known}
        own = {name: self._parameter(i) for i, (owner, name) in enumerate(self.owners) if owner == layer}
        return found | ({"parameters": own} if own else {})

    def __contains__(self, layer: object) -> bool:
        return layer in self.units

    def __iter__(self) -> Iterator[str]:
        return iter(self.units)

    def __len__(self) -> int:
        return len(self.units)

    def _distribution(self, i: int) -> dict[str, Any]:
        """Return the distribution at a place; its histogram has an axis of its own, the last."""
        return {key: x[..., i, :] if key == "histogram" else x[..., i] for key, x in self.distributions.items()}

    def _parameter(self, i: int) -> dict[str, Any]:
        sizes = {name: each[..., i] for name, each in self.sizes.items()}
        return sizes | {"gradients": self._distribution(2 * len(self) + i)}


SATURATED: Mapping[ActivationName, Callable[[jax.Array], jax.Array]] = {
    "tanh": lambda y: jnp.abs(y) > 0.95,
    "scaled_tanh": lambda y: jnp.abs(y) > 0.95 * 1.7159,
    "softsign": lambda y: jnp.abs(y) > 0.95,
    "sigmoid": lambda y: (y < 0.05) | (y > 0.95),
}
"""Whether a value of an activation is within a twentieth of a bound of the activation."""

DEAD_IMAGES = 1000
"""Images on which a unit must be inactive to be called dead."""


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
    """Return the readings of each layer of a network on a batch, from one forward and one backward pass.

    It is a pure function: it can be jitted, mapped by `jax.vmap` and given a batch that is sharded over devices. Layers
    under `nn.remat`, `nn.scan`, `nn.vmap` and in `nn.RNN` are read, and so is a layer that is called several times,
    over all its calls. `nn.jit` inside the network is refused, because it runs equal layers without calling them.

    Args:
        model: any linen module. It is called with `train=True` if its `__call__` has this argument.
        variables: its variables.
        batch: `image`, preprocessed, and the streams that the objective needs, usually `label`.
        objective: an objective, or a function with the arguments and results of its `__call__`.
        key: random key of dropout; None: `jax.random.key(0)`.
        updates: what the optimizer adds to the parameters; None: readings have no update ratios.
        layers: names of layers (`conv1`, `res1/conv1`) or patterns as of file names (`conv*`). Empty: layers with
            parameters and those that are activations, of which the output is one floating array.
        activations: by name of a layer, the activation that the network applies to its output by a plain function. A
            layer without variables is taken to be the activation itself. Activations of `jaxcnn.layers` are known.

    Returns:
        A mapping and a tree of arrays: by layer, in the order of their first calls, a dict of float32 scalars and small
        arrays:

        - `activations`, of the layer's output: a dict of `mean` and `std`; `low` and `high`, the 2nd and the 98th
          percentile of at most 65,536 values; `histogram` [257], their number in each bin of `EDGES`.
        - `gradients`, the same of the gradient of the loss with respect to the output (for a layer with weights: the
          pre-activation), times the number of images: of the loss of one image, if the loss is a mean.
        - `saturated`, fraction of the same values that are within a twentieth of a bound of the activation; only where
          the activation is known to be tanh, scaled_tanh, sigmoid or softsign.
        - `inactive`, fraction of units (the last axis) whose output is 0 for all images and positions; `active`
          [units], 0 for these units and otherwise the number of calls with an output above 0; `sparsity`, fraction of
          outputs that are 0; only where the activation is known to be relu. For dead units see `dead`.
        - `parameters`, by name of a parameter: `norm`; `gradients`, the distribution of its gradient (not multiplied);
          with `updates` also `update_norm` and `update_ratio`, the quotient of `update_norm` and `norm`; only of layers
          with parameters of their own.

    Raises:
        InputError: the loss is not one scalar, a layer or an activation does not exist, no layer can be read,
            parameters are used by no layer, or variables, batch or updates lack something.
    """
    params = variables.get("params", {})
    loss = network_loss(model, variables, batch, objective=objective, key=key)
    check_scalar(loss, params)
    if updates is not None:
        check_updates(updates, params)
    with_taps, zeros = tap_layers(loss, params, images=len(batch["image"]), layers=layers, activations=activations)
    gradients, sums = jax.grad(with_taps, (0, 1))(params, zeros)
    return layer_readings(sums, params, gradients, updates)


def tap_layers(
    loss: Callable[[Any], Any],
    params: Any,
    *,
    images: int = 1,
    layers: Sequence[str] = (),
    activations: Mapping[str, ActivationName] | None = None,
) -> tuple[Callable[[Any, Any], Any], OrderedDict[str, Any]]:
    """Return a loss with taps on layers, `with_taps(params, zeros) == loss(params)`, and `zeros`.

    The gradient with respect to `zeros` is for `layer_readings`; `jax.grad(with_taps, (0, 1))` computes it together
    with that of the parameters. The loss may apply any linen modules; those of the same path in several networks are
    one layer.

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


def layer_readings(sums: Mapping[str, Any], params: Any, gradients: Any, updates: Any = None) -> Readings:
    """Return the readings of layers, as `probe`.

    Args:
        sums: gradient with respect to the zeros of `tap_layers`.
        params, gradients: parameters, and the gradient with respect to them.
        updates: what the optimizer adds to the parameters; None: no update ratios.
    """
    owned = [i for i, (layer, _) in enumerate(owners(params)) if layer in sums]
    weights, slopes = ([jax.tree.leaves(tree)[i] for i in owned] for tree in (params, gradients))
    forward, backward = zip(*sums.values(), strict=True)
    measured = [*(seen["values"] for seen in forward), *backward]
    sizes = {}
    if owned:
        measured.append(measure(slopes))
        sizes["norm"] = norms(weights)
    if owned and updates is not None:
        changes = norms([jax.tree.leaves(updates)[i] for i in owned])
        sizes |= {"update_norm": changes, "update_ratio": changes / sizes["norm"]}
    return Readings(
        distributions=describe(jax.tree.map(lambda *parts: jnp.concatenate(parts), *measured)),
        units=OrderedDict((name, _units(seen)) for name, (seen, _) in sums.items()),
        sizes=sizes,
        owners=tuple(owners(params)[i] for i in owned),
    )


def _units(seen: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return what is known of the units of a layer."""
    found = {key: seen[key] / seen["values"].sampled[0] for key in ("saturated", "sparsity") if key in seen}
    if "active" in seen:
        found |= {"active": seen["active"], "inactive": jnp.mean(seen["active"] == 0)}
    return found


def first_to_last(readings: Mapping[str, Any]) -> jax.Array:
    """Return the base 10 logarithm of the quotient of two standard deviations: of the gradient with respect to the
    output of the first layer with a kernel, and of the last.

    Below 0 the gradient vanishes towards the first layer, above 0 it explodes; -infinity if nothing arrives there.
    Without kernels the first and the last of all layers are taken.

    Args:
        readings: as from `probe`.
    """
    weighted = [name for name in readings if "kernel" in readings[name].get("parameters", ())]
    names = weighted or list(readings)
    first, last = (jnp.log10(readings[names[i]]["gradients"]["std"]) for i in (0, -1))
    return first - last


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
    if isinstance(patterns, str):
        raise InputError(f"layers is {patterns!r}; it must be a sequence of names, as in [{patterns!r}].")
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
    # The network as a whole helps no one who looks for a layer.
    names = [each for each in known if each != ROOT] or [ROOT]
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
