"""The batch normalizations of a network, which the repairs without labels adapt."""

from typing import Any

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.norms.population import Path, batch_norm_paths
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Network


def batch_norms(network: Network, images: Any) -> tuple[Path, ...]:
    """Return the paths of the batch normalizations of a network, in the order of their calls.

    Args:
        network: the network.
        images: as stored, [n, height, width, channels]; only their shape and type are read.

    Raises:
        InputError: the network has none.
    """
    shape = jax.ShapeDtypeStruct((1, *np.shape(images)[1:]), images.dtype)
    x = jax.eval_shape(lambda images: network.preprocess(data.center_crop(images, network.crop)), shape)
    try:
        return batch_norm_paths(network.model, network.variables, x)
    except InputError:
        raise InputError(
            f"{type(network.model).__name__} has no batch normalization (jaxcnn.norms.BatchNorm) whose statistics "
            "could be adapted. Train a network with norm=batch."
        ) from None
