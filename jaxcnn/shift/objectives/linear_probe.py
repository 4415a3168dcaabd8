"""Linear probe: only the last layer of a trained network trains, on features that do not change."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.objectives import Apply, Batch, Sums, network_params
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.objectives.supervised import Supervised


@dataclass(frozen=True)
class LinearProbe(Supervised):
    """Classification by a trained network of which only some layers train, usually the last one.

    The whole network is in evaluation mode: batch normalization uses and keeps its running statistics, and dropout
    keeps all units, so that the features are those of the run that it is initialized from (`--init_from`). For
    fine-tuning, follow with a run of all layers (`CrossEntropy`) at a tenth of the learning rate.

    Attributes:
        layers: names of the layers that train, or patterns such as fc*; `output` in LeNet5, `fc8` in VGG and AlexNet.
    """

    layers: tuple[str, ...] = ("output",)

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        with nn.intercept_methods(_evaluating):
            return self.classification(apply, params, model_state, batch, key)

    def trains(self, params: Any) -> Any:
        names = list(network_params(params))
        chosen = [name for name in names if any(fnmatchcase(name, layer) for layer in self.layers)]
        if not chosen:
            raise InputError(
                f"LinearProbe.layers is {self.layers}; the layers of the network are {', '.join(sorted(names))}. Name "
                "the last one."
            )
        return {name: name in chosen for name in params}


def _evaluating(call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    """Call the network itself with train=False."""
    if not context.module.path and context.method_name == "__call__":
        kwargs = {**kwargs, "train": False}
    return call(*args, **kwargs)
