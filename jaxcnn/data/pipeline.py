"""Batches on the device: selection, order and padding of the images."""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxcnn.data.dataset import Rows, Split
from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings

# Images up to this size stay on the device: a quarter of its memory, or this many bytes if the backend does not report
# its memory (a CPU), so that a laptop keeps room for activations.
RESIDENT_SHARE = 0.25
RESIDENT_BYTES = 2 * 2**30

# Batches gathered ahead on the host: one in transfer, one being assembled.
_AHEAD = 2


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of the training images in an epoch: int32 permutation [n], a pure function of its arguments.

    Args:
        seed: seed of the experiment.
        epoch: number of the epoch, from 0.
        n: number of training images.
    """
    return shuffled(n, seed, Stream.ORDER, epoch)


def steps_per_epoch(n: int, batch_size: int, devices: int = 1) -> int:
    """Return the number of full batches in an epoch of `n` images; images that do not fill a batch are skipped.

    Raises:
        InputError: a batch is larger than the training split, or not divisible by the number of devices.
    """
    if batch_size > n:
        raise InputError(f"Data.batch_size is {batch_size}; it must be at most {n}, the number of training images.")
    if batch_size % devices:
        raise InputError(f"Data.batch_size is {batch_size}; it must be a multiple of {devices}, the number of devices.")
    return n // batch_size


def train_batches(
    split: Split, batch_size: int, *, seed: int, start_step: int = 0, sharding: NamedSharding | None = None
) -> Iterator[dict[str, jax.Array]]:
    """Yield training batches without end, starting at `start_step`; the batch of step s depends only on (seed, s).

    Images that fit (at most `RESIDENT_SHARE` of the device's memory, `RESIDENT_BYTES` if that is unknown) are copied to
    every device once and batches are gathered there. Otherwise batches are gathered on the host by a thread that works
    two batches ahead; close the iterator to end the thread.

    Args:
        split: the training split.
        batch_size: images per step, over all devices.
        seed: seed of the experiment.
        start_step: the first step, from 0; a resumed run passes the step at which it resumes.
        sharding: sharding of the batch axis over a mesh; None: one device.

    Returns:
        Dicts of `image` [batch_size, height, width, channels] in the split's dtype and `label` int32 [batch_size].

    Raises:
        InputError: a batch is larger than the split, or not divisible by the number of devices.
    """
    steps = steps_per_epoch(len(split), batch_size, _device_count(sharding))
    if _fits(split.images):
        return _from_device(split, batch_size, steps, seed, start_step, sharding)
    order = functools.lru_cache(maxsize=1)(functools.partial(epoch_order, seed, n=len(split)))

    def make(step: int) -> dict[str, jax.Array]:
        epoch, position = divmod(step, steps)
        rows = order(epoch)[position * batch_size : (position + 1) * batch_size]
        return {"image": _send_rows(split.images, rows, sharding), "label": _send_rows(split.labels, rows, sharding)}

    return _prefetch(make, itertools.count(start_step))


def eval_batches(
    split: Split, batch_size: int, *, sharding: NamedSharding | None = None
) -> Iterator[dict[str, jax.Array]]:
    """Yield every example once and in order, in batches of equal size; the last batch is padded with zeros.

    Batches are gathered by a thread that works two batches ahead; close the iterator to end the thread.

    Args:
        split: the split to evaluate on.
        batch_size: images per step, over all devices; limited to the size of the split, then rounded up to a multiple
            of the number of devices.
        sharding: sharding of the batch axis over a mesh; None: one device.

    Returns:
        Dicts of `image`, `label` (int32) and `mask` (bool, False for padding), each with `batch_size` rows.
    """
    n, devices = len(split), _device_count(sharding)
    size = -(-min(batch_size, n) // devices) * devices

    def make(start: int) -> dict[str, jax.Array]:
        rows = np.arange(start, start + size)
        batch = {"image": split.images, "label": split.labels, "mask": np.ones(n, bool)}
        return {name: _send_rows(values, rows, sharding) for name, values in batch.items()}

    return _prefetch(make, range(0, n, size))


def _from_device(
    split: Split, batch_size: int, steps: int, seed: int, start_step: int, sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    everywhere = sharding and NamedSharding(sharding.mesh, PartitionSpec())
    images, labels = (_send(np.asarray(x), everywhere) for x in (split.images, split.labels))
    gather = jax.jit(_gather, static_argnums=4, out_shardings=sharding)
    step = start_step
    while True:
        epoch, position = divmod(step, steps)
        if step == start_step or position == 0:
            order = _send(epoch_order(seed, epoch, len(split)), everywhere)
        yield gather(images, labels, order, np.int32(position * batch_size), batch_size)
        step += 1


def _gather(
    images: jax.Array, labels: jax.Array, order: jax.Array, start: jax.Array, batch_size: int
) -> dict[str, jax.Array]:
    rows = jax.lax.dynamic_slice_in_dim(order, start, batch_size)
    return {k: x.at[rows].get(mode="promise_in_bounds") for k, x in (("image", images), ("label", labels))}


def _prefetch(make: Callable[[int], dict[str, jax.Array]], numbers: Iterable[int]) -> Iterator[dict[str, jax.Array]]:
    """Yield make(number) for each number, computed two ahead in a thread; exceptions of the thread are raised here."""
    # A thread does not inherit the JAX settings of the thread that starts it.
    numbers, make = iter(numbers), fixed_settings()(make)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        pending = deque(pool.submit(make, number) for number in itertools.islice(numbers, _AHEAD))
        while pending:
            batch = pending.popleft().result()
            pending.extend(pool.submit(make, number) for number in itertools.islice(numbers, 1))
            yield batch


def _send(values: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
    if sharding is None:
        return jax.device_put(values)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _send_rows(values: np.ndarray | Rows, rows: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
    """Send values[rows] to the device, with zeros for rows beyond the last; a process reads only the rows of a sharded
    batch that its own devices hold, all at once."""
    if sharding is None:
        return jax.device_put(_rows(values, rows))
    shape, places = (len(rows), *values.shape[1:]), np.arange(len(rows))
    held = np.unique([places[index[0]] for index in sharding.addressable_devices_indices_map(shape).values()])
    read = _rows(values, rows[held])
    return jax.make_array_from_callback(shape, sharding, lambda index: read[np.searchsorted(held, places[index[0]])])


def _rows(values: np.ndarray | Rows, rows: np.ndarray) -> np.ndarray:
    """Return values[rows], with zeros at the end for rows beyond the last."""
    found = values[rows[rows < len(values)]]
    missing = len(rows) - len(found)
    return np.concatenate([found, np.zeros((missing, *found.shape[1:]), found.dtype)]) if missing else found


def _device_count(sharding: NamedSharding | None) -> int:
    return sharding.mesh.size if sharding else 1


def _fits(images: np.ndarray | Rows) -> bool:
    stats = jax.local_devices()[0].memory_stats() or {}
    room = RESIDENT_SHARE * stats["bytes_limit"] if "bytes_limit" in stats else RESIDENT_BYTES
    return images.nbytes <= room
