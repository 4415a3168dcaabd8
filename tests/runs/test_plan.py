import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.config import Data, Experiment, Fake, Optimizer, Schedule, override
from jaxcnn.models import LeNet5
from jaxcnn.norms import BatchNorm
from jaxcnn.runs.plan import make_plan
from jaxcnn.runtime.errors import InputError
from jaxcnn.training import optim


class Small(nn.Module):
    classes: int = 3
    rank: int = 2

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(name="n")(nn.Conv(2, (3, 3), name="c")(x), train=train)
        return nn.Dense(self.classes, name="d")(x.mean(tuple(range(1, 5 - self.rank))))


class Pair(nn.Module):
    """Logits, and what they were made of."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(x.reshape(len(x), -1)), x


class Named(nn.Module):
    """A layer of any name."""

    layer: str

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name=self.layer)(x.reshape(len(x), -1))


class Sums(nn.Module):
    """No parameters."""

    def __call__(self, x, *, train):
        return x.sum((1, 3))


FAKE = Data(source="fake", fake=Fake(shape=(8, 8, 1), num_classes=3, train=50, test=20), batch_size=16)
EXPERIMENT = Experiment(model=Small(), data=FAKE, epochs=4)


@pytest.fixture(scope="module")
def plan():
    return make_plan(EXPERIMENT)


@pytest.fixture(scope="module")
def initial(plan):
    return plan.initial_state()


def test_steps_follow_from_data_and_batch_size(plan):
    assert (plan.steps_per_epoch, plan.total_steps) == (3, 12)
    assert len(plan.dataset.train) == 50
    assert plan.experiment is EXPERIMENT


def test_batches_are_split_over_all_devices_and_the_state_is_on_each(plan):
    assert plan.batch_sharding.mesh.devices.size == jax.device_count() == 8
    assert plan.batch_sharding.shard_shape((16, 8, 8, 1)) == (2, 8, 8, 1)
    assert plan.replicated.shard_shape((16, 8)) == (16, 8)
    assert {leaf.sharding for leaf in jax.tree.leaves(plan.state)} == {plan.replicated}


def test_the_initial_state_is_as_planned(plan, initial):
    def described(state):
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)

    assert described(initial) == described(plan.state)
    assert int(initial.step) == 0
    assert set(initial.opt_state) == {"decay", "momentum", "learning_rate"}
    np.testing.assert_array_equal(initial.model_state["batch_stats"]["n"]["var"], 1.0)


def test_weights_come_from_the_seed(plan, initial):
    key, images = jax.random.key(0), jnp.zeros((1, 8, 8, 1))
    expected = jax.jit(lambda: plan.experiment.model.init(key, images, train=False))()["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), initial.params, expected)
    other = make_plan(override(EXPERIMENT, {"seed": 1})).initial_state()
    assert np.abs(other.params["d"]["kernel"] - initial.params["d"]["kernel"]).max() > 0.01


def test_some_weights_can_be_replaced(plan, initial):
    replaced = {"params": {"d": jax.tree.map(lambda x: np.asarray(x) + 1, initial.params["d"])}, "batch_stats": {}}
    state = plan.initial_state(replaced)
    jax.tree.map(np.testing.assert_array_equal, state.params, initial.params | replaced["params"])
    jax.tree.map(np.testing.assert_array_equal, state.model_state, initial.model_state)


def test_all_weights_can_be_replaced(plan, initial):
    variables = jax.tree.map(lambda x: np.asarray(x) + 1, initial.variables)
    state = plan.initial_state(variables)
    jax.tree.map(np.testing.assert_array_equal, state.variables, variables)
    assert int(state.step) == 0
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, initial.opt_state)


def test_the_schedule_and_the_optimizer_have_the_length_of_the_run():
    schedule = Schedule(name="cosine", warmup_epochs=1)
    optimizer = Optimizer(learning_rate=0.5, schedule=schedule)
    made = make_plan(override(EXPERIMENT, {"optimizer": optimizer}))
    expected = optim.make_schedule(optimizer, 3, 12)
    found = made.programs.schedule
    assert [float(found(t)) for t in range(12)] == [float(expected(t)) for t in range(12)]
    assert float(found(3)) == 1
    assert float(made.state.hyper["learning_rate"]) == 0.5
    assert float(found(11)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.batch_size": 64}, "Data.batch_size is 64; it must be at most 50, the number of training images."),
        ({"model.classes": 2}, "Label 2 is outside 0..1, the classes of the network"),
        ({"model.rank": 3}, "the network gives logits of shape (1, 8, 3) for one image; it must give (1, classes)."),
        ({"model": Pair()}, "the network gives tuple for one image; it must give logits (1, classes)."),
        ({"model": Sums()}, "the network has no parameters, so there is nothing to train."),
        ({"model": Named("o/x")}, "the network has 'o/x' among its names; rename it without '/' or '~'."),
        ({"model": Named("~objective")}, "the network has '~objective' among its names;"),
        ({"model": LeNet5()}, "images are 8x8; this network needs at least 32x32."),
        (
            {"data.mean": (0.1, 0.2)},
            "Data.mean is (0.1, 0.2); it must have 1 value, because the images have 1 channel.",
        ),
        ({"optimizer.schedule": Schedule(name="step", drops=(9,))}, "Schedule.drops has 9; a drop must come"),
        ({"augment.crop": 9}, "Augment.crop is 9; images are 8x8, so it must be at most 8."),
        ({"data.channel_order": "bgr"}, "Data.channel_order is 'bgr'; images with 1 channel(s) need 'rgb'."),
        ({"data.validation": 0.999}, "Data.validation is 0.999; with 50 training images that leaves an empty split."),
    ],
)
def test_an_experiment_that_does_not_fit_together_is_refused_in_one_line(changes, words):
    with pytest.raises(InputError) as error:
        make_plan(override(EXPERIMENT, changes))
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="d")(x.reshape(len(x), -1))


def test_the_network_is_built_for_the_crop_and_colours_come_from_the_training_images():
    fake = {"data.fake.shape": (8, 9, 3), "model": Flat()}
    plan = make_plan(override(EXPERIMENT, {**fake, "augment.crop": 6, "augment.pca_color": 0.1}))
    assert plan.image_shape == (6, 6, 3)
    assert plan.initial_state().params["d"]["kernel"].shape == (6 * 6 * 3, 3)
    pixels = plan.dataset.train.images.reshape(-1, 3) / 255
    covariance = (pixels - pixels.mean(0)).T @ (pixels - pixels.mean(0)) / len(pixels)
    np.testing.assert_allclose(plan.colors @ plan.colors.T, covariance @ covariance, rtol=1e-4)
    plain = make_plan(override(EXPERIMENT, fake))
    assert plain.image_shape == (8, 9, 3) and plain.colors is None


def test_arrays_in_memory():
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.normal(size=(24, 8, 8)), "train_labels": np.arange(24) % 3,
              "test_images": rng.normal(size=(5, 8, 8)), "test_labels": np.arange(5) % 3}  # fmt: skip
    plan = make_plan(override(EXPERIMENT, {"data": Data(source="arrays", batch_size=8)}), arrays)
    assert (plan.steps_per_epoch, len(plan.dataset.test)) == (3, 5)
    assert plan.state.params["c"]["kernel"].shape == (3, 3, 1, 2)
