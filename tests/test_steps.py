import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.config import Optimizer
from jaxcnn.layers import Activation, AveragePool, Conv, Dense, Flatten
from jaxcnn.models import ConvNet, LeNet5
from jaxcnn.norms import BatchNorm
from jaxcnn.optim import make_optimizer
from jaxcnn.state import create_state
from jaxcnn.steps import make_eval_step, make_train_step

RUN = {"steps_per_epoch": 10, "total_steps": 100}


class Linear(nn.Module):
    """Softmax regression: gradients in a line of NumPy."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="d")(x.reshape(x.shape[0], -1))


class Noisy(nn.Module):
    """Batch statistics of the images themselves, and dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(name="n")(x, train=train)
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(3, name="d")(x)


class Small(ConvNet):
    @nn.nowrap
    def layers(self):
        return (
            Conv(8, name="c"),
            Activation("relu", name="a"),
            AveragePool(2, name="p"),
            Flatten(name="f"),
            Dense(4, name="d"),
        )


def batch_of(n, shape=(4, 4, 2), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return {"image": images, "label": np.arange(n, dtype=np.int32) % classes}


def start(model, batch, optimizer=None, *, step=0, seed=0):
    """A state with random weights, and the optimizer for it."""
    rng = np.random.default_rng(seed)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), batch["image"], train=False))
    params = jax.tree.map(lambda v: rng.normal(scale=0.3, size=v.shape).astype(np.float32), variables["params"])
    stats = {name: {"mean": np.zeros(v["mean"].shape, np.float32), "var": np.ones(v["var"].shape, np.float32)}
             for name, v in variables.get("batch_stats", {}).items()}  # fmt: skip
    optimizer = make_optimizer(optimizer or Optimizer(), params, **RUN)
    state = create_state({"params": params, **({"batch_stats": stats} if stats else {})}, optimizer)
    state = state.replace(step=jnp.asarray(step, jnp.int32))
    return jax.tree.map(jnp.array, state), optimizer


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_two_steps_are_gradient_descent_written_out():
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch, Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01))
    x, labels = batch["image"].reshape(6, -1).astype(np.float64), batch["label"]
    kernel, bias = (np.asarray(state.params["d"][k], np.float64) for k in ("kernel", "bias"))
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    step = make_train_step(Linear(), optimizer)
    for number in (1, 2):
        state, metrics = step(state, batch)
        probabilities = softmax(x @ kernel + bias)
        assert float(metrics["loss"]) == pytest.approx(-np.log(probabilities[range(6), labels]).sum(), rel=1e-5)
        assert int(metrics["correct"]) == (probabilities.argmax(-1) == labels).sum()
        assert int(metrics["n"]) == 6
        error = (probabilities - np.eye(3)[labels]) / 6
        gradients = [x.T @ error + 0.01 * kernel, error.sum(0)]
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        kernel, bias = kernel - 0.1 * velocity[0], bias - 0.1 * velocity[1]
        np.testing.assert_allclose(state.params["d"]["kernel"], kernel, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.params["d"]["bias"], bias, rtol=1e-5, atol=1e-6)
        assert int(state.step) == number
        assert state.batch_stats == {}


def test_images_are_augmented_then_preprocessed():
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch)
    step = make_train_step(
        Linear(), optimizer, preprocess=lambda x: 2 * x, augment=lambda key, x: x + jnp.arange(4.0).reshape(1, 4, 1, 1)
    )
    kernel, bias = (np.asarray(state.params["d"][k]) for k in ("kernel", "bias"))
    seen = 2 * (batch["image"] + np.arange(4.0).reshape(1, 4, 1, 1)).reshape(6, -1)
    _, metrics = step(state, batch)
    expected = -np.log(softmax(seen @ kernel + bias)[range(6), batch["label"]]).sum()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_augmentation_is_not_fused_with_what_reads_the_images():
    # XLA would compute an augmented pixel whenever it is read. That it keeps the conditional is not promised.
    batch = batch_of(4)
    state, optimizer = start(Linear(), batch)
    steps = [make_train_step(Linear(), optimizer, augment=a) for a in (None, lambda key, images: 2 * images)]
    texts = [step.lower(state, batch).compile().as_text() for step in steps]
    assert [" conditional(" in text for text in texts] == [False, True]


def test_the_loss_given_is_lowered_and_reported():
    def squares(logits, labels):
        return ((logits - jax.nn.one_hot(labels, 3)) ** 2).sum(-1)

    batch = batch_of(6) | {"mask": np.array([True, True, False, True, False, True])}
    state, optimizer = start(Linear(), batch, Optimizer(learning_rate=0.1, momentum=0.0, weight_decay=0.0))
    x, labels, kept = batch["image"].reshape(6, -1).astype(np.float64), batch["label"], batch["mask"]
    kernel, bias = (np.asarray(state.params["d"][k], np.float64) for k in ("kernel", "bias"))
    wrong = x @ kernel + bias - np.eye(3)[labels]
    metrics, _ = make_eval_step(Linear(), loss=squares)(state.variables, batch)
    assert float(metrics["loss"]) == pytest.approx((wrong[kept] ** 2).sum(), rel=1e-5)
    state, metrics = make_train_step(Linear(), optimizer, loss=squares)(state, batch)
    assert float(metrics["loss"]) == pytest.approx((wrong**2).sum(), rel=1e-5)
    np.testing.assert_allclose(state.params["d"]["kernel"], kernel - 0.1 * x.T @ (2 * wrong / 6), rtol=1e-5, atol=1e-6)


# --- batch statistics, dropout, donation, compilation: one compiled step


@pytest.fixture(scope="module")
def noisy():
    batch, traces = batch_of(12), []

    def count(images):
        traces.append(1)
        return images

    _, optimizer = start(Noisy(), batch)
    return make_train_step(Noisy(), optimizer, seed=3, preprocess=count), batch, traces


def test_batch_statistics_move_towards_the_batch(noisy):
    step, batch, _ = noisy
    state, metrics = step(start(Noisy(), batch)[0], batch)
    x = batch["image"].astype(np.float64).reshape(-1, 2)
    np.testing.assert_allclose(state.batch_stats["n"]["mean"], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.batch_stats["n"]["var"], 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-5)
    assert int(metrics["n"]) == 12


def test_randomness_follows_from_seed_and_step(noisy):
    step, batch, _ = noisy

    other_seed = make_train_step(Noisy(), start(Noisy(), batch)[1], seed=4)

    def kernel_after(function, number):
        state, _ = function(start(Noisy(), batch, step=number)[0], batch)
        return np.asarray(state.params["d"]["kernel"])

    at_five = kernel_after(step, 5)
    np.testing.assert_array_equal(kernel_after(step, 5), at_five)
    for other in (kernel_after(step, 6), kernel_after(step, 0), kernel_after(other_seed, 5)):
        assert np.abs(other - at_five).max() > 1e-4


def test_resumed_steps_equal_uninterrupted_ones_bit_for_bit(noisy):
    step, batch, _ = noisy
    state, saved = start(Noisy(), batch)[0], None
    for number in range(4):
        saved = jax.tree.map(np.array, state) if number == 2 else saved
        state, _ = step(state, batch)
    again = jax.tree.map(jnp.array, saved)
    for _ in range(2):
        again, _ = step(again, batch)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_the_state_given_is_donated_and_the_batch_is_not(noisy):
    step, batch, _ = noisy
    state, _ = start(Noisy(), batch)
    batch = jax.tree.map(jnp.array, batch)
    step(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(batch))


def test_steps_after_the_first_compile_nothing(noisy):
    step, batch, traces = noisy
    state, _ = step(start(Noisy(), batch)[0], batch)
    before = len(traces)
    for seed in range(3):
        state, _ = step(state, batch_of(12, seed=seed))
    assert len(traces) == before > 0
    assert int(state.step) == 4


def test_eight_images_are_learned_by_heart():
    batch = batch_of(8, (8, 8, 1), classes=4)
    state, optimizer = start(Small(), batch, Optimizer(algorithm="adam", learning_rate=0.02, weight_decay=0.0))
    step = make_train_step(Small(), optimizer)
    state, first = step(state, batch)
    for _ in range(80):
        state, metrics = step(state, batch)
    assert int(metrics["correct"]) == 8
    assert float(metrics["loss"]) < 0.02 * float(first["loss"])


# --- evaluation


def test_evaluation_counts_what_the_mask_keeps():
    batch = batch_of(6) | {"mask": np.array([True, True, False, True, False, True])}
    state, _ = start(Linear(), batch)
    dense = jax.tree.map(np.asarray, state.params["d"])
    logits = batch["image"].reshape(6, -1) @ dense["kernel"] + dense["bias"]
    expected, labels = softmax(logits), batch["label"].copy()
    # What fills a batch up may be anything.
    batch["image"][2], batch["label"][2], batch["image"][4] = np.nan, 99, np.inf
    metrics, found = make_eval_step(Linear())(state.variables, batch)
    kept = batch["mask"]
    assert found.shape == (6, 3)
    np.testing.assert_allclose(np.asarray(found)[kept], logits[kept], rtol=1e-5, atol=1e-6)
    assert float(metrics["loss"]) == pytest.approx(-np.log(expected[kept, labels[kept]]).sum(), rel=1e-5)
    assert int(metrics["correct"]) == (expected.argmax(-1) == labels)[kept].sum()
    assert int(metrics["n"]) == 4


def test_evaluation_uses_running_statistics_and_no_dropout():
    batch = batch_of(6) | {"mask": np.ones(6, bool)}
    state, _ = start(Noisy(), batch)
    stats = {"n": {"mean": np.array([1.0, 2.0], np.float32), "var": np.array([4.0, 0.25], np.float32)}}
    variables = {"params": state.params, "batch_stats": stats}
    _, logits = make_eval_step(Noisy(), preprocess=lambda x: 3 * x)(variables, batch)
    norm, dense = (jax.tree.map(np.asarray, state.params[name]) for name in "nd")
    x = (3 * batch["image"] - [1, 2]) / np.sqrt(np.array([4, 0.25]) + 1e-5) * norm["scale"] + norm["bias"]
    expected = x.reshape(6, -1) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


# --- devices


def train_on(devices, steps):
    """Losses and batch statistics of the first steps of a LeNet-5, the batch split over so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    model, batches = LeNet5(norm="batch"), [batch_of(16, (32, 32, 1), 10, seed) for seed in range(4)]
    state, optimizer = start(model, batches[0])
    step = jax.jit(make_train_step(model, optimizer), donate_argnums=0, out_shardings=(everywhere, everywhere))
    state = jax.device_put(state, everywhere)
    losses, statistics = [], []
    for number in range(steps):
        state, metrics = step(state, jax.device_put(batches[number % 4], split))
        assert len(state.step.sharding.device_set) == devices
        losses.append(float(metrics["loss"]))
        statistics.append(jax.tree.map(np.array, state.batch_stats))
    return losses, statistics


def test_eight_devices_train_as_one_does():
    losses, statistics = train_on(1, 20)
    assert losses[-1] < losses[0]
    spread, spread_statistics = train_on(8, 20)
    np.testing.assert_allclose(spread, losses, rtol=1e-5)
    for ours, theirs in zip(spread_statistics, statistics, strict=True):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
