"""The gradient of each layer of a network, at its initial weights and during its training.

Layers are those with a kernel, in the order of the forward pass, without the output layer, whose gradient depends on
the number of classes. The gradient of a layer is the standard deviation, over images and units, of the gradient of the
loss with respect to its outputs before the activation (Glorot & Bengio 2010, section 4.2).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn import data
from jaxcnn.config import Data
from jaxcnn.objectives import Batch
from jaxcnn.probes import probe, read_history
from jaxcnn.sweep import Record


def first_batch(settings: Data, count: int) -> Batch:
    """Return the first training images, as the network receives them, and their labels."""
    train = data.load(settings, 0).train
    return {"image": data.make_preprocess(settings)(train.images[:count]), "label": train.labels[:count]}


def initial_gradients(
    model: nn.Module, batch: Batch, seeds: Sequence[int], *, layers: Sequence[str] = ()
) -> np.ndarray:
    """Return the gradients of the layers [seeds, layers] at the initial weights that each seed draws.

    Args:
        model: the network.
        batch: as from `first_batch`.
        seeds: seeds of the weights.
        layers: names of the layers; empty: all. With few of them the program compiles sooner.
    """

    read = jax.jit(lambda variables: deviations(probe(model, variables, batch, layers=layers)))
    return np.array([read(initial_variables(model, batch, seed)) for seed in seeds], np.float64)


def initial_variables(model: nn.Module, batch: Batch, seed: int) -> Any:
    """Return the variables that a seed draws; not jitted, because XLA compiles the random numbers of each layer."""
    return model.init(jax.random.key(np.uint32(seed)), batch["image"], train=False)


def gradients_over_training(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps [n] at which the probes of a run have read its gradients, and those of its layers [n, layers],
    each times the standard deviation of the layer's outputs.

    A norm after a layer divides the gradient by the deviation of the layer's outputs; the product does not depend on
    it, so that layers can be compared.
    """
    history = read_history(Path(record.workdir) / "probes.npz")
    readings = history.readings["gradients"]
    outputs = np.array(deviations(readings, "activations"), np.float64)
    return history.steps, (outputs * np.array(deviations(readings), np.float64)).T


def deviations(readings: Mapping[str, Any], what: str = "gradients") -> list[Any]:
    """Return the standard deviations of the gradients, or of the outputs (`activations`), of the layers."""
    found = [name for name in readings if "kernel" in readings[name].get("parameters", ()) and name != "output"]
    return [readings[name][what]["std"] for name in found]


def decades(gradients: np.ndarray) -> np.ndarray:
    """Return log10 of the gradient of the first layer divided by that of the last, from gradients [..., layers]: below
    0 it vanishes on its way to the first layer, above 0 it explodes. A gradient of 0 counts as the smallest normal
    float32."""
    logarithms = np.log10(np.maximum(gradients, np.finfo(np.float32).tiny))
    return logarithms[..., 0] - logarithms[..., -1]
