from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.data import Split, eval_batches
from jaxcnn.evaluation.exact import evaluate, evaluate_members, evaluate_model
from jaxcnn.evaluation.test_time_augmentation import make_protocol
from jaxcnn.models import LeNet5
from jaxcnn.norms import BatchNorm
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.steps import make_eval_step

N, CLASSES = 21, 4


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(CLASSES, name="d")(x.reshape(x.shape[0], -1))


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 3, 2, 1)).astype(np.uint8)
    return Split(images, rng.integers(0, CLASSES, N).astype(np.int32))


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(6, CLASSES)), rng.normal(size=CLASSES)
    return {"params": {"d": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}}, "batch_stats": {}}


@pytest.fixture(scope="module")
def eval_step():
    return make_eval_step(Linear(), preprocess=lambda images: images / 255.0)


@pytest.fixture(scope="module")
def truth(split, variables):
    """Return metrics and logits over all examples at once, in NumPy and double precision."""
    dense = jax.tree.map(lambda v: v.astype(np.float64), variables["params"]["d"])
    logits = (split.images / 255).reshape(N, -1) @ dense["kernel"] + dense["bias"]
    losses = np.log(np.exp(logits).sum(-1)) - logits[range(N), split.labels]
    correct = int((logits.argmax(-1) == split.labels).sum())
    return {"accuracy": correct / N, "error": (N - correct) / N, "loss": losses.mean(), "n": N}, logits


@pytest.mark.parametrize("devices", [None, 1, 8])
@pytest.mark.parametrize("batch_size", [1, 5, N, 500])
def test_every_example_counts_once_for_any_batch_size_and_device_count(
    eval_step, split, variables, truth, batch_size, devices
):
    mesh = devices and Mesh(np.array(jax.devices()[:devices]), ("data",))
    sharding = mesh and NamedSharding(mesh, PartitionSpec("data"))
    if mesh:
        variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    metrics, logits = evaluate(eval_step, variables, eval_batches(split, batch_size, sharding=sharding))
    expected, expected_logits = truth
    assert metrics == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert metrics["accuracy"] == expected["accuracy"]
    assert type(metrics["n"]) is int
    assert metrics["accuracy"] + metrics["error"] == pytest.approx(1, abs=1e-15)
    assert isinstance(logits, np.ndarray)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)


def test_sums_over_many_batches_are_not_rounded():
    """float32 would stop counting at 2**24."""
    n = 2**24 + 3

    def step(variables, batch):
        return {"loss": np.float32(1), "correct": np.int32(n), "n": np.int32(n)}, np.zeros((1, 2), np.float32)

    batches = [{"mask": np.ones(1, bool)}] * 3
    assert evaluate(step, {}, batches)[0] == {"accuracy": 1.0, "error": 0.0, "loss": 3 / (3 * n), "n": 3 * n}


def test_an_evaluation_that_is_not_finite_raises_an_error():
    def step(variables, batch):
        return {"loss": np.float32(np.nan), "correct": np.int32(2), "n": np.int32(3)}, logits

    logits = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, np.inf], [np.nan, np.nan]], np.float32)
    with pytest.raises(NonFinite, match="the loss is nan; the logits of 2 of 3 images are not finite"):
        evaluate(step, {}, [{"mask": np.array([True, True, True, False])}])


@pytest.mark.parametrize("own", [False, True])
def test_members_are_evaluated_like_single_networks(own):
    """With a batch for all, or one for each; a network whose scores are not finite does not disturb the other."""

    def step(weight, batch):
        logits = batch["image"] * weight
        losses = jnp.where(batch["mask"], jnp.abs(logits).sum(-1), 0)
        return {"loss": losses.sum(), "correct": jnp.int32(1), "n": batch["mask"].sum()}, logits

    rng = np.random.default_rng(0)
    weights, masks = np.array([2.0, np.nan, 3.0], np.float32), ([True, True], [True, False])
    batches = [
        [{"image": rng.normal(size=(2, 3)).astype(np.float32), "mask": np.array(mask)} for mask in masks]
        for _ in range(3 if own else 1)
    ]
    stacked = [jax.tree.map(lambda *x: np.stack(x), *each) for each in zip(*batches, strict=True)]
    found = evaluate_members(jax.vmap(step, in_axes=(0, 0 if own else None)), weights, stacked if own else batches[0])
    for member, weight in enumerate(weights):
        alone = batches[member] if own else batches[0]
        if np.isnan(weight):
            assert isinstance(found[member], NonFinite) and "the logits of 3 of 3 images" in str(found[member])
            continue
        metrics, logits = evaluate(step, weight, alone)
        assert found[member][0] == pytest.approx(metrics) and type(found[member][0]["n"]) is int
        np.testing.assert_allclose(found[member][1], logits)


def test_poll_is_called_before_every_batch_and_may_stop(eval_step, split, variables):
    calls = []

    def poll():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(eval_step, variables, eval_batches(split, 5), poll=poll)
    assert len(calls) == 3


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def framed(split):
    """Images larger than the windows of 3x2 that the network sees."""
    images = np.random.default_rng(2).integers(0, 256, (N, 5, 3, 1)).astype(np.uint8)
    return Split(images, split.labels)


@pytest.mark.parametrize("devices", [None, 8])
@pytest.mark.parametrize("batch_size", [1, 5, N, 500])
def test_a_protocol_counts_every_example_once(framed, variables, batch_size, devices):
    mesh = devices and Mesh(np.array(jax.devices()[:devices]), ("data",))
    protocol = replace(make_protocol("ten_crop", (5, 3), crop=2), crop=(3, 2))
    found = evaluate_model(
        Linear(),
        variables,
        framed,
        protocol,
        preprocess=lambda images: images / 255.0,
        batch_size=batch_size,
        sharding=mesh and NamedSharding(mesh, PartitionSpec("data")),
    )
    dense, answers = jax.tree.map(lambda v: v.astype(np.float64), variables["params"]["d"]), []
    for top, left in [(0, 0), (0, 1), (2, 0), (2, 1), (1, 0)]:
        window = framed.images[:, top : top + 3, left : left + 2] / 255
        for view in (window, window[:, :, ::-1]):
            answers.append(softmax(view.reshape(N, -1) @ dense["kernel"] + dense["bias"]))
    mean = np.mean(answers, 0)
    own = mean[range(N), framed.labels]
    assert found["top1_error"] == np.mean(mean.argmax(-1) != framed.labels)
    assert found["nll"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert found["top5_error"] is None and found["n"] == N


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(name="norm")(nn.Dense(CLASSES, name="d")(x.reshape(x.shape[0], -1)), train=train)


def test_statistics_of_test_batches_include_no_padding(split, variables):
    """Batches of 8 of 21 images: the last is filled with images of the first, and no zeros are normalized."""
    stats = {"mean": np.zeros(CLASSES, np.float32), "var": np.ones(CLASSES, np.float32)}
    affine = {"scale": np.ones(CLASSES, np.float32), "bias": np.zeros(CLASSES, np.float32)}
    weights = {"params": {**variables["params"], "norm": affine}, "batch_stats": {"norm": stats}}
    seen, mesh = [], Mesh(np.array(jax.devices()), ("data",))

    def test(batch_size, **options):
        def preprocess(images):
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), images)
            return images / 255.0

        options = {"prior": 0.0, "batch_size": batch_size, "preprocess": preprocess, **options}
        found = evaluate_model(Normalized(), weights, split, make_protocol("center", (3, 2)), **options)
        jax.effects_barrier()
        return found

    whole = test(500)
    (batch,) = seen
    assert batch.shape == split.images.shape and not np.array_equal(batch, split.images)
    dense = variables["params"]["d"]
    logits = (split.images / 255).reshape(N, -1) @ dense["kernel"] + dense["bias"]
    logits = (logits - logits.mean(0)) / np.sqrt(logits.var(0) + 1e-5)
    assert whole["nll"] == pytest.approx(-np.log(softmax(logits)[range(N), split.labels]).mean(), rel=1e-4)

    seen.clear()
    some = test(8)
    rows = sorted(x.tobytes() for x in split.images)
    shown = [x.tobytes() for x in np.concatenate(seen)]
    assert len(seen) == 3 and len(shown) == 24
    assert sorted(shown[:N]) == rows and shown[N:] == shown[: 24 - N]
    assert some["n"] == N and some["nll"] != whole["nll"]
    assert test(8, sharding=NamedSharding(mesh, PartitionSpec("data")))["nll"] == pytest.approx(some["nll"], rel=1e-5)
    assert test(8, seed=1)["nll"] != pytest.approx(some["nll"], rel=1e-5)
    assert test(8, prior=1e9)["nll"] == pytest.approx(test(5, prior=None)["nll"], rel=1e-5)


def test_poll_is_called_before_every_view(framed, variables):
    calls = []
    protocol = replace(make_protocol("ten_crop", (5, 3), crop=2), crop=(3, 2))
    evaluate_model(Linear(), variables, framed, protocol, batch_size=11, poll=lambda: calls.append(1))
    assert len(calls) == 2 * 10


def test_weights_for_another_image_size_raise_one_message(split):
    variables = jax.eval_shape(lambda: LeNet5().init(jax.random.key(0), np.zeros((1, 32, 32, 1)), train=False))
    large = Split(np.zeros((2, 40, 40, 1), np.uint8), np.zeros(2, np.int32))
    for name in ("center", "dense"):
        with pytest.raises(InputError, match=r"crop.*that (it|the network) was trained on") as error:
            evaluate_model(LeNet5(), variables, large, make_protocol(name, (40, 40)))
        assert "\n" not in str(error.value)
