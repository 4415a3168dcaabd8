"""What a trained network computes from images: features of its last layers, and moments of every layer."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import data
from jaxcnn.probes.penultimate import last_layer
from jaxcnn.probes.taps import ROOT, called_modules, listening
from jaxcnn.runs.selection import Choice, select
from jaxcnn.runs.workdir import load_saved, other_code
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.detectors.gaussians import Moments

INPUT = "input"
"""Name of the preprocessed image among the layers."""


def _identity(images: jax.Array) -> jax.Array:
    return images


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network that reads stored images.

    Attributes:
        model: any linen module with `__call__(x, *, train)`.
        variables: its variables.
        preprocess: function from stored images to network input.
        crop: side of the central square that the network reads; None: the whole image.
        step: step of the weights in their run; None if they come from none.
    """

    model: nn.Module
    variables: Mapping[str, Any]
    preprocess: Callable[[jax.Array], jax.Array] = _identity
    crop: int | None = None
    step: int | None = None


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network computes from images, one row an image.

    Attributes:
        images: the images as stored, [n, height, width, channels].
        features: input of the last layer, flattened, float32 [n, d]: the penultimate features.
        log_probabilities: of the classes, float32 [n, classes].
        layers: moments of the input and of the output of every layer with parameters, in the order of their calls.
        labels: int [n]; None if they are unknown.
    """

    images: Any
    features: np.ndarray
    log_probabilities: np.ndarray
    layers: Mapping[str, Moments] = field(default_factory=dict)
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def predictions(self) -> np.ndarray:
        """The most probable class of each image, int [n]."""
        return self.log_probabilities.argmax(axis=-1)

    def take(self, rows: np.ndarray) -> "Outputs":
        """Return the outputs of some images."""
        return Outputs(
            np.asarray(self.images)[rows],
            self.features[rows],
            self.log_probabilities[rows],
            {name: Moments(*(x[rows] for x in moments)) for name, moments in self.layers.items()},
            None if self.labels is None else self.labels[rows],
        )


def load_network(run: str | Path, *, checkpoint: Choice = "last") -> Network:
    """Return the network of a run as it is evaluated.

    Warn if the network's code has changed since the run and the run has no copy of it, or if an older checkpoint is
    read because newer ones are damaged.

    Args:
        run: folder of a run with a checkpoint.
        checkpoint: `last`, `best` or a step.

    Raises:
        InputError: the folder is not a run folder, or has no such checkpoint.
    """
    experiment, selection = load_saved(run), select(run, checkpoint)
    skipped = f"{run}: the weights are those of {selection}" if selection.damaged else None
    for text in filter(None, (other_code(run, experiment), skipped)):
        warnings.warn(text, stacklevel=2)
    preprocess = data.make_preprocess(experiment.data)
    return Network(experiment.model, selection.variables, preprocess, experiment.augment.crop, selection.step)


@fixed_settings()
def read(
    network: Network,
    images: Any,
    labels: Any = None,
    *,
    batch_size: int = 500,
    poll: Callable[[], None] = lambda: None,
) -> Outputs:
    """Compute what a network computes from images, with the statistics of training and without dropout.

    Args:
        network: the network.
        images: as stored, [n, height, width, channels]: uint8, or float in the scale of the training images.
        labels: int [n], from 0, or None.
        batch_size: images that are computed at once.
        poll: called before every batch; may raise to stop.

    Raises:
        InputError: there are no images, their shape does not fit the network, pixels are not finite, or a label is not
            a class of the network.
    """
    _check_images(images, labels)
    try:
        forward = _forward(network.model, network.preprocess, network.crop)
    except TypeError:
        # A field of the network is not hashable.
        forward = _forward.__wrapped__(network.model, network.preprocess, network.crop)
    split = data.Split(images, np.zeros(len(images), np.int32))
    found = []
    for batch in data.eval_batches(split, batch_size):
        poll()
        try:
            outputs = jax.device_get(forward(network.variables, batch["image"]))
        except flax.errors.ScopeParamShapeError:
            height, width, channels = images.shape[1:]
            raise InputError(
                f"images are {height}x{width}x{channels}; the network was trained on images of another shape. Resize "
                "or pad them to that shape."
            ) from None
        mask = np.asarray(batch["mask"])
        found.append(jax.tree.map(lambda x, mask=mask: x[mask], outputs))
    features, log_probabilities, layers = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    classes = log_probabilities.shape[1]
    if labels is not None and (outside := np.asarray(labels)[np.asarray(labels) >= classes]).size:
        raise InputError(
            f"labels go up to {outside.max()}; the network has the classes 0 to {classes - 1}. Leave out the images of "
            "other classes, or renumber the labels."
        )
    return Outputs(images, features, log_probabilities, dict(layers), None if labels is None else np.asarray(labels))


def _check_images(images: Any, labels: Any) -> None:
    shape = np.shape(images)
    if len(shape) != 4 or not shape[0]:
        raise InputError(f"images have shape {shape}; they must be [n, height, width, channels] with n of 1 or more.")
    if np.issubdtype(images.dtype, np.floating):
        broken = int((~np.isfinite(np.asarray(images))).any(axis=(1, 2, 3)).sum())
        if broken:
            raise InputError(f"{broken} of {shape[0]} images have pixels that are NaN or infinite. Remove them.")
    if labels is None:
        return
    labels = np.asarray(labels)
    if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise InputError(
            f"labels have shape {labels.shape} and type {labels.dtype}; they must be {shape[0]} integers from 0, one "
            "for each image."
        )


class _Layers(NamedTuple):
    """Names of the layers that are read, and the name of the last layer, whose input is the penultimate features."""

    read: tuple[str, ...]
    last: str


@lru_cache(maxsize=8)
def _forward(
    model: nn.Module, preprocess: Callable[[jax.Array], jax.Array], crop: int | None
) -> Callable[[Mapping[str, Any], jax.Array], tuple[jax.Array, jax.Array, OrderedDict[str, Moments]]]:
    """Return a function from variables and stored images to features, log probabilities, and moments by layer."""

    def forward(variables: Mapping[str, Any], images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        x, features = preprocess(data.center_crop(images, crop)), None

        def apply(params: Any) -> jax.Array:
            return model.apply({**variables, "params": params}, x, train=False)

        params = variables.get("params", {})
        layers, moments = _layers(apply, params), OrderedDict({INPUT: _moments(x)})

        def note(name: str, module: nn.Module, x: Any, call: Callable[[Any], Any]) -> Any:
            nonlocal features
            y = call(x)
            if name in layers.read:
                # Of a layer that is called several times, the first call.
                moments.setdefault(name, _moments(y))
            if name == layers.last:
                features = x.reshape(len(x), -1).astype(jnp.float32)
            return y

        with listening(note, set()):
            logits = apply(params)
        return features, jax.nn.log_softmax(logits.astype(jnp.float32)), moments

    return jax.jit(forward)


def _layers(apply: Callable[[Any], jax.Array], params: Any) -> _Layers:
    modules = {name: module for name, module in called_modules(apply, params).items() if name != ROOT}
    measured = tuple(name for name, each in modules.items() if each.parameters and each.output is not None)
    return _Layers(measured, last_layer(modules))


def _moments(x: jax.Array) -> Moments:
    """Return mean and mean square of each unit (the last axis) over positions, for each image."""
    x = x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1])
    return Moments(jnp.mean(x, axis=1), jnp.mean(jnp.square(x), axis=1))
