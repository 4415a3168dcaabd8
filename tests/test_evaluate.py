import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.data import Split, eval_batches
from jaxcnn.evaluate import evaluate
from jaxcnn.steps import make_eval_step

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
    """Metrics and logits over all examples at once, in NumPy and double precision."""
    dense = jax.tree.map(lambda v: v.astype(np.float64), variables["params"]["d"])
    logits = (split.images / 255).reshape(N, -1) @ dense["kernel"] + dense["bias"]
    losses = np.log(np.exp(logits).sum(-1)) - logits[range(N), split.labels]
    correct = int((logits.argmax(-1) == split.labels).sum())
    return {"accuracy": correct / N, "error": (N - correct) / N, "loss": losses.mean(), "n": N}, logits


@pytest.mark.parametrize("devices", [None, 1, 8])
@pytest.mark.parametrize("batch_size", [1, 5, N, 500])
def test_every_example_counts_once_whatever_the_batch_and_the_devices(
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


def test_many_batches_add_up_without_rounding():
    """float32 would stop counting at 2**24."""
    n = 2**24 + 3

    def step(variables, batch):
        return {"loss": np.float32(1), "correct": np.int32(n), "n": np.int32(n)}, np.zeros((1, 2), np.float32)

    batches = [{"mask": np.ones(1, bool)}] * 3
    assert evaluate(step, {}, batches)[0] == {"accuracy": 1.0, "error": 0.0, "loss": 3 / (3 * n), "n": 3 * n}


def test_poll_is_called_before_every_batch_and_may_stop(eval_step, split, variables):
    calls = []

    def poll():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(eval_step, variables, eval_batches(split, 5), poll=poll)
    assert len(calls) == 3
