"""What the probes of one network recorded during training, as the report reads it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.probes.history import History
from jaxcnn.probes.layer_readings import DEAD_IMAGES, dead

_ARRAYS = ("histogram", "active")
"""Readings that are arrays for each step, which probe.json leaves out; probes.npz has them."""


@dataclass(frozen=True)
class Record:
    """Readings of one network over some updates.

    Attributes:
        label: name of the network on the page.
        changes: fields of the experiment that differ from the first network on the page, by dotted path.
        history: the readings, at least one.
        losses: training loss of every update, the first that of update `history.steps[0]`.
        images: images in a batch.
        units: values in the output of each layer for one image.
        diverged: what was not finite and when; None if training went well.
    """

    label: str
    changes: Mapping[str, Any]
    history: History
    losses: np.ndarray
    images: int
    units: Mapping[str, int]
    diverged: str | None = None

    @property
    def steps(self) -> np.ndarray:
        """Number of updates before each reading, [n]."""
        return self.history.steps

    @property
    def layers(self) -> Mapping[str, dict[str, Any]]:
        """Readings of the instrument `gradients` by layer; empty without it."""
        return self.history.readings.get("gradients", {})

    @property
    def weighted(self) -> list[str]:
        """Names of the layers with a kernel, from the input to the output; of all layers if none has one."""
        layers = self.layers
        return [name for name in layers if "kernel" in layers[name].get("parameters", ())] or list(layers)

    def gradient_norms(self) -> np.ndarray:
        """Return the norm of the gradient of an image with respect to the output of each layer of `weighted`,
        [layers, n].

        It is the standard deviation times the root of the number of values of the layer: where a layer spreads the
        gradient over more positions, the deviation falls although nothing is lost.
        """
        layers = self.layers
        norms = [layers[name]["gradients"]["std"] * math.sqrt(self.units.get(name, 1)) for name in self.weighted]
        return np.asarray(norms, np.float64)

    def decay(self) -> np.ndarray:
        """Return the base 10 logarithm of the first layer's gradient norm divided by the last layer's, [n]."""
        norms = self.gradient_norms()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(norms[0] / norms[-1])

    def by_layer(self, reading: str) -> dict[str, np.ndarray]:
        """Return a reading of the layers that have it, by layer."""
        layers = self.layers
        return {name: np.asarray(layers[name][reading]) for name in layers if reading in layers[name]}

    def update_ratios(self) -> dict[str, np.ndarray]:
        """Return the norm of an update divided by that of the kernel, by layer with a kernel, [n]."""
        kernels = {name: self.layers[name].get("parameters", {}).get("kernel", {}) for name in self.layers}
        return {name: kernel["update_ratio"] for name, kernel in kernels.items() if "update_ratio" in kernel}

    def dead_units(self) -> tuple[dict[str, float], int]:
        """Return by layer the fraction of units without an output above 0 in the newest readings, and their images.

        The readings have 1,000 images together, as a dead unit needs, or fewer if there are not as many.
        """
        count = min(len(self.steps), math.ceil(DEAD_IMAGES / self.images))
        newest = [readings["gradients"] for _, readings in self.history.until(math.inf)[-count:]]
        if not any("active" in newest[0][name] for name in newest[0]):
            return {}, 0
        return dead(newest, max(DEAD_IMAGES, count * self.images)), count * self.images

    def to_json(self) -> dict[str, Any]:
        """Return the record in JSON types, with None for numbers that are not finite, without histograms and units."""
        readings = {name: _json(value) for name, value in self.history.readings.items()}
        for name, units in self.units.items():
            if name in self.layers:
                readings["gradients"][name]["values_per_image"] = units
        return {
            "label": self.label,
            "changes": _json(self.changes),
            "diverged": self.diverged,
            "images_per_batch": self.images,
            "steps": self.steps.tolist(),
            "losses": _json(self.losses),
            "readings": readings,
        }


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items() if key not in _ARRAYS}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
