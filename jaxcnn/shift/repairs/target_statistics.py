"""AdaBN: the running averages of batch normalization are replaced by the statistics of the whole target."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.norms.population import estimate_statistics
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.features import Network
from jaxcnn.shift.repairs.normalized import batch_norms


@fixed_settings()
def adapt_statistics(
    network: Network,
    images: Any,
    *,
    prior: float = 0.0,
    batch_size: int = 500,
    poll: Callable[[], None] = lambda: None,
) -> Network:
    """Return the network with the statistics that it would compute from all images as one single batch.

    They depend neither on the order of the images nor on the batch size. It reads the images once for each batch
    normalization, because the statistics of one depend on those before it.

    Args:
        network: a network with batch normalization (`jaxcnn.norms.BatchNorm`).
        images: of the target, as stored, [n, height, width, channels].
        prior: N, the number of images that the running averages of training count for beside the n of the target; 0
            as in AdaBN. For a target of a few images a larger one is safer.
        batch_size: images that are computed at once.
        poll: called before every batch; may raise to stop.

    Raises:
        InputError: the network has no batch normalization, there are no images, or the prior is below 0.

    Source: Li et al. 2016 (arXiv:1603.04779), algorithm 1; the prior is that of Schneider et al. 2020
        (arXiv:2006.16971), section 3.
    """
    batch_norms(network, images)

    def batches() -> Iterator[jax.Array]:
        # A padded batch would count zeros, so that the last images are a smaller batch.
        size = min(batch_size, len(images))
        even = len(images) // size * size
        for start, stop in ((0, even), (even, len(images))):
            if start == stop:
                continue
            split = data.Split(data.Rows(images, np.arange(start, stop)), np.zeros(stop - start, np.int32))
            for batch in data.eval_batches(split, size):
                poll()
                yield network.preprocess(data.center_crop(batch["image"], network.crop))

    variables = estimate_statistics("full_pass", network.model, dict(network.variables), batches, prior=prior)
    return replace(network, variables=variables)
