"""The images of a target as a stream of full batches in random order, as a network would meet them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.runtime.errors import InputError

BATCH_SIZE = 200
"""Images that share statistics, as in Wang et al. 2021 on CIFAR-10-C (their published settings)."""


def stream(
    images: Any, batch_size: int = BATCH_SIZE, *, seed: int = 0, poll: Callable[[], None] = lambda: None
) -> Iterator[jax.Array]:
    """Yield batches of equal size in random order. The last is filled up with the first images of the stream, because
    zeros would count in its statistics.

    The order is random because images are often stored sorted by class, and a batch of one class has other statistics
    than the target.

    Args:
        images: as stored, [n, height, width, channels].
        batch_size: images of a batch, at most n.
        seed: seed of the order.
        poll: called before every batch; may raise to stop.

    Raises:
        InputError: the batch size is below 1, or there are no images.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more.")
    if not len(images):
        raise InputError("target has no images. Give some.")
    size = min(batch_size, len(images))
    rows = np.resize(shuffled(len(images), seed, Stream.TEST_ORDER), -(-len(images) // size) * size)
    split = data.Split(data.Rows(images, rows), np.zeros(len(rows), np.int32))
    for batch in data.eval_batches(split, size):
        poll()
        yield batch["image"]


def in_stored_order(results: Iterable[jax.Array], n: int, seed: int) -> np.ndarray:
    """Return the results of the batches of a stream, one row an image, in the order in which its n images are stored;
    results of images that only fill the last batch are left out."""
    found = np.concatenate([np.asarray(each) for each in results])[:n]
    stored = np.empty_like(found)
    stored[shuffled(n, seed, Stream.TEST_ORDER)] = found
    return stored
