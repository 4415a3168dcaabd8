"""Matching of a file's arrays with those of a network."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.layers import Role, Shape, trace
from jaxcnn.models import ConvNet
from jaxcnn.runtime.errors import InputError
from jaxcnn.weights.file import WeightFile
from jaxcnn.weights.order import series
from jaxcnn.weights.slot import Slot, slots

Fate = Literal["used", "ambiguous", "mismatched", "missing", "unexpected", "left out", "re-initialized"]

_KERAS_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "running_mean": "running_mean",
    "moving_variance": "running_var",
    # Keras 1 keeps the variance under this name.
    "running_std": "running_var",
}
_KERAS_3_NORM = dict(zip("0123", ("weight", "bias", "running_mean", "running_var"), strict=True))


@dataclass(frozen=True)
class Pair:
    """An array of the file and one of the network, or either alone.

    Attributes:
        fate: used; ambiguous, if it fits several layers and neither the file nor the names determine which;
            mismatched, if shape or dtype do not fit; missing from the file; unexpected, if not in the network; left
            out, if not needed; re-initialized, if it replaces an array that was left out.
        source: name in the file, None if missing.
        source_shape: shape in the file.
        path: path in the network, `params/conv1_1/kernel`, None if unexpected or left out.
        shape: shape in the network.
        wanted: shape that the file should have.
        slot: place in foreign files; None in the jaxcnn layout.
    """

    fate: Fate
    source: str | None = None
    source_shape: Shape | None = None
    path: str | None = None
    shape: Shape | None = None
    wanted: Shape | None = None
    slot: Slot | None = None

    @property
    def layer(self) -> str | None:
        """Return the name of its layer in the network."""
        return self.path and "/".join(self.path.split("/")[1:-1])


def match(weights: WeightFile, model: nn.Module, shape: Shape) -> tuple[Pair, ...]:
    """Pair the arrays of a file with those of a network.

    Arrays in the jaxcnn layout are matched by name, and so are foreign ones with torchvision's names. Other foreign
    arrays are matched by order, whatever their names: the n-th convolution of the file with the n-th of the network,
    and likewise batch norms and dense layers. If only names determine the order, the names of layers of the same shape
    must differ only in their numbers.

    Args:
        weights: contents of the file.
        model: the network; a ConvNet for foreign layouts.
        shape: (height, width, channels) of its images.

    Returns:
        Pairs in the order of the network, followed by the arrays that only the file has.

    Raises:
        InputError: the file's layout has no place for a parameter of the network, or the network is not a ConvNet.
    """
    if weights.layout == "jaxcnn":
        return _by_name(weights.arrays, model, shape)
    if not isinstance(model, ConvNet):
        kind = type(model).__name__
        raise InputError(f"{kind} is not a jaxcnn.models.ConvNet; only arrays in the jaxcnn layout fit it.")
    arrays, want = weights.arrays, slots(trace(model.layers(), shape))
    layers = {module: tuple(group) for module, group in groupby(want, key=lambda slot: slot.module)}
    modules, left_out = _modules(weights)
    found: dict[str, Pair] = {}
    beyond: list[Pair] = []
    renamed = _torchvision_names(modules, layers)
    ambiguous = set() if weights.ordered or renamed is not None else _ambiguous(modules, arrays)
    for layer, module in _aligned(layers, modules if renamed is None else renamed, arrays, by_name=renamed is not None):
        names = dict(module)
        for slot in layer:
            name, wanted = names.pop(slot.array, None), slot.shape if weights.layout == "keras" else slot.torch_shape
            pair = _pair(name, arrays.get(name), slot.path, slot.shape, wanted, slot)
            is_ambiguous = pair.fate == "used" and name in ambiguous
            found[slot.path] = dataclasses.replace(pair, fate="ambiguous") if is_ambiguous else pair
        beyond += [Pair("unexpected", name, arrays[name].shape) for name in names.values()]
    return (*(found[slot.path] for slot in want), *beyond, *(Pair("left out", n, arrays[n].shape) for n in left_out))


def _by_name(arrays: Mapping[str, np.ndarray], model: nn.Module, shape: Shape) -> tuple[Pair, ...]:
    images = jnp.zeros((1, *shape))
    tree = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    ours = {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
    pairs = [_pair(path, arrays.get(path), path, shape, shape) for path, shape in ours.items()]
    return (*pairs, *(Pair("unexpected", name, arrays[name].shape) for name in arrays if name not in ours))


def _pair(
    name: str | None, array: np.ndarray | None, path: str, shape: Shape, wanted: Shape, slot: Slot | None = None
) -> Pair:
    if array is None:
        return Pair("missing", None, None, path, shape, wanted, slot)
    fate = "used" if array.shape == wanted and jnp.issubdtype(array.dtype, jnp.floating) else "mismatched"
    return Pair(fate, name, array.shape, path, shape, wanted, slot)


def _modules(weights: WeightFile) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the names of the file's arrays by module and role, in its order, and the names that no network needs."""
    modules: dict[str, dict[str, str]] = {}
    left_out: list[str] = []
    with_kernel = {name.rpartition("/")[0] for name, array in weights.arrays.items() if array.ndim > 1}
    for name, array in weights.arrays.items():
        module, _, role = name.rpartition("/" if weights.layout == "keras" else ".")
        # The latter is the random state of a dropout layer of Keras 3.
        if role == "num_batches_tracked" or "seed_generator" in name.split("/"):
            left_out.append(name)
            continue
        if weights.layout == "keras":
            # The names vary: the array with several axes is the kernel, and the vector beside it the bias.
            role = "weight" if array.ndim > 1 else "bias" if module in with_kernel else _keras_norm_role(role)
        modules.setdefault(module, {})[role] = name
    for module, names in modules.items():
        if weights.layout == "keras" and names.keys() == _KERAS_3_NORM.keys():
            modules[module] = {_KERAS_3_NORM[role]: name for role, name in names.items()}
    return modules, left_out


def _keras_norm_role(leaf: str) -> str:
    """Return PyTorch's `weight` for `gamma:0` and for Keras 1's `bn1_gamma_1:0`, and unknown names unchanged."""
    known = re.search(rf"({'|'.join(_KERAS_NORM)})(_\d+)?(:0)?$", leaf)
    return _KERAS_NORM[known[1]] if known else leaf


def _torchvision_names(
    modules: Mapping[str, dict[str, str]], layers: Mapping[str, tuple[Slot, ...]]
) -> dict[str, dict[str, str]] | None:
    """Return the file's modules by torchvision's names if, apart from the prefixes of wrappers, these are theirs.

    DataParallel adds `module.` to names, torch.compile adds `_orig_mod.`, and an enclosing network adds its field's
    name. Otherwise the result is None.
    """
    bare = {name: ".".join(p for p in name.split(".") if p not in ("module", "_orig_mod")) for name in modules}
    inner = {name: short.partition(".")[2] for name, short in bare.items()}
    outer = {short.partition(".")[0] for short in bare.values()}
    for renamed in ({name: name for name in modules}, bare, *([inner] if len(outer) == 1 else [])):
        if set(renamed.values()) <= layers.keys() and len(set(renamed.values())) == len(modules):
            return {short: modules[name] for name, short in renamed.items()}
    return None


def _ambiguous(modules: Mapping[str, dict[str, str]], arrays: Mapping[str, np.ndarray]) -> set[str]:
    """Return the arrays of layers of the same shape whose names do not determine their order."""
    alike: dict[Shape, list[str]] = {}
    for module, names in modules.items():
        alike.setdefault(max((arrays[name].shape for name in names.values()), key=len), []).append(module)
    ambiguous = [group for group in alike.values() if len({series(module) for module in group}) > 1]
    return {name for group in ambiguous for module in group for name in modules[module].values()}


def _aligned(
    layers: Mapping[str, tuple[Slot, ...]],
    modules: Mapping[str, dict[str, str]],
    arrays: Mapping[str, np.ndarray],
    *,
    by_name: bool,
) -> Iterator[tuple[Iterable[Slot], Mapping[str, str]]]:
    """Yield layers of the network with modules of the file, by name or by order within a kind."""
    if by_name:
        yield from ((layer, modules.get(name, {})) for name, layer in layers.items())
        return
    roles: dict[Role, list[Mapping[str, str]]] = {"conv": [], "norm": [], "dense": []}
    for module in modules.values():
        axes = arrays[module["weight"]].ndim if "weight" in module else 1
        roles[{4: "conv", 2: "dense"}.get(axes, "norm")].append(module)
    for role, theirs in roles.items():
        ours = [layer for layer in layers.values() if layer[0].role == role]
        yield from zip_longest(ours, theirs, fillvalue={})
