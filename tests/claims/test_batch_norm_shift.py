"""The verdict on covariate shift follows from hand-made shifts by the rule, and the noise has its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.claims.batch_norm_shift import NoisyBatchNorm, _shifts, at_each_rate, decide, draw
from jaxcnn.layers import Activation, BatchNorm, Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.norms import BatchNorm as BatchNormModule
from jaxcnn.probes import internal_covariate_shift, network_loss
from jaxcnn.training.state import TrainState
from tests.probes.probed_networks import run

NOISE = [0.02, -0.02, 0.01, -0.01, 0.0]
ARMS = ("none", "batch", "noisy")


def measured(gradients, inputs, noise, errors):
    """Shifts with batch normalization relative to those without, at rates of 0.1 and 1; how many times the inputs shift
    with the noise; and the test errors of the arms at a rate of 1."""

    def runs(factors, times):
        return [
            [{"gradients": g * (1 + n * i), "inputs": x * times * (1 + n * i)} for i, n in enumerate(NOISE)]
            for g, x in factors
        ]

    same = [(1.0, 1.0)] * 2
    return {
        "rates": [0.1, 1.0],
        "shifts": {
            "none": runs(same, 1),
            "batch": runs(zip(gradients, inputs, strict=True), 1),
            "noisy": runs(same, noise),
        },
        "validation_errors": {arm: [[50.0] * 5, [40.0] * 5] for arm in ARMS},
        "test_errors": {arm: [[60.0] * 5, [x + n for n in NOISE]] for arm, x in zip(ARMS, errors, strict=True)},
    }


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (measured((0.5, 0.5), (0.5, 0.5), 2, (40, 35, 45)), "holds"),
        (measured((0.5, 0.5), (0.5, 0.5), 0.5, (40, 35, 36)), "holds"),
        (
            measured((0.5, 0.5), (0.5, 0.5), 2, (40, 35, 36)),
            "holds if it does not say that this is why it helps",
        ),
        (
            measured((2.0, 0.5), (2.0, 2.0), 2, (40, 35, 45)),
            "holds if the gradient of a layer is meant at a learning rate of 1",
        ),
        (
            measured((2.0, 0.5), (0.5, 0.5), 2, (40, 35, 36)),
            "holds if the gradient of a layer is meant at a learning rate of 1 and the input of a layer is meant, "
            "and it does not say that this is why it helps",
        ),
        (measured((2.0, 2.0), (1.0, 2.0), 2, (40, 35, 36)), "does not hold"),
    ],
)
def test_shifts_must_be_reduced_and_noise_must_take_the_benefit_away(found, verdict, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(found["shifts"]["batch"][1][4]["gradients"])
    assert draw(found, tmp_path / "a.png").is_file()


def test_a_rate_at_which_runs_diverge_does_not_count(tmp_path):
    found = measured((0.5, 2.0), (0.5, 2.0), 2, (40, 35, 36))
    found["shifts"]["none"][1] = [None] * 5
    assert at_each_rate(found, "inputs")[1] is None
    decided = decide(found)
    assert decided.verdict == "holds" and (decided.effect, decided.interval) == (None, (None, None))
    assert "unknown at 1" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_noise_is_drawn_for_each_unit_in_training_only():
    x = np.random.default_rng(0).normal(size=(50, 4000)).astype(np.float32)
    model, plain = Chain((NoisyBatchNorm(name="norm"),)), BatchNormModule()
    variables = model.init(jax.random.key(0), x, train=False)
    own = {name: collection["norm"] for name, collection in variables.items()}
    trained = {"train": True, "mutable": ["batch_stats"]}
    noisy, _ = model.apply(variables, x, rngs={"dropout": jax.random.key(1)}, **trained)
    clean, _ = plain.apply(own, x, **trained)
    noisy, clean = np.asarray(noisy), np.asarray(clean)
    factor, shift = np.std(noisy, axis=0), np.mean(noisy, axis=0)
    for values, low, high in ((factor, 1, 1.25), (shift, -0.5, 0.5)):
        assert values.min() == pytest.approx(low, abs=0.01)
        assert values.max() == pytest.approx(high, abs=0.01)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02)
    np.testing.assert_allclose(noisy, clean * factor + shift, atol=1e-3)
    np.testing.assert_array_equal(model.apply(variables, x, train=False), plain.apply(own, x, train=False))


@pytest.mark.slow
def test_readings_compare_gradients_with_the_same_noise_and_inputs_with_new_noise():
    norms = {"clean": BatchNorm(name="norm"), "noisy": NoisyBatchNorm(name="norm")}
    rng, found = np.random.default_rng(0), {}
    batch = {"image": rng.normal(size=(32, 2, 3, 1)).astype(np.float32), "label": np.arange(32) % 10}
    for name, norm in norms.items():
        hidden = (Dense(8, name="fc1"), norm, Activation("tanh", name="act"))
        model = Chain((Flatten(name="flatten"), *hidden, Dense(10, name="output")))
        variables = model.init(jax.random.key(0), batch["image"], train=False)
        key = jax.random.key_data(jax.random.key(5, impl="threefry2x32"))
        state = TrainState(jnp.int32(3), key, {}, variables["params"], {"batch_stats": variables["batch_stats"]}, None)
        still = jax.tree.map(jnp.zeros_like, state.params)
        found[name] = run(_shifts(model), state, batch, still, still)
        moved = jax.tree.map(lambda x: jnp.full_like(x, 0.1), state.params)
        found[name, "moved"] = run(_shifts(model), state, batch, still, moved)
    for name in norms:
        assert found[name]["gradients"] == [0]
        assert found[name, "moved"]["gradients"] > 0
    assert found["clean"]["inputs"] == [0] and found["noisy"]["inputs"] > 0.1
    layers = internal_covariate_shift(network_loss(model, variables, batch), state.params, still)["layers"]
    assert list(layers) == ["fc1", "output"]
