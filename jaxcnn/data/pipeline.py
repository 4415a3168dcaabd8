"""Batches on the device: selection, order and padding of the images."""

import contextlib
import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
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
    split: Split,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    sharding: NamedSharding | None = None,
    target: Any = None,
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
        target: unlabelled images of another population; None: none. Every batch has as many of them as training images,
            in an order of their own, so that those of step s depend only on (seed, s) too; there may be fewer than a
            batch, which then has some of them more than once.

    Returns:
        Dicts of `image` [batch_size, height, width, channels] in the split's dtype, `label` int32 [batch_size] and, if
        there are such images, `target` like `image`.

    Raises:
        InputError: a batch is larger than the split, or not divisible by the number of devices.
    """
    steps, epoch = steps_per_epoch(len(split), batch_size, _device_count(sharding)), _epochs(split, seed)
    if target is not None:
        labelled = train_batches(split, batch_size, seed=seed, start_step=start_step, sharding=sharding)
        return _joined(labelled, _target_batches(target, batch_size, seed, start_step, sharding))
    if _fits(split.images):
        return _from_device(split.images, epoch, batch_size, steps, start_step, sharding)

    def make(step: int) -> dict[str, jax.Array]:
        number, position = divmod(step, steps)
        rows, labels = (x[position * batch_size : (position + 1) * batch_size] for x in epoch(number))
        return {"image": _send_rows(split.images, rows, sharding), "label": _send(labels, sharding)}

    return _prefetch(make, itertools.count(start_step))


def member_train_batches(
    splits: Sequence[Split],
    batch_size: int,
    *,
    seeds: Sequence[int],
    start_step: int = 0,
    sharding: NamedSharding | None = None,
    target: Any = None,
) -> Iterator[dict[str, jax.Array]]:
    """Yield the training batches of several runs, stacked along a new first axis: batch i is that of
    `train_batches(splits[i], ..., seed=seeds[i])`.

    Args:
        splits: training splits of equal length, which are the same one or select rows of the same images, as those of
            `with_validation`. Images that fit are copied to the device once for all runs.
        batch_size: images per step and run, over all devices.
        seeds: seed of each run.
        start_step: as in `train_batches`.
        sharding: sharding of the batch axis of one run.
        target: unlabelled images for all runs, as in `train_batches`.

    Returns:
        Dicts of `image` [runs, batch_size, height, width, channels], `label` int32 [runs, batch_size] and, if there are
        unlabelled images, `target` like `image`.

    Raises:
        InputError: as in `train_batches`.
    """
    if target is not None:
        labelled = member_train_batches(splits, batch_size, seeds=seeds, start_step=start_step, sharding=sharding)
        return _joined(labelled, _member_target_batches(target, batch_size, seeds, start_step, sharding))
    steps = steps_per_epoch(len(splits[0]), batch_size, _device_count(sharding))
    stacked, (images, _) = _with_members(sharding), _source(splits[0].images)
    if not _fits(images):
        each = (
            train_batches(split, batch_size, seed=seed, start_step=start_step, sharding=sharding)
            for split, seed in zip(splits, seeds, strict=True)
        )
        return _stacked([*each], stacked)
    selected = [_source(split.images)[1] for split in splits]
    epochs = [_epochs(split, seed) for split, seed in zip(splits, seeds, strict=True)]

    def epoch(number: int) -> tuple[np.ndarray, np.ndarray]:
        orders, labels = zip(*(of(number) for of in epochs), strict=True)
        return np.stack([rows[order] for rows, order in zip(selected, orders, strict=True)]), np.stack(labels)

    return _from_device(images, epoch, batch_size, steps, start_step, stacked)


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


def member_eval_batches(
    splits: Sequence[Split], batch_size: int, *, sharding: NamedSharding | None = None
) -> Iterator[dict[str, jax.Array]]:
    """Yield the batches of `eval_batches` for several splits of equal length, stacked along a new first axis."""
    each = [eval_batches(split, batch_size, sharding=sharding) for split in splits]
    return _stacked(each, _with_members(sharding))


Epochs = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A function from the number of an epoch to the rows of its images, in their order, and to their labels: each [n], or
[members, n] for several runs."""


def _epochs(split: Split, seed: int) -> Epochs:
    @functools.lru_cache(maxsize=1)
    def epoch(number: int) -> tuple[np.ndarray, np.ndarray]:
        order = epoch_order(seed, number, len(split))
        return order, split.labels[order]

    return epoch


def _source(images: np.ndarray | Rows) -> tuple[Any, np.ndarray]:
    """Return the array that images are selected from, and the selected rows."""
    if isinstance(images, Rows):
        return images.source, images.index.astype(np.int32)
    return images, np.arange(len(images), dtype=np.int32)


def _from_device(
    images: Any, epoch: Epochs, batch_size: int, steps: int, start_step: int, sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    everywhere = sharding and NamedSharding(sharding.mesh, PartitionSpec())
    resident = _send(np.asarray(images), everywhere)
    gather = jax.jit(_gather, static_argnums=4, out_shardings=sharding)
    step = start_step
    while True:
        number, position = divmod(step, steps)
        if step == start_step or position == 0:
            rows, labels = (_send(x, everywhere) for x in epoch(number))
        yield gather(resident, rows, labels, np.int32(position * batch_size), batch_size)
        step += 1


def target_rows(seed: int, n: int, batch_size: int) -> Callable[[int], np.ndarray]:
    """Return a function from a step to the rows of its target images, int32 [batch_size]; it depends on nothing else.

    The images are passed through again and again, each time in another order; a batch may reach over several passes.

    Args:
        seed: seed of the experiment.
        n: number of target images.
        batch_size: images per step.
    """

    @functools.lru_cache(maxsize=2)
    def order(number: int) -> np.ndarray:
        return shuffled(n, seed, Stream.TARGET_ORDER, number)

    def rows(step: int) -> np.ndarray:
        first, last = step * batch_size, (step + 1) * batch_size
        orders = [order(number) for number in range(first // n, -(-last // n))]
        return np.concatenate(orders)[first % n :][:batch_size]

    return rows


def _target_batches(
    images: Any, batch_size: int, seed: int, start_step: int, sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    """Yield batches of `target`."""
    rows = target_rows(seed, len(images), batch_size)
    if _fits(images):
        return _targets_from_device(images, rows, start_step, sharding)
    return _prefetch(lambda step: {"target": _send_rows(images, rows(step), sharding)}, itertools.count(start_step))


def _member_target_batches(
    images: Any, batch_size: int, seeds: Sequence[int], start_step: int, sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    """Yield batches of `target` with a first axis of members; `sharding` is that of one member."""
    stacked = _with_members(sharding)
    if not _fits(images):
        return _stacked([_target_batches(images, batch_size, seed, start_step, sharding) for seed in seeds], stacked)
    each = [target_rows(seed, len(images), batch_size) for seed in seeds]
    return _targets_from_device(images, lambda step: np.stack([rows(step) for rows in each]), start_step, stacked)


def _targets_from_device(
    images: Any, rows: Callable[[int], np.ndarray], start_step: int, sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    everywhere = sharding and NamedSharding(sharding.mesh, PartitionSpec())
    resident = _send(np.asarray(images), everywhere)
    gather = jax.jit(lambda images, rows: images.at[rows].get(mode="promise_in_bounds"), out_shardings=sharding)
    for step in itertools.count(start_step):
        yield {"target": gather(resident, _send(rows(step), everywhere))}


def _joined(*streams: Iterator[dict[str, jax.Array]]) -> Iterator[dict[str, jax.Array]]:
    """Yield the batches of several iterators as one; close them at the end."""
    with contextlib.ExitStack() as ends:
        for stream in streams:
            ends.enter_context(contextlib.closing(stream))
        for parts in zip(*streams, strict=True):
            yield {name: values for part in parts for name, values in part.items()}


def _gather(
    images: jax.Array, rows: jax.Array, labels: jax.Array, start: jax.Array, batch_size: int
) -> dict[str, jax.Array]:
    rows, labels = (jax.lax.dynamic_slice_in_dim(x, start, batch_size, axis=-1) for x in (rows, labels))
    return {"image": images.at[rows].get(mode="promise_in_bounds"), "label": labels}


def _stacked(
    streams: Sequence[Iterator[dict[str, jax.Array]]], sharding: NamedSharding | None
) -> Iterator[dict[str, jax.Array]]:
    """Yield the batches of several iterators, stacked along a new first axis; close them at the end."""
    stack = jax.jit(lambda batches: jax.tree.map(lambda *x: jnp.stack(x), *batches), out_shardings=sharding)
    with contextlib.ExitStack() as ends:
        for stream in streams:
            ends.enter_context(contextlib.closing(stream))
        for batches in zip(*streams, strict=True):
            yield stack(batches)


def _with_members(sharding: NamedSharding | None) -> NamedSharding | None:
    """Return the sharding of batches with a first axis of members."""
    return sharding and NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))


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


def _fits(images: Any) -> bool:
    size = math.prod(images.shape) * images.dtype.itemsize
    stats = jax.local_devices()[0].memory_stats() or {}
    room = RESIDENT_SHARE * stats["bytes_limit"] if "bytes_limit" in stats else RESIDENT_BYTES
    return size <= room
