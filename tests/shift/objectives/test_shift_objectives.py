"""The objectives for two domains, against NumPy, gradients by hand, and torch."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxcnn import create_state, make_train_step
from jaxcnn.objectives import OWN, CrossEntropy, Objective
from jaxcnn.probes import with_features
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import (
    DANN,
    DeepCoral,
    LinearProbe,
    RobustPseudoLabels,
    SelfTraining,
    coral_distance,
    generalized_cross_entropy,
    reverse_gradient,
)
from jaxcnn.shift.objectives.dann import reversal_strength
from jaxcnn.training.steps import training_apply

rng = np.random.default_rng(0)
KEY = jax.random.key(0)


class Net(nn.Module):
    """A network with batch normalization, dropout, and an activation after its last layer."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Dense(6, name="encoder")(x.reshape(len(x), -1)))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(3, name="output")(x).reshape(-1, 3)


def batch_of(n=8, shift=1.0):
    images = rng.normal(size=(n, 2, 2, 1)).astype(np.float32)
    other = shift + 2 * rng.normal(size=(n, 2, 2, 1)).astype(np.float32)
    return {"image": images, "label": np.arange(n, dtype=np.int32) % 3, "target": other}


def network(model, batch):
    variables = jax.jit(partial(model.init, train=False))(KEY, batch["image"])
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def evaluate(objective, model, params, state, batch):
    """Return what an objective returns, as one program."""
    call = jax.jit(lambda params, batch: objective(training_apply(model, train=True), params, state, batch, KEY))
    return call(params, batch)


def passes(params, batch):
    """Return logits and features of both domains in NumPy, each normalized by its own statistics."""
    found = []
    for name in ("image", "target"):
        x = batch[name].reshape(len(batch[name]), -1).astype(np.float64)
        x = np.maximum(x @ np.asarray(params["encoder"]["kernel"]) + np.asarray(params["encoder"]["bias"]), 0)
        mean, var = x.mean(0), x.var(0)
        x = (x - mean) / np.sqrt(var + 1e-5)
        found.append((x @ np.asarray(params["output"]["kernel"]), x, mean, var))
    return found


def nll(logits, labels):
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


# --- CORAL


def numpy_coral(a, b):
    d = a.shape[1]
    return ((np.cov(a.T, ddof=1) - np.cov(b.T, ddof=1)) ** 2).sum() / (4 * d**2)


def test_the_coral_distance_is_the_papers():
    a, b = rng.normal(size=(20, 5)), rng.normal(size=(33, 5)) @ rng.normal(size=(5, 5)) + 7
    assert float(coral_distance(a, b)) == pytest.approx(numpy_coral(a, b), rel=1e-5)
    # Covariances of features, not of images (which skada's first version took), and no term of the means.
    assert float(coral_distance(a, a + 3)) == pytest.approx(0, abs=1e-10)
    # A closed form: features of one dimension with variances 1 and 4 have the distance (4 - 1)² / 4.
    one = np.array([[-1.0], [0.0], [1.0]])
    assert float(coral_distance(one, 2 * one)) == pytest.approx(9 / 4)


def test_deep_coral_adds_the_distance_of_the_features_of_two_separate_passes():
    batch = batch_of()
    params, state = network(Net(), batch)
    loss, (after, sums) = evaluate(DeepCoral(weight=3.0), Net(), params, state, batch)
    (logits, source, *_), (target_logits, target, mean, var) = passes(params, batch)
    classification = nll(logits, batch["label"]).mean()
    distance = numpy_coral(source, target)
    assert float(loss) == pytest.approx(classification + 3 * distance, rel=1e-4)
    assert float(sums["loss"]) == pytest.approx(8 * classification, rel=1e-4)
    assert float(sums["coral"]) == pytest.approx(8 * distance, rel=1e-4)
    p = np.exp(target_logits) / np.exp(target_logits).sum(-1, keepdims=True)
    assert float(sums["target_entropy"]) == pytest.approx(-8 * (p * np.log(p)).sum(-1).mean(), rel=1e-4)
    # The running statistics are those of the target, moved once.
    np.testing.assert_allclose(after["batch_stats"]["norm"]["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(after["batch_stats"]["norm"]["var"], 0.9 + 0.1 * var, rtol=1e-4)


@pytest.mark.parametrize("objective", [DeepCoral(weight=3.0), DANN(), SelfTraining()], ids=lambda o: type(o).__name__)
def test_statistics_of_the_source_can_be_kept(objective):
    batch = batch_of() | {"progress": np.float32(0.5)}
    params, state = network(Net(), batch)
    params = {**params, OWN: objective.init(KEY, None, jax.ShapeDtypeStruct((1, 6), np.float32))}
    objective = dataclasses.replace(objective, statistics="source")
    _, (after, _) = evaluate(objective, Net(), params, state, batch)
    np.testing.assert_allclose(after["batch_stats"]["norm"]["mean"], 0.1 * passes(params, batch)[0][2], rtol=1e-4)
    assert set(after) == {"batch_stats"}


def test_the_encoder_receives_the_gradients_of_both_terms():
    """In a known implementation it receives only CORAL's."""
    batch = batch_of()
    params, state = network(Net(), batch)

    def gradient(objective):
        def loss(params):
            return evaluate(objective, Net(), params, state, batch)[0]

        return np.asarray(jax.jit(jax.grad(loss))(params)["encoder"]["kernel"])

    def coral(kernel):
        a, b = passes({**params, "encoder": {**params["encoder"], "kernel": kernel}}, batch)
        return numpy_coral(a[1], b[1])

    slope = np.zeros((4, 6))
    kernel = np.asarray(params["encoder"]["kernel"], np.float64)
    for place in np.ndindex(4, 6):
        moved = np.zeros((4, 6))
        moved[place] = 1e-5
        slope[place] = (coral(kernel + moved) - coral(kernel - moved)) / 2e-5
    task, both = gradient(DeepCoral(weight=0.0)), gradient(DeepCoral(weight=50.0))
    assert np.abs(task).max() > 1e-2
    np.testing.assert_allclose(both, task + 50 * slope, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(task, gradient(CrossEntropy()), rtol=1e-4, atol=1e-6)


# --- DANN


def test_the_reversed_gradient_is_multiplied_by_minus_the_strength():
    x = jnp.array([1.0, -2.0])
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(reverse_gradient(x, 0.3) ** 2))(x)
    assert float(value) == 5
    np.testing.assert_allclose(gradient, -0.3 * 2 * x, rtol=1e-6)
    jitted = jax.jit(jax.vmap(jax.grad(lambda x, s: reverse_gradient(x, s) ** 3), in_axes=(0, None)))
    np.testing.assert_allclose(jitted(x, jnp.float32(2.0)), -2 * 3 * x**2, rtol=1e-6)


def test_the_strength_rises_from_0_to_1():
    # Ganin et al. (2016), section 5.2.2; a negative gamma, with the reversal, would undo it.
    p = np.linspace(0, 1, 11)
    np.testing.assert_allclose(reversal_strength(p), 2 / (1 + np.exp(-10 * p)) - 1, atol=1e-6)
    assert float(reversal_strength(0.0)) == 0 and float(reversal_strength(1.0)) > 0.9999
    with pytest.raises(InputError, match=r"DANN\.gamma is -10"):
        DANN(gamma=-10)


def test_dann_equals_gradient_reversal_by_hand_in_torch():
    torch = pytest.importorskip("torch")
    batch = batch_of() | {"progress": np.float32(0.2)}
    params, state = network(Net(), batch)
    dann = DANN(weight=0.7, hidden=(5,))
    params[OWN] = dann.init(jax.random.key(1), None, jax.ShapeDtypeStruct((1, 6), np.float32))

    def loss(params):
        return evaluate(dann, Net(), params, state, batch)

    (value, (_, sums)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    def tensors(tree):
        return jax.tree.map(lambda x: torch.tensor(np.asarray(x, np.float64), requires_grad=True), tree)

    def losses(encoder, rest):
        features = []
        for name in ("image", "target"):
            x = torch.tensor(batch[name].reshape(8, -1).astype(np.float64))
            x = torch.relu(x @ encoder["kernel"] + encoder["bias"])
            features.append((x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5))
        logits = features[0] @ rest["output"]["kernel"] + rest["output"]["bias"]
        labels = torch.tensor(batch["label"].astype(np.int64))
        task = torch.nn.functional.cross_entropy(logits, labels)
        x = torch.cat(features)
        own = rest[OWN]
        x = torch.relu(x @ own["dense1"]["kernel"] + own["dense1"]["bias"])
        odds = (x @ own["dense2"]["kernel"] + own["dense2"]["bias"])[:, 0]
        domains = torch.cat([torch.ones(8), torch.zeros(8)]).double()
        return task, torch.nn.functional.binary_cross_entropy_with_logits(odds, domains), odds, domains

    strength = 0.7 * (2 / (1 + np.exp(-10 * 0.2)) - 1)
    encoder, rest = tensors(params["encoder"]), tensors({name: params[name] for name in ("output", OWN)})
    task, domain, odds, domains = losses(encoder, rest)
    assert float(value) == pytest.approx((task + domain).item(), rel=1e-4)
    assert float(sums["domain_loss"]) == pytest.approx(8 * domain.item(), rel=1e-4)
    assert float(sums["domain_accuracy"]) == pytest.approx(8 * ((odds > 0) == (domains > 0)).double().mean().item())
    # The encoder descends on the task and ascends on the domain loss; the domain classifier descends at the full rate.
    for name in ("kernel", "bias"):
        own = torch.autograd.grad(task, encoder[name], retain_graph=True)[0]
        other = torch.autograd.grad(domain, encoder[name], retain_graph=True)[0]
        np.testing.assert_allclose(gradients["encoder"][name], own - strength * other, rtol=1e-3, atol=1e-5)
        for layer in ("dense1", "dense2"):
            full = torch.autograd.grad(domain, rest[OWN][layer][name], retain_graph=True)[0]
            np.testing.assert_allclose(gradients[OWN][layer][name], full, rtol=1e-3, atol=1e-5)


def test_an_objective_that_needs_progress_is_told_it():
    batch = batch_of()
    params, state = network(Net(), batch)

    class Told(DeepCoral):
        needs = ("target", "progress")

        def __call__(self, apply, params, model_state, batch, key):
            loss, (state, sums) = super().__call__(apply, params, model_state, batch, key)
            return loss, (state, {**sums, "progress": batch["progress"]})

    optimizer = optax.sgd(0.1)
    step = jax.jit(make_train_step(Net(), optimizer, objective=Told(), total_steps=8))
    state = create_state({"params": params, **state}, optimizer)
    seen = []
    for _ in range(3):
        state, metrics, _ = step(state, batch)
        seen.append(float(metrics["progress"]))
    assert seen == [0, 1 / 8, 2 / 8]
    with pytest.raises(InputError, match=r"Told needs the progress of the run; give make_train_step total_steps"):
        make_train_step(Net(), optimizer, objective=Told())


# --- self-training


def test_generalized_cross_entropy_lies_between_cross_entropy_and_the_absolute_error():
    logits, labels = rng.normal(size=(6, 4)) * 3, np.arange(6) % 4
    p = np.exp(-nll(logits, labels))
    found = generalized_cross_entropy(jnp.asarray(logits), labels, q=0.8)
    np.testing.assert_allclose(found, (1 - p**0.8) / 0.8, rtol=1e-5)
    np.testing.assert_allclose(generalized_cross_entropy(jnp.asarray(logits), labels, q=1.0), 1 - p, rtol=1e-5)
    np.testing.assert_allclose(generalized_cross_entropy(jnp.asarray(logits), labels, q=1e-3), -np.log(p), rtol=1e-2)
    # The probability of the label is 0 in float32.
    slope = jax.grad(lambda z: generalized_cross_entropy(z, jnp.array([1])).sum())(jnp.array([[300.0, 0]]))
    assert np.isfinite(slope).all()


def test_self_training_counts_confident_target_images_only():
    batch = batch_of(16)
    params, state = network(Net(), batch)
    (logits, *_), (target, *_) = passes(params, batch)
    p = np.exp(target) / np.exp(target).sum(-1, keepdims=True)
    threshold = float(np.median(p.max(-1)))
    objective = SelfTraining(weight=2.0, threshold=threshold)
    loss, (_, sums) = evaluate(objective, Net(), params, state, batch)
    confident = p.max(-1) >= threshold
    expected = nll(logits, batch["label"]).mean() - 2 * (np.log(p.max(-1)) * confident).sum() / 16
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(sums["pseudo_labelled"]) == confident.sum() == 8


def test_robust_pseudo_labels_train_only_the_scales_and_biases_of_norms_on_the_target():
    batch = batch_of()
    params, state = network(Net(), batch)
    objective = RobustPseudoLabels()
    loss, (after, sums) = evaluate(objective, Net(), params, state, batch)
    (_, (target, _, mean, _)) = passes(params, batch)
    p = (np.exp(target) / np.exp(target).sum(-1, keepdims=True)).max(-1)
    assert float(loss) == pytest.approx(((1 - p**0.8) / 0.8).mean(), rel=1e-4) == float(sums["loss"]) / 8
    np.testing.assert_allclose(after["batch_stats"]["norm"]["mean"], 0.1 * mean, rtol=1e-4)
    assert objective.trains(params) == {"encoder": {"kernel": False, "bias": False},
                                        "norm": {"scale": True, "bias": True},
                                        "output": {"kernel": False, "bias": False}}  # fmt: skip
    with pytest.raises(InputError, match=r"the network has none; choose a network with norm='batch'"):
        objective.trains({"output": params["output"], OWN: {"scale": jnp.ones(1)}})


# --- linear probe


def test_a_linear_probe_trains_the_last_layer_on_features_in_evaluation_mode():
    batch = batch_of()
    params, state = network(Net(rate=0.9), batch)
    state = {"batch_stats": {"norm": {"mean": np.full(6, 0.3, np.float32), "var": np.full(6, 2.0, np.float32)}}}
    optimizer = optax.sgd(0.5)
    first = create_state({"params": params, **state}, optimizer)
    step = make_train_step(Net(rate=0.9), optimizer, objective=LinearProbe())
    after, metrics, _ = jax.jit(step)(first, batch)
    logits = Net(rate=0.9).apply({"params": params, **state}, batch["image"], train=False)
    assert float(metrics["loss"]) == pytest.approx(nll(np.asarray(logits), batch["label"]).sum(), rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after.model_state, first.model_state)
    for name in ("encoder", "norm"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], first.params[name])
    assert np.abs(after.params["output"]["kernel"] - first.params["output"]["kernel"]).max() > 1e-3
    with pytest.raises(InputError, match=r"LinearProbe\.layers is \('fc8',\); the layers .* encoder, norm, output\."):
        LinearProbe(layers=("fc8",)).trains(params)


# --- penultimate features


class Rematerialized(nn.Module):
    """A network whose layers are inside a lifted transformation."""

    @nn.compact
    def __call__(self, x):
        return nn.remat(lambda module, x: nn.Dense(3, name="output")(nn.relu(nn.Dense(6, name="encoder")(x))))(
            self, x.reshape(len(x), -1)
        )


def test_features_are_the_input_of_the_last_layer_under_jit_vmap_and_remat():
    batch = batch_of()
    params, state = network(Net(), batch)
    truth = passes(params, batch)[0][1]
    apply = training_apply(Net(), train=True)

    def features(params, images):
        logits, found, after = with_features(apply, params, state, images, KEY)
        assert set(after) == {"batch_stats"}
        return logits, found

    for call in (features, jax.jit(features), jax.checkpoint(features)):
        logits, found = call(params, batch["image"])
        np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(logits, passes(params, batch)[0][0], rtol=1e-3, atol=1e-5)
    both = jax.vmap(features, in_axes=(0, None))(jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params), batch["image"])
    np.testing.assert_allclose(both[1][0], truth, rtol=1e-3, atol=1e-5)

    inside = Rematerialized()
    variables = inside.init(KEY, batch["image"])
    apply = training_apply(inside)
    _, found, after = with_features(apply, variables["params"], {}, batch["image"], KEY)
    encoder = jax.tree.map(np.asarray, variables["params"]["encoder"])
    expected = np.maximum(batch["image"].reshape(8, -1) @ encoder["kernel"] + encoder["bias"], 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert after == {}
    gradient = jax.grad(lambda p: with_features(apply, p, {}, batch["image"], KEY)[1].sum())(variables["params"])
    assert np.abs(gradient["encoder"]["kernel"]).max() > 0


def test_a_network_without_layers_has_no_features():
    with pytest.raises(InputError, match=r"the network has no layer whose input could serve as features"):
        with_features(lambda p, s, x, k: (x.reshape(len(x), -1), s), {}, {}, np.zeros((2, 2, 2, 1)), KEY)


def test_the_base_class_has_no_further_needs():
    assert Objective.needs == () and CrossEntropy().views(KEY, {"image": 1}) == {"image": 1}
