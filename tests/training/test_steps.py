import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.config import Optimizer
from jaxcnn.layers import Activation, AveragePool, Conv, Dense, Dropout, Flatten
from jaxcnn.layers import BatchNorm as BatchNormRecord
from jaxcnn.models import ConvNet, LeNet5
from jaxcnn.norms import BatchNorm
from jaxcnn.objectives import Classification
from jaxcnn.training.optim import make_optimizer
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_eval_step, make_train_step

RUN = {"steps_per_epoch": 10, "total_steps": 100}


class Linear(nn.Module):
    """Softmax regression, whose gradients are one line of NumPy."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="d")(x.reshape(x.shape[0], -1))


class Noisy(nn.Module):
    """Batch normalization of the images, and dropout."""

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


def start(model, batch, optimizer=None, *, step=0, seed=0, step_seed=0):
    """Return a state with random weights, and its optimizer."""
    rng = np.random.default_rng(seed)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), batch["image"], train=False))
    params = jax.tree.map(lambda v: rng.normal(scale=0.3, size=v.shape).astype(np.float32), variables["params"])
    stats = {name: {"mean": np.zeros(v["mean"].shape, np.float32), "var": np.ones(v["var"].shape, np.float32)}
             for name, v in variables.get("batch_stats", {}).items()}  # fmt: skip
    optimizer = make_optimizer(optimizer or Optimizer(), params, **RUN)
    variables = {"params": params, **({"batch_stats": stats} if stats else {})}
    state = create_state(variables, optimizer, seed=step_seed)
    state = state.replace(step=jnp.asarray(step, jnp.int32))
    return state, optimizer


def jitted(*arguments, **options):
    return jax.jit(make_train_step(*arguments, **options), donate_argnums=0)


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_two_steps_equal_gradient_descent_in_numpy():
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch, Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01))
    x, labels = batch["image"].reshape(6, -1).astype(np.float64), batch["label"]
    kernel, bias = (np.asarray(state.params["d"][k], np.float64) for k in ("kernel", "bias"))
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    step = jitted(Linear(), optimizer)
    for number in (1, 2):
        state, metrics, _ = step(state, batch)
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
        assert state.model_state == {}


def test_images_are_augmented_then_preprocessed():
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch)
    step = jitted(
        Linear(), optimizer, preprocess=lambda x: 2 * x, augment=lambda key, x: x + jnp.arange(4.0).reshape(1, 4, 1, 1)
    )
    kernel, bias = (np.asarray(state.params["d"][k]) for k in ("kernel", "bias"))
    seen = 2 * (batch["image"] + np.arange(4.0).reshape(1, 4, 1, 1)).reshape(6, -1)
    _, metrics, _ = step(state, batch)
    expected = -np.log(softmax(seen @ kernel + bias)[range(6), batch["label"]]).sum()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_augmentation_is_not_fused_with_its_consumers():
    # XLA would recompute an augmented pixel at every read. It does not guarantee to keep the conditional.
    batch = batch_of(4)
    state, optimizer = start(Linear(), batch)
    steps = [jitted(Linear(), optimizer, augment=a) for a in (None, lambda key, images: 2 * images)]
    texts = [step.lower(state, batch).compile().as_text() for step in steps]
    assert [" conditional(" in text for text in texts] == [False, True]


class Squares(Classification):
    def losses(self, logits, labels):
        return ((logits - jax.nn.one_hot(labels, 3)) ** 2).sum(-1)


def test_the_objective_is_minimized_and_reported():
    batch = batch_of(6) | {"mask": np.array([True, True, False, True, False, True])}
    state, optimizer = start(Linear(), batch, Optimizer(learning_rate=0.1, momentum=0.0, weight_decay=0.0))
    x, labels, kept = batch["image"].reshape(6, -1).astype(np.float64), batch["label"], batch["mask"]
    kernel, bias = (np.asarray(state.params["d"][k], np.float64) for k in ("kernel", "bias"))
    wrong = x @ kernel + bias - np.eye(3)[labels]
    metrics, _ = make_eval_step(Linear(), objective=Squares())(state.variables, batch)
    assert float(metrics["loss"]) == pytest.approx((wrong[kept] ** 2).sum(), rel=1e-5)
    batch.pop("mask")
    state, metrics, _ = jitted(Linear(), optimizer, objective=Squares())(state, batch)
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
    return jitted(Noisy(), optimizer, preprocess=count), batch, traces


def test_batch_statistics_move_towards_the_batch(noisy):
    step, batch, _ = noisy
    state, metrics, _ = step(start(Noisy(), batch)[0], batch)
    x = batch["image"].astype(np.float64).reshape(-1, 2)
    np.testing.assert_allclose(state.model_state["batch_stats"]["n"]["mean"], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.model_state["batch_stats"]["n"]["var"], 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-5)
    assert int(metrics["n"]) == 12


def test_randomness_is_determined_by_seed_and_step(noisy):
    step, batch, _ = noisy

    def kernel_after(number, seed=3):
        state, *_ = step(start(Noisy(), batch, step=number, step_seed=seed)[0], batch)
        return np.asarray(state.params["d"]["kernel"])

    at_five = kernel_after(5)
    np.testing.assert_array_equal(kernel_after(5), at_five)
    for other in (kernel_after(6), kernel_after(0), kernel_after(5, seed=4)):
        assert np.abs(other - at_five).max() > 1e-4


def test_resumed_steps_equal_uninterrupted_ones_bit_for_bit(noisy):
    step, batch, _ = noisy
    state, saved = start(Noisy(), batch)[0], None
    for number in range(4):
        saved = jax.tree.map(np.array, state) if number == 2 else saved
        state, *_ = step(state, batch)
    again = jax.tree.map(jnp.array, saved)
    for _ in range(2):
        again, *_ = step(again, batch)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_the_state_is_donated_and_the_batch_is_not(noisy):
    step, batch, _ = noisy
    state, _ = start(Noisy(), batch)
    batch = jax.tree.map(jnp.array, batch)
    step(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(batch))


def test_steps_after_the_first_compile_nothing(noisy):
    step, batch, traces = noisy
    state, *_ = step(start(Noisy(), batch)[0], batch)
    before = len(traces)
    for seed in range(3):
        state, *_ = step(state, batch_of(12, seed=seed))
    assert len(traces) == before > 0
    assert int(state.step) == 4


def test_eight_images_are_memorized():
    batch = batch_of(8, (8, 8, 1), classes=4)
    state, optimizer = start(Small(), batch, Optimizer(algorithm="adam", learning_rate=0.02, weight_decay=0.0))
    step = jitted(Small(), optimizer)
    state, first, _ = step(state, batch)
    for _ in range(80):
        state, metrics, _ = step(state, batch)
    assert int(metrics["correct"]) == 8
    assert float(metrics["loss"]) < 0.02 * float(first["loss"])


def test_readings_are_computed_in_the_step_and_change_nothing():
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch, Optimizer(learning_rate=0.1, momentum=0.0, weight_decay=0.0))

    def read(state, batch, gradients, updates):
        return {"norm": optax.tree.norm(gradients), "moved": updates["d"]["bias"], "images": batch["image"].sum()}

    options = {"preprocess": lambda images: 2 * images}
    plain, _, nothing = jax.jit(make_train_step(Linear(), optimizer, **options))(state, batch)
    probed, _, found = jax.jit(make_train_step(Linear(), optimizer, readings=read, **options))(state, batch)
    assert nothing == {}
    jax.tree.map(np.testing.assert_array_equal, plain, probed)
    np.testing.assert_allclose(found["moved"], plain.params["d"]["bias"] - state.params["d"]["bias"], atol=1e-7)
    np.testing.assert_allclose(found["images"], 2 * batch["image"].sum(), rtol=1e-4)
    moved = jax.tree.map(lambda a, b: a - b, plain.params, state.params)
    assert float(found["norm"]) == pytest.approx(10 * float(optax.tree.norm(moved)), rel=1e-4)


class Averaged(nn.Module):
    """A network with a custom collection: an exponential moving average of the kernel."""

    @nn.compact
    def __call__(self, x, *, train):
        kernel = self.param("kernel", nn.initializers.normal(0.1), (32, 3))
        average = self.variable("ema", "kernel", lambda: kernel)
        if train and not self.is_initializing():
            average.value = 0.9 * average.value + 0.1 * kernel
        return x.reshape(len(x), -1) @ (kernel if train else average.value)


def test_a_network_with_a_custom_collection_trains():
    batch = batch_of(6)
    variables = Averaged().init(jax.random.key(0), batch["image"], train=False)
    optimizer = make_optimizer(Optimizer(learning_rate=0.5), variables["params"], **RUN)
    state, step = create_state(variables, optimizer), jitted(Averaged(), optimizer)
    average = np.asarray(variables["params"]["kernel"])
    for _ in range(3):
        average = 0.9 * average + 0.1 * np.asarray(state.params["kernel"])
        state, *_ = step(state, batch)
        np.testing.assert_allclose(state.model_state["ema"]["kernel"], average, rtol=1e-5, atol=1e-7)
    _, logits = jax.jit(make_eval_step(Averaged()))(state.variables, batch | {"mask": np.ones(6, bool)})
    np.testing.assert_allclose(logits, batch["image"].reshape(6, -1) @ average, rtol=1e-4, atol=1e-5)


class Shaken(nn.Module):
    """The draws of two random streams, of which training adds one to the logits and keeps both."""

    @nn.compact
    def __call__(self, x, *, train):
        logits = nn.Dense(3, name="d")(x.reshape(x.shape[0], -1))
        drawn = {name: self.variable("drawn", name, jnp.zeros, logits.shape) for name in ("noise", "dropout")}
        if train:
            for name, variable in drawn.items():
                variable.value = jax.random.normal(self.make_rng(name), logits.shape)
            logits += drawn["noise"].value
        return logits


def test_a_network_with_a_random_stream_of_its_own_trains():
    batch = batch_of(6)
    variables = Shaken().init(jax.random.key(0), batch["image"], train=False)
    optimizer = make_optimizer(Optimizer(), variables["params"], **RUN)
    draws = []
    for seed in (0, 0, 1):
        state, step = create_state(variables, optimizer, seed=seed), jitted(Shaken(), optimizer)
        for _ in range(2):
            state, *_ = step(state, batch)
            draws.append(jax.device_get(state.model_state["drawn"]))
    for name in ("noise", "dropout"):
        first, second, again, _, other, _ = (draw[name] for draw in draws)
        np.testing.assert_array_equal(first, again)
        assert (first != second).all() and (first != other).all() and np.abs(first).max() > 0.5
    assert (draws[0]["noise"] != draws[0]["dropout"]).all()


class Mixed(ConvNet):
    @nn.nowrap
    def layers(self):
        return (
            Conv(4, padding=1, name="c"),
            BatchNormRecord(name="n"),
            Activation("relu", name="a"),
            Flatten(name="f"),
            Dropout(0.3, name="o"),
            Dense(3, name="d"),
        )


def test_members_of_vmap_equal_their_individual_runs():
    """Four members that differ in seed, learning rate, weight decay and the order of the data, over 20 steps."""
    model, members, count = Mixed(ops="lax"), 4, 20
    batches = [[batch_of(8, (6, 6, 2), seed=97 * m + s) for s in range(count)] for m in range(members)]
    points = [{"learning_rate": 0.01 * (m + 1), "weight_decay": 0.01 * m, "momentum": 0.9} for m in range(members)]
    variables = jax.jit(lambda s: model.init(jax.random.key(s), batches[0][0]["image"], train=False))
    optimizer = make_optimizer(Optimizer(), jax.eval_shape(variables, 0)["params"], **RUN)
    states = [create_state(variables(m), optimizer, seed=m, hyper=points[m]) for m in range(members)]

    def augment(key, images):
        return images + 0.1 * jax.random.normal(key, images.shape)

    step = make_train_step(model, optimizer, augment=augment)
    alone, single = [], jax.jit(step)
    for state, own in zip(states, batches, strict=True):
        for batch in own:
            state, *_ = single(state, batch)
        alone.append(state)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states).replace(step=states[0].step)
    axes = stacked.replace(step=None, **{k: 0 for k in ("key", "hyper", "params", "model_state", "opt_state")})
    together = jax.jit(jax.vmap(step, in_axes=(axes, 0), out_axes=(axes, 0, 0)))
    for own in zip(*batches, strict=True):
        stacked, *_ = together(stacked, jax.tree.map(lambda *x: np.stack(x), *own))
    assert stacked.step.shape == () and int(stacked.step) == count
    for m, state in enumerate(alone):
        found = jax.tree_util.tree_leaves_with_path(stacked.variables)
        for (path, member), expected in zip(found, jax.tree.leaves(state.variables), strict=True):
            # The gradient of a bias before batch normalization is only rounding error.
            if jax.tree_util.keystr(path, simple=True, separator="/") != "params/c/bias":
                np.testing.assert_allclose(member[m], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- evaluation


def test_evaluation_counts_only_unmasked_examples():
    batch = batch_of(6) | {"mask": np.array([True, True, False, True, False, True])}
    state, _ = start(Linear(), batch)
    dense = jax.tree.map(np.asarray, state.params["d"])
    logits = batch["image"].reshape(6, -1) @ dense["kernel"] + dense["bias"]
    expected, labels = softmax(logits), batch["label"].copy()
    # Padding may have any values.
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
    """Return losses and batch statistics of the first steps of LeNet-5, with the batch split over so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    model, batches = LeNet5(norm="batch"), [batch_of(16, (32, 32, 1), 10, seed) for seed in range(4)]
    state, optimizer = start(model, batches[0])
    step = jax.jit(make_train_step(model, optimizer), donate_argnums=0, out_shardings=everywhere)
    state = jax.device_put(state, everywhere)
    losses, statistics = [], []
    for number in range(steps):
        state, metrics, _ = step(state, jax.device_put(batches[number % 4], split))
        assert len(state.step.sharding.device_set) == devices
        losses.append(float(metrics["loss"]))
        statistics.append(jax.tree.map(np.array, state.model_state))
    return losses, statistics


def test_training_on_eight_devices_equals_training_on_one():
    losses, statistics = train_on(1, 20)
    assert losses[-1] < losses[0]
    spread, spread_statistics = train_on(8, 20)
    np.testing.assert_allclose(spread, losses, rtol=1e-5)
    for ours, theirs in zip(spread_statistics, statistics, strict=True):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_a_tap_is_differentiated_with_the_loss_and_changes_nothing():
    """The gradient with respect to `zeros` of loss + zeros * |params|^2 is the square of the norm."""
    batch = batch_of(6)
    state, optimizer = start(Linear(), batch)

    def tap(loss, params, seen):
        assert seen["image"].shape == (6, 4, 4, 2)

        def tapped(params, zeros):
            value, rest = loss(params)
            return value + zeros * optax.tree.norm(params, squared=True), rest

        return tapped, jnp.zeros(())

    def readings(state, batch, gradients, updates, found, loss):
        return {"square": found, "loss": loss(state.params)[0], "gradient": gradients["d"]["bias"]}

    plain, metrics, _ = jax.jit(make_train_step(Linear(), optimizer))(state, batch)
    tapped, same, read = jax.jit(make_train_step(Linear(), optimizer, readings=readings, tap=tap))(state, batch)
    square = sum(np.sum(np.square(x)) for x in jax.tree.leaves(state.params))
    assert read["square"] == pytest.approx(square, rel=1e-5)
    assert read["loss"] == pytest.approx(float(metrics["loss"]) / 6, rel=1e-5) and read["gradient"].shape == (3,)
    for one, other in zip(jax.tree.leaves((plain, metrics)), jax.tree.leaves((tapped, same)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)
