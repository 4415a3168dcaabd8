"""Keras' weight files: .h5, .weights.h5, .keras."""

import contextlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.weights.order import by_series, natural

DEFAULT_EPSILON = 1e-3
"""The epsilon that Keras' BatchNormalization adds to the variance by default (since Keras 1.1)."""


@dataclass(frozen=True)
class KerasFile:
    """The contents of a Keras file.

    Attributes:
        arrays: arrays by their path in the file, layer by layer; kernels are [height, width, in, out], for correlation.
        ordered: whether the file itself records the order of its layers; otherwise only their names can determine it.
        epsilon: epsilon that the batch norms add to the running variance.
    """

    arrays: Mapping[str, np.ndarray]
    ordered: bool
    epsilon: float


def read_keras(path: Path) -> KerasFile:
    """Read the arrays of a Keras file, without those of the optimizer.

    Three forms are read: weights and whole models of Keras 1 and 2 (`block1_conv1/block1_conv1/kernel:0`), whose
    attributes record the order of layers and arrays; the same without attributes; and files of Keras 3
    (`layers/conv2d_1/vars/0`), alone or in a .keras archive.

    Theano's convolution flips the kernel, so Keras flips the kernels of a file with `backend: theano` when TensorFlow
    loads it, and so does this function. A file of weights alone does not record the order of the inputs of its first
    dense layer; it is read as Keras reads it, height first.

    Raises:
        InputError: Keras before 1.0 wrote the file; its kernels are in Theano's order; its model flattens maps with the
            channels first; or its batch norms have several epsilons.
        Exception: of many kinds, if the file is damaged.
    """
    import h5py

    with contextlib.ExitStack() as stack:
        if path.suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            config = archive.read("config.json") if "config.json" in archive.namelist() else "{}"
            file = stack.enter_context(h5py.File(stack.enter_context(archive.open("model.weights.h5")), "r"))
        else:
            file = stack.enter_context(h5py.File(path, "r"))
            config = file.attrs.get("model_config", "{}")
        if "nb_layers" in file.attrs:
            raise InputError(
                f"{path} was written by Keras before 1.0 (layer_0/param_0), which is not supported; load it with that "
                "version of Keras and copy the weights into a model of Keras 2 or 3."
            )
        arrays, ordered = _arrays(file)
        backend = _root(file).attrs.get("backend", file.attrs.get("backend", ""))
    layers = list(_layers(json.loads(config)))
    _check_axes(path, arrays, layers)
    if _text(backend) == "theano":
        arrays = {name: array[::-1, ::-1] if array.ndim == 4 else array for name, array in arrays.items()}
    return KerasFile(arrays, ordered, _epsilon(path, layers))


def _arrays(file: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Return arrays by path, and whether they are in the order of the network's layers."""
    import h5py

    root = _root(file)
    names = _list(root, "layer_names")
    if names is None:
        arrays: dict[str, np.ndarray] = {}

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not re.match(r"optimizer|[a-z_]*metrics/", name):
                arrays[name] = item[()]

        file.visititems(take)
        return {name: arrays[name] for name in sorted(arrays, key=natural)}, False
    found, ordered, prefix = {}, True, root.name.strip("/")
    for layer in filter(root.__contains__, names):
        inner = _list(root[layer], "weight_names") or []
        if len({name.rpartition("/")[0] for name in inner}) > 1:
            # Inside a nested model, Keras lists frozen weights after trained ones.
            inner, ordered = by_series(inner), False
        found |= {"/".join(filter(None, (prefix, layer, name))): root[layer][name][()] for name in inner}
    return found, ordered


def _root(file: Any) -> Any:
    """Return the group with the layers of Keras 1 and 2; in a whole model it is beside the optimizer's."""
    return file.get("model_weights", file)


def _list(group: Any, name: str) -> list[str] | None:
    """Return an attribute that is a list of strings; Keras splits a long one into `name0`, `name1`, ..."""
    if name in group.attrs:
        return [_text(value) for value in group.attrs[name]]
    parts = takewhile(lambda key: key in group.attrs, (f"{name}{number}" for number in count()))
    return [_text(value) for part in parts for value in group.attrs[part]] or None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _layers(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the class and settings of every layer in a model's JSON, at any depth."""
    if isinstance(config, dict):
        settings = config.get("config")
        if isinstance(settings, dict) and isinstance(config.get("class_name"), str):
            yield config["class_name"], settings
    if isinstance(config, dict | list):
        for value in config.values() if isinstance(config, dict) else config:
            yield from _layers(value)


def _check_axes(path: Path, arrays: Mapping[str, np.ndarray], layers: list[tuple[str, Mapping[str, Any]]]) -> None:
    advice = "load it into a model with Keras' TensorFlow backend and save that"
    if "th_kernels" in path.name:
        raise InputError(
            f"{path} has kernels flipped for Theano, according to its name; use the file with tf_kernels in its name, "
            f"or {advice}."
        )
    modules: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        modules.setdefault(name.rpartition("/")[0], []).append(array)
    for name, inside in modules.items():
        biases = {len(array) for array in inside if array.ndim == 1}
        for kernel in (array for array in inside if array.ndim == 4):
            if kernel.shape[0] in biases and kernel.shape[3] not in biases:
                raise InputError(
                    f"{path} has Theano's order of axes: the kernel of {name} is {kernel.shape}, [out, in, height, "
                    f"width]. Use a file with tf_dim_ordering_tf_kernels in its name, or {advice}."
                )
    first = any(s.get("data_format") == "channels_first" and "kernel_size" in s for _, s in layers)
    if first and any(c == "Flatten" and s.get("data_format") != "channels_first" for c, s in layers):
        raise InputError(
            f"{path} flattens maps with the channels first (data_format channels_first); {advice} with data_format "
            "channels_last."
        )


def _epsilon(path: Path, layers: list[tuple[str, Mapping[str, Any]]]) -> float:
    norms = [settings for name, settings in layers if name.startswith("BatchNormalization")]
    found = {float(settings.get("epsilon", DEFAULT_EPSILON)) for settings in norms} or {DEFAULT_EPSILON}
    if len(found) > 1:
        raise InputError(f"{path} has batch norms with epsilon {sorted(found)}; a jaxcnn network has one for all.")
    return found.pop()
