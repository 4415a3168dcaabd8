import itertools
import threading

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.data import pipeline
from jaxcnn.data.dataset import Dataset, Rows, Split
from jaxcnn.data.pipeline import (
    epoch_order,
    eval_batches,
    member_eval_batches,
    member_train_batches,
    steps_per_epoch,
    target_rows,
    train_batches,
)
from jaxcnn.data.sources import with_validation
from jaxcnn.runtime.errors import InputError

PINNED = ([7, 2, 0, 4, 3, 5, 6, 1], [4, 3, 6, 1, 5, 2, 7, 0])


def numbered(n):
    """Return images whose four bytes encode their row."""
    images = np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 2, 2, 1)
    return Split(images, np.arange(n, dtype=np.int32) * 3)


def decoded_rows(images):
    return np.asarray(images).reshape(len(images), 4).copy().view("<u4")[:, 0]


def over(devices):
    return NamedSharding(Mesh(np.array(jax.devices()[:devices]), ("data",)), PartitionSpec("data"))


@pytest.fixture(params=["device", "host"])
def placement(request, monkeypatch):
    if request.param == "host":
        monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)
    return request.param


@pytest.fixture(params=[None, 1, 8], ids=["plain", "mesh1", "mesh8"])
def sharding(request):
    return request.param and over(request.param)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**40), st.integers(0, 2**33), st.integers(1, 300))
def test_epoch_order_is_a_permutation_determined_by_its_arguments(seed, epoch, n):
    order = epoch_order(seed, epoch, n)
    assert order.dtype == np.int32 and sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, n))


def test_epoch_orders_differ_and_are_pinned():
    orders = {(s, e): tuple(epoch_order(s, e, 50)) for s in range(5) for e in range(5)}
    assert len(set(orders.values())) == 25
    # Pinned: a change would give a resumed run another order than before.
    assert epoch_order(0, 0, 8).tolist() == PINNED[0] and epoch_order(7, 3, 8).tolist() == PINNED[1]


def test_every_image_comes_first_about_equally_often():
    first = np.bincount([epoch_order(0, epoch, 5)[0] for epoch in range(1000)], minlength=5)
    assert first.min() > 150 and first.max() < 250


@pytest.mark.parametrize("start", [0, 3, 4, 13])
def test_batches_follow_the_order_from_any_step(placement, sharding, start):
    split = numbered(67)
    batches = train_batches(split, 16, seed=5, start_step=start, sharding=sharding)
    for step, batch in zip(range(start, start + 10), batches, strict=False):
        rows = epoch_order(5, step // 4, 67)[step % 4 * 16 :][:16]
        np.testing.assert_array_equal(decoded_rows(batch["image"]), rows)
        np.testing.assert_array_equal(batch["label"], rows * 3)
        assert batch["image"].shape == (16, 2, 2, 1) and batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        if sharding:
            assert all(x.sharding.is_equivalent_to(sharding, x.ndim) for x in batch.values())
    batches.close()


def test_memory_maps_and_rows_of_them_give_the_same_batches(placement, tmp_path):
    split = numbered(64)
    np.save(tmp_path / "images.npy", split.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    index = np.arange(1, 64, 2)
    rows = Split(Rows(mapped, index), split.labels[index])
    batch = next(train_batches(rows, 32, seed=0))
    assert sorted(decoded_rows(batch["image"])) == list(index)
    np.testing.assert_array_equal(batch["label"], decoded_rows(batch["image"]) * 3)
    (batch,) = eval_batches(rows, 32)
    np.testing.assert_array_equal(decoded_rows(batch["image"]), index)


def test_the_thread_ends_with_the_iterator(monkeypatch):
    monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)
    batches = train_batches(numbered(64), 8, seed=0)
    next(batches)
    assert any(t.name.startswith("batches") for t in threading.enumerate())
    batches.close()
    assert not any(t.name.startswith("batches") for t in threading.enumerate())


def test_an_exception_in_the_thread_is_raised_in_the_loop(monkeypatch):
    class Broken(Rows):
        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)
    split = numbered(64)
    batches = train_batches(Split(Broken(split.images, np.arange(64)), split.labels), 8, seed=0)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not any(t.name.startswith("batches") for t in threading.enumerate())


def test_gathering_on_the_host_stays_two_batches_ahead(monkeypatch):
    read = []

    class Watched(Rows):
        def __getitem__(self, rows):
            read.append(len(rows))
            return super().__getitem__(rows)

    monkeypatch.setattr(pipeline, "RESIDENT_BYTES", 0)
    split = numbered(640)
    batches = train_batches(Split(Watched(split.images, np.arange(640)), split.labels), 8, seed=0)
    list(itertools.islice(batches, 5))
    batches.close()
    assert 5 <= len(read) <= 7 and set(read) == {8}


def test_a_batch_must_fit_the_split_and_the_devices():
    with pytest.raises(InputError, match=r"Data\.batch_size is 65; it must be at most 64"):
        train_batches(numbered(64), 65, seed=0)
    with pytest.raises(InputError, match=r"Data\.batch_size is 12; it must be a multiple of 8"):
        train_batches(numbered(64), 12, seed=0, sharding=over(8))
    assert steps_per_epoch(64, 64) == 1 and steps_per_epoch(127, 64) == 1 and steps_per_epoch(128, 64) == 2


def divided(n, seeds):
    """Return the splits of a data set of `n` images that these seeds divide."""
    whole = Dataset(numbered(n), numbered(4), None, ())
    return [with_validation(whole, 0.25, seed) for seed in seeds]


@pytest.mark.parametrize("same", [True, False])
def test_batches_of_members_are_those_of_their_runs(placement, sharding, same):
    seeds = (5, 7, 5)
    splits = [numbered(67)] * 3 if same else [part.train for part in divided(80, seeds)]
    options = {"start_step": 3, "sharding": sharding}
    each = [train_batches(split, 16, seed=seed, **options) for split, seed in zip(splits, seeds, strict=True)]
    together = member_train_batches(splits, 16, seeds=seeds, **options)
    for found, *expected in itertools.islice(zip(together, *each, strict=True), 6):
        assert found["image"].shape == (3, 16, 2, 2, 1) and found["label"].dtype == np.int32
        for member, batch in enumerate(expected):
            np.testing.assert_array_equal(found["image"][member], batch["image"])
            np.testing.assert_array_equal(found["label"][member], batch["label"])
        if sharding:
            wanted = NamedSharding(sharding.mesh, PartitionSpec(None, "data"))
            assert all(x.sharding.is_equivalent_to(wanted, x.ndim) for x in found.values())
    for batches in (*each, together):
        batches.close()
    assert not any(t.name.startswith("batches") for t in threading.enumerate())


def test_images_of_members_are_on_the_device_once(monkeypatch):
    sent, real = [], pipeline._send
    monkeypatch.setattr(pipeline, "_send", lambda values, where: sent.append(values.shape) or real(values, where))
    splits = [part.train for part in divided(80, range(4))]
    next(member_train_batches(splits, 16, seeds=range(4)))
    assert sent == [(80, 2, 2, 1), (4, 60), (4, 60)]


def test_evaluation_batches_of_members_are_those_of_their_runs(sharding):
    splits = [part.validation for part in divided(80, (1, 2))]
    each = [eval_batches(split, 8, sharding=sharding) for split in splits]
    count = 0
    for found, *expected in zip(member_eval_batches(splits, 8, sharding=sharding), *each, strict=True):
        count += 1
        for name, values in found.items():
            np.testing.assert_array_equal(values, np.stack([batch[name] for batch in expected]))
    assert count == 3


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 80), devices=st.sampled_from([None, 1, 2, 8]))
def test_evaluation_sees_every_example_once_in_order(n, batch_size, devices):
    split = numbered(n)
    batches = list(eval_batches(split, batch_size, sharding=devices and over(devices)))
    (size,) = {len(b["mask"]) for b in batches}
    assert size % (devices or 1) == 0 and size < min(batch_size, n) + (devices or 1)
    assert len(batches) == -(-n // size)
    mask = np.concatenate([b["mask"] for b in batches])
    assert mask.dtype == bool and mask.sum() == n
    images, labels = (np.concatenate([np.asarray(b[k]) for b in batches]) for k in ("image", "label"))
    np.testing.assert_array_equal(decoded_rows(images[mask]), np.arange(n))
    np.testing.assert_array_equal(labels[mask], split.labels)
    assert not images[~mask].any() and not labels[~mask].any()


# --- unlabelled target images


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 25), st.integers(0, 2**40))
def test_target_images_are_passed_through_again_and_again_in_other_orders(n, batch_size, seed):
    rows = target_rows(seed, n, batch_size)
    seen = np.concatenate([rows(step) for step in range(2 * n)])
    assert seen.dtype == np.int32
    for number in range(2 * batch_size):
        assert sorted(seen[number * n : (number + 1) * n]) == list(range(n))
    # A resumed run begins anywhere.
    np.testing.assert_array_equal(target_rows(seed, n, batch_size)(n + 1), rows(n + 1))


def test_target_rows_have_their_own_random_numbers():
    rows = target_rows(0, 100, 100)
    assert not np.array_equal(rows(0), rows(1)) and not np.array_equal(rows(0), epoch_order(0, 0, 100))
    assert not np.array_equal(rows(0), target_rows(1, 100, 100)(0))


@pytest.mark.usefixtures("placement")
def test_target_images_join_the_batch_and_do_not_change_the_rest(sharding):
    split, target = numbered(24), numbered(11).images
    rows, joined = target_rows(3, 11, 8), train_batches(split, 8, seed=3, sharding=sharding, target=target)
    resumed = train_batches(split, 8, seed=3, start_step=2, sharding=sharding, target=target)
    plain_batches = train_batches(split, 8, seed=3)
    for step, (batch, plain) in enumerate(zip(itertools.islice(joined, 5), plain_batches, strict=False)):
        np.testing.assert_array_equal(decoded_rows(batch["image"]), decoded_rows(plain["image"]))
        np.testing.assert_array_equal(batch["label"], plain["label"])
        np.testing.assert_array_equal(decoded_rows(batch["target"]), rows(step))
        assert batch["target"].sharding == batch["image"].sharding
        if step >= 2:
            np.testing.assert_array_equal(next(resumed)["target"], batch["target"])


@pytest.mark.usefixtures("placement")
def test_members_with_different_seeds_have_their_own_target_images():
    split, target = numbered(24), numbered(11).images
    members = member_train_batches([split, split], 8, seeds=[3, 4], start_step=1, target=target)
    each = [train_batches(split, 8, seed=seed, start_step=1, target=target) for seed in (3, 4)]
    for batch, one, other in itertools.islice(zip(members, *each, strict=False), 3):
        for name in ("image", "label", "target"):
            np.testing.assert_array_equal(batch[name], np.stack([one[name], other[name]]))
