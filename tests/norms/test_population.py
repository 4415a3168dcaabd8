import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import layers
from jaxcnn.models import Chain
from jaxcnn.norms import BatchNorm
from jaxcnn.norms.population import apply_blended, batch_norm_paths, estimate_statistics, measure, parse_batch_stats
from jaxcnn.runtime.errors import InputError

EPSILON = 1e-5


class Net(nn.Module):
    """A user's network: names in another order than the calls, one nested norm, and dropout in between."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.tanh(BatchNorm(name="z")(nn.Conv(3, (2, 2), padding="VALID", name="conv")(x), train=train))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return Tail(name="a")(x.reshape(x.shape[0], -1), train=train)


class Tail(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(name="norm")(nn.Dense(4, name="dense")(x), train=train)


def pixels(n, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, (n, 3, 3, 2)).astype(np.float32)


def draw(model):
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), pixels(1), train=False))
    return jax.tree.map(lambda x: (0.5 + rng.random(x.shape)).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def variables():
    return draw(Net())


def by_hand(variables, x, first=None, last=None):
    """Compute the inputs of both normalizations and the logits in NumPy, with statistics (mean, var), or those of x."""
    p = jax.tree.map(np.float64, variables["params"])
    kernel = p["conv"]["kernel"]
    windows = np.stack([x[:, i : i + 2, j : j + 2] for i in range(2) for j in range(2)], 1)
    z = np.einsum("npijc,ijcf->npf", windows, kernel) + p["conv"]["bias"]

    def normalize(values, statistics, scale_and_bias):
        flat = values.reshape(-1, values.shape[-1])
        mean, var = statistics or (flat.mean(0), flat.var(0))
        return (values - mean) / np.sqrt(var + EPSILON) * scale_and_bias["scale"] + scale_and_bias["bias"]

    hidden = np.tanh(normalize(z, first, p["z"])).reshape(len(x), -1)
    d = hidden @ p["a"]["dense"]["kernel"] + p["a"]["dense"]["bias"]
    return z.reshape(-1, 3), d, normalize(d, last, p["a"]["norm"])


def kept(variables):
    found = variables["batch_stats"]
    return [np.asarray(v[k]) for v in (found["z"], found["a"]["norm"]) for k in ("mean", "var")]


def test_paths_are_in_the_order_of_the_calls(variables):
    assert batch_norm_paths(Net(), variables, pixels(1)) == (("z",), ("a", "norm"))


@pytest.mark.parametrize("by_batch", [True, False])
def test_measured_statistics_equal_numpy(variables, by_batch):
    x, running = pixels(5), tuple(kept(variables)[:2])
    found = jax.jit(lambda v, x: measure(Net(), v, x, by_batch=by_batch))(variables, x)
    z, d, _ = by_hand(variables, x, None if by_batch else running)
    for values, measured, count in ((z, found[("z",)], 20), (d, found[("a", "norm")], 5)):
        assert measured.count == count
        np.testing.assert_allclose(measured.mean, values.mean(0), rtol=1e-4)
        np.testing.assert_allclose(measured.var, values.var(0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["algorithm2", "pooled", "full_pass"])
def test_estimates_equal_numpy(variables, kind):
    """Three batches, the last of which is smaller; for full_pass they count as one batch."""
    batches = [pixels(4, 1), pixels(4, 2), pixels(2, 3)]
    found = estimate_statistics(kind, Net(), variables, lambda: iter(batches))
    if kind == "full_pass":
        z, d, _ = by_hand(variables, np.concatenate(batches))
        expected = [z.mean(0), z.var(0), d.mean(0), d.var(0)]
    else:
        met = [by_hand(variables, x)[:2] for x in batches]
        expected = []
        for values in zip(*met, strict=True):
            if kind == "algorithm2":
                pair = np.mean([v.mean(0) for v in values], 0), np.mean([v.var(0, ddof=1) for v in values], 0)
            else:
                pair = np.concatenate(values).mean(0), np.concatenate(values).var(0)
            expected += pair
    for values, truth in zip(kept(found), expected, strict=True):
        np.testing.assert_allclose(values, truth, rtol=1e-4, atol=1e-5)
    assert found["params"] is variables["params"]
    assert kept(found)[0].dtype == np.float32


def test_full_pass_equals_training_mode_on_all_images(variables):
    """Pooling does not, because it normalizes every batch by its own statistics."""
    batches = [pixels(4, 1), pixels(4, 2)]
    model = Chain(
        (
            layers.Conv(3, kernel=2, name="conv"),
            layers.BatchNorm(name="n1"),
            layers.Activation("tanh", name="act"),
            layers.Flatten(name="flatten"),
            layers.Dense(4, name="dense"),
            layers.BatchNorm(name="n2"),
        )
    )
    weights, everything = draw(model), np.concatenate(batches)
    expected, _ = model.apply(weights, everything, train=True, mutable=["batch_stats"])
    difference = {}
    for kind in ("pooled", "full_pass"):
        found = model.apply(estimate_statistics(kind, model, weights, lambda: batches), everything, train=False)
        difference[kind] = np.abs(found - expected).max()
    assert difference["full_pass"] < 1e-3 < 0.01 < difference["pooled"]


def test_estimates_are_blended_with_the_statistics_so_far(variables):
    """For full_pass, the second normalization sees inputs that the blend of the first has normalized."""
    batches, n, prior = [pixels(4, 1), pixels(2, 2)], 6, 3.0
    x, source = np.concatenate(batches), kept(variables)
    z, _, _ = by_hand(variables, x)
    first = [(prior * s + n * t) / (prior + n) for s, t in zip(source[:2], (z.mean(0), z.var(0)), strict=True)]
    _, d, _ = by_hand(variables, x, first)
    last = [(prior * s + n * t) / (prior + n) for s, t in zip(source[2:], (d.mean(0), d.var(0)), strict=True)]
    found = kept(estimate_statistics("full_pass", Net(), variables, lambda: iter(batches), prior=prior))
    for values, truth in zip(found, [*first, *last], strict=True):
        np.testing.assert_allclose(values, truth, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="prior is -1"):
        estimate_statistics("pooled", Net(), variables, lambda: iter(batches), prior=-1.0)


@pytest.mark.parametrize("prior", [0.0, 3.0, 1e9])
def test_blended_logits_equal_numpy(variables, prior):
    x, n = pixels(6), 6
    source = kept(variables)
    z, _, _ = by_hand(variables, x)
    first = [(prior * s + n * t) / (prior + n) for s, t in zip(source[:2], (z.mean(0), z.var(0)), strict=True)]
    _, d, _ = by_hand(variables, x, first)
    last = [(prior * s + n * t) / (prior + n) for s, t in zip(source[2:], (d.mean(0), d.var(0)), strict=True)]
    _, _, expected = by_hand(variables, x, first, last)
    found = jax.jit(lambda v, x: apply_blended(Net(), v, x, prior))(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    if prior == 1e9:
        np.testing.assert_allclose(found, Net().apply(variables, x, train=False), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ema", ("ema", None)),
        ("algorithm2", ("algorithm2", None)),
        ("full_pass", ("full_pass", None)),
        ("batch", ("batch", 0.0)),
        ("blend:16", ("blend", 16.0)),
        ("blend:0", ("blend", 0.0)),
    ],
)
def test_choices_of_statistics_are_parsed(text, expected):
    assert parse_batch_stats(text) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_batch_stats("polled"), "'polled' is unknown; there are ema, .* blend:N. Did you mean 'pooled'"),
        (lambda: parse_batch_stats("ema:3"), "'ema:3' is unknown"),
        (lambda: parse_batch_stats("blend"), "N must be a number >= 0"),
        (lambda: parse_batch_stats("blend:-1"), "N must be a number >= 0"),
        (lambda: parse_batch_stats("blend:nan"), "N must be a number >= 0"),
        (lambda: estimate_statistics("pooled", Net(), {}, lambda: []), "needs training images, and there are none"),
        (
            lambda: batch_norm_paths(
                Chain((layers.Flatten(name="f"),)), {}, jax.ShapeDtypeStruct((1, 2, 2, 1), jnp.float32)
            ),
            "Chain has no batch normalization",
        ),
    ],
)
def test_bad_input_is_one_message(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
