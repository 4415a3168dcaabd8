"""Instruments that read a training step, within the program of that step."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.config import Instrument, Probes
from jaxcnn.objectives import Batch
from jaxcnn.probes.covariate_shift import input_drift, internal_covariate_shift
from jaxcnn.probes.landscape import gradient_step, hessian_eigenvalue, loss_along_step
from jaxcnn.probes.layer_readings import layer_readings, tap_layers
from jaxcnn.probes.recurrence import through_time
from jaxcnn.training.state import IMPLEMENTATION, TrainState


@dataclass(frozen=True)
class Instruments:
    """Readings for `make_train_step`: `make_train_step(model, optimizer, readings=i, tap=i.tap)`.

    Instruments with equal settings are equal, so that runs share compiled programs.

    Attributes:
        settings: which instruments, and their options; `every` is not used.
    """

    settings: Probes

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dataclasses.replace(self.settings, every=None))

    def tap(self, loss: Callable[[Any], Any], params: Any, batch: Batch) -> tuple[Callable[[Any, Any], Any], Any]:
        """Return the loss with taps on layers, and their zeros; without the instrument `gradients`, without taps."""
        if "gradients" not in self.settings.instruments:
            return lambda params, zeros: loss(params), ()
        named = dict(each.split("=", 1) for each in self.settings.activations)
        options = {"layers": self.settings.layers, "activations": named}
        return tap_layers(loss, params, images=len(batch["image"]), **options)

    def __call__(
        self,
        state: TrainState,
        batch: Batch,
        gradients: Any,
        updates: Any,
        sums: Any,
        loss: Callable[[Any], tuple[jax.Array, Any]],
    ) -> dict[str, Any]:
        """Return the readings by name of the instrument; arguments as `make_train_step` gives them."""
        params = state.params

        def value(params: Any) -> jax.Array:
            return loss(params)[0]

        def read(instrument: Instrument) -> Any:
            match instrument:
                case "gradients":
                    return layer_readings(sums, params, gradients, updates)
                case "ics":
                    return internal_covariate_shift(value, params, updates)
                case "drift":
                    return input_drift(value, params, updates)
                case "landscape":
                    return loss_along_step(value, params, gradient_step(gradients, updates))
                case "hessian":
                    return hessian_eigenvalue(value, params, jax.random.key(0, impl=IMPLEMENTATION))
                case "lags":
                    return through_time(value, params)

        return {instrument: read(instrument) for instrument in self.settings.instruments}
