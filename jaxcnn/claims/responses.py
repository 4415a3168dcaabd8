"""Responses of a trained network around its local response normalizations, and how far these act.

A normalization divides a response a by (k + alpha S)^beta, where S is the sum of squares over a window of channels.
Its *share* is r = alpha S / (k + alpha S), the part of the sum that depends on the image. With r near 0 the
normalization is a division by the constant k^beta, which is 1.68 for the paper's k = 2 and beta = 3/4.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.claims.study import Record
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.models import Chain
from jaxcnn.models.convnet import ConvNet
from jaxcnn.runs.selection import select

ALPHA = 0.4
"""An alpha with which the normalization acts on pixels of unit deviation: to them it is what the paper's 1e-4 is to
pixels in 0..255. The deviation of CIFAR-10's pixels is 63 of 255, and multiplying all responses by 63 is the same as
multiplying alpha by 63^2."""


class Responses(NamedTuple):
    """Responses before and after one local response normalization, [n, height, width, channels] each."""

    norm: LocalResponseNorm
    before: np.ndarray
    after: np.ndarray

    def share(self) -> float:
        """Return the mean of r over all units, weighted with the squared response after the normalization, so that
        1 - 2 beta r is the contrast gain of the root mean square response; 0 if nothing responds."""
        weights = np.square(self.after, dtype=np.float64)
        return float(np.sum(weights * shares(self.before, self.norm)) / (np.sum(weights) or 1.0))


class Trained:
    """The network of a finished run that kept its checkpoint, and the first of its test images.

    Attributes:
        images: as the network receives them, [n, height, width, channels].
    """

    def __init__(self, record: Record, count: int) -> None:
        experiment = record.experiment
        self._model, self._variables = experiment.model, select(record.workdir).variables
        images = data.load(experiment.data, experiment.seed).test.images[:count]
        self.images = np.asarray(data.make_preprocess(experiment.data)(images))

    def responses(self, contrast: float = 1.0) -> list[Responses]:
        """Return the responses around every local response normalization, from the input on, to the images multiplied
        by a factor."""
        found = jax.device_get(_forward(self._model)(self._variables, np.float32(contrast) * self.images))
        return [Responses(norm, *found[norm.name]) for norm in _norms(self._model)]


def shares(responses: np.ndarray, norm: LocalResponseNorm) -> np.ndarray:
    """Return r = alpha S / (k + alpha S) for every unit, from the responses before the normalization.

    Args:
        responses: [..., channels].
        norm: its constants; with `alpha_mode` mean, alpha is divided by the size of the window.
    """
    below, above = norm.size // 2, (norm.size - 1) // 2
    squares = np.square(responses, dtype=np.float64)
    padded = np.pad(squares, [(0, 0)] * (squares.ndim - 1) + [(below, above)])
    windowed = sum(padded[..., i : i + squares.shape[-1]] for i in range(norm.size))
    scaled = (norm.alpha if norm.alpha_mode == "sum" else norm.alpha / norm.size) * windowed
    return scaled / (norm.k + scaled)


def layer_shares(record: Record, count: int = 200) -> list[float]:
    """Return the share of every local response normalization of a run, for that many test images."""
    return [responses.share() for responses in Trained(record, count).responses()]


def _norms(model: ConvNet) -> list[LocalResponseNorm]:
    return [layer for layer in model.layers() if isinstance(layer, LocalResponseNorm)]


@lru_cache(maxsize=8)
def _forward(model: ConvNet) -> Callable[[dict[str, Any], jax.Array], dict[str, tuple[jax.Array, jax.Array]]]:
    """Return a function from variables and images to the input and the output of every normalization, by name."""
    names = {norm.name for norm in _norms(model)}

    def forward(variables: dict[str, Any], x: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        found = {}
        for layer in model.layers():
            before, x = x, Chain((layer,)).apply(variables, x, train=False)
            if layer.name in names:
                found[layer.name] = (before, x)
        return found

    return jax.jit(forward)
