import numpy as np
import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.repairs.stream import in_stored_order, stream


@pytest.mark.parametrize(("n", "size", "batches", "each"), [(7, 3, 3, 3), (6, 3, 2, 3), (2, 200, 1, 2), (1, 1, 1, 1)])
def test_every_image_comes_once_in_full_batches(n, size, batches, each):
    """The last batch is filled with the first images: zeros would be normalized too."""
    images = np.arange(1, n + 1, dtype=np.uint8).reshape(n, 1, 1, 1)
    polls = []
    found = [np.asarray(batch) for batch in stream(images, size, seed=3, poll=lambda: polls.append(1))]
    assert [len(batch) for batch in found] == [each] * batches and len(polls) == batches
    flat = np.concatenate(found).ravel()
    assert sorted(flat[:n]) == list(range(1, n + 1))
    assert flat[n:].tolist() == flat[: len(flat) - n].tolist()
    assert np.array_equal(in_stored_order(found, n, 3), images)


def test_the_order_is_random_and_follows_from_the_seed():
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    orders = [np.concatenate([*stream(images, 10, seed=seed)]).ravel().tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2] and orders[0] != sorted(orders[0])


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="batch_size is 0; it must be 1 or more"):
        next(stream(np.zeros((2, 1, 1, 1)), 0))
    with pytest.raises(InputError, match="target has no images"):
        next(stream(np.zeros((0, 1, 1, 1))))
