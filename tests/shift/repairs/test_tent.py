from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten, LayerNorm, Residual
from jaxcnn.objectives import trained
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Network
from jaxcnn.shift.repairs import tent
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from jaxcnn.shift.repairs.tent import Entropy, minimize_entropy
from tests.shift.networks import images, network

LAYERS = (
    Conv(3, kernel=3, name="conv1"),
    BatchNorm(name="norm1"),
    Activation("relu", name="relu1"),
    Residual((Conv(3, kernel=3, padding=1, name="conv2"), BatchNorm(name="norm2")), name="res1"),
    Flatten(name="flatten"),
    Dense(5, name="f2"),
    LayerNorm(name="norm3"),
    Dense(4, name="output"),
)
NORMS = (("norm1",), ("res1", "norm2"))


def test_it_equals_a_loop_written_by_hand():
    """Adam on scales and biases only, one step a batch, and each prediction from before the update."""
    net, x = network(LAYERS), images(20)
    params, optimizer = net.variables["params"], optax.adam(1e-2)
    own = {"norm1": params["norm1"], "norm2": params["res1"]["norm2"]}
    state, order = optimizer.init(own), shuffled(20, 5, Stream.TEST_ORDER)
    expected = np.empty((20, 4), np.float32)

    def logits(own, batch):
        full = {**params, "norm1": own["norm1"], "res1": {**params["res1"], "norm2": own["norm2"]}}
        variables = {**net.variables, "params": full}
        return net.model.apply(variables, net.preprocess(batch), train=True, mutable=["batch_stats"])[0]

    def entropy(own, batch):
        p = jax.nn.softmax(logits(own, batch))
        return -jnp.mean(jnp.sum(p * jnp.log(p), axis=1))

    for start in range(0, 20, 8):
        rows = np.concatenate([order, order])[start : start + 8]
        new = rows[: 20 - start]
        expected[new] = jax.nn.log_softmax(logits(own, x[rows]))[: len(new)]
        updates, state = optimizer.update(jax.grad(entropy)(own, x[rows]), state)
        own = optax.apply_updates(own, updates)
    found = minimize_entropy(net, x, learning_rate=1e-2, batch_size=8, seed=5)
    np.testing.assert_allclose(found.log_probabilities, expected, atol=2e-4)
    adapted = found.network.variables["params"]
    np.testing.assert_allclose(adapted["norm1"]["scale"], own["norm1"]["scale"], atol=1e-4)
    np.testing.assert_allclose(adapted["res1"]["norm2"]["bias"], own["norm2"]["bias"], atol=1e-4)


def test_nothing_but_the_batch_norms_changes():
    net = network(LAYERS)
    found = minimize_entropy(net, images(20), batch_size=10).network.variables
    changed = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, a), b in zip(jax.tree.leaves_with_path(net.variables), jax.tree.leaves(dict(found)), strict=True)
        if not np.array_equal(a, b)
    }
    assert changed == {f"params/{'/'.join(path)}/{part}" for path in NORMS for part in ("scale", "bias")}


def test_every_call_starts_anew():
    net, x = network(LAYERS), images(20)
    first = minimize_entropy(net, x, batch_size=10).log_probabilities
    assert np.array_equal(first, minimize_entropy(net, x, batch_size=10).log_probabilities)
    other = minimize_entropy(net, x, batch_size=10, seed=1).log_probabilities
    assert not np.array_equal(first, other)


def test_a_single_batch_is_predicted_as_without_training():
    net, x = network(LAYERS), images(20)
    found = minimize_entropy(net, x, learning_rate=10.0)
    np.testing.assert_allclose(found.log_probabilities, predict_by_batch(net, x), atol=1e-5)
    assert not np.allclose(predict_by_batch(found.network, x), found.log_probabilities, atol=0.1)


def test_entropy_falls():
    net, x = network(LAYERS), images(30)

    def entropy(net):
        log_p = predict_by_batch(net, x)
        return -(np.exp(log_p) * log_p).sum(1).mean()

    assert entropy(minimize_entropy(net, x, learning_rate=0.05, batch_size=10).network) < entropy(net)


def test_dropout_is_off():
    """In training mode units would be dropped, and the predictions would be random."""
    dropped = network((*LAYERS[:5], Dropout(0.9, name="drop"), *LAYERS[5:]))
    whole = Network(network(LAYERS).model, dropped.variables, dropped.preprocess)
    x = images(20)
    np.testing.assert_allclose(
        minimize_entropy(dropped, x, batch_size=10).log_probabilities,
        minimize_entropy(whole, x, batch_size=10).log_probabilities,
        atol=1e-5,
    )


def test_one_program_serves_all_seeds_and_learning_rates():
    net, x = network(LAYERS), images(20)
    step = tent._step(net.model, net.preprocess, net.crop, tuple("/".join(path) for path in NORMS))
    minimize_entropy(net, x, batch_size=10)
    before = step._cache_size()
    for seed, rate in ((1, 1e-3), (2, 0.5)):
        minimize_entropy(net, x, batch_size=10, seed=seed, learning_rate=rate)
    assert step._cache_size() == before


def test_the_network_is_computed_once_a_step():
    """The predictions before the update are those of the loss; computing them again would cost a third forward pass."""
    net, x = network(LAYERS), images(20)
    layers = tuple("/".join(path) for path in NORMS)
    step = tent._step(net.model, net.preprocess, net.crop, layers)
    state = tent.create_state(net.variables, tent._adam(), hyper={"learning_rate": 1e-3})
    text = step.lower(state, {"image": jnp.asarray(x)}).compile().as_text()
    blind = replace(net, model=net.model)
    alone = (
        jax.jit(
            lambda v: jax.value_and_grad(
                lambda p: Entropy(layers).sums(
                    tent.ByBatch(blind.model).apply({**v, "params": p}, net.preprocess(x), train=True)[0], {}
                )["loss"]
            )(v["params"])
        )
        .lower(dict(net.variables))
        .compile()
        .as_text()
    )
    assert text.count(" convolution(") <= alone.count(" convolution(")


def test_only_the_named_layers_train():
    params = network(LAYERS).variables["params"]
    mask = trained(Entropy(("res1/norm2",)), params)
    on = [jax.tree_util.keystr(p, simple=True, separator="/") for p, leaf in jax.tree.leaves_with_path(mask) if leaf]
    assert on == ["res1/norm2/bias", "res1/norm2/scale"]
    with pytest.raises(InputError, match="selects no parameter"):
        trained(Entropy(("norm9",)), params)


def test_entropies_of_known_distributions():
    logits = jnp.array([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], [0.0, 0.0, -jnp.inf, -jnp.inf]])
    sums = Entropy(()).sums(logits, {})
    np.testing.assert_allclose(sums["loss"], np.log(4) + np.log(2), rtol=1e-6)
    masked = Entropy(()).sums(logits, {"mask": jnp.array([True, False, False])})
    np.testing.assert_allclose(masked["loss"], np.log(4), rtol=1e-6)
    assert sums["n"] == 3 and masked["n"] == 1
