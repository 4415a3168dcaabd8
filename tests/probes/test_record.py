"""What a record derives from readings."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import probes
from jaxcnn.probes.record import Record
from tests.probes.records import layer, record


class Pooled(nn.Module):
    """A layer whose gradient the mean over 16 positions spreads, and one after it."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="last")(nn.Conv(5, (1, 1), name="first")(x).mean(axis=(1, 2)))


def test_norms_are_those_of_one_image_however_many_positions_share_its_gradient():
    model = Pooled()
    images, labels = jax.random.normal(jax.random.key(0), (6, 4, 4, 2)), jnp.arange(6) % 3
    variables = model.init(jax.random.key(1), images)
    readings = jax.jit(lambda v: probes.probe(model, v, {"image": images, "label": labels}))(variables)
    history = probes.History.of([0], [{"gradients": jax.tree.map(np.asarray, readings)}], {})
    found = Record("a", {}, history, np.zeros(1), 6, {"first": 4 * 4 * 5, "last": 3}).gradient_norms()[:, 0]

    probabilities = jax.nn.softmax(model.apply(variables, images))
    last = np.asarray(probabilities - jax.nn.one_hot(labels, 3))
    first = np.repeat(last @ np.asarray(variables["params"]["last"]["kernel"]).T / 16, 16, axis=0)
    expected = [math.sqrt(80) * first.std(), math.sqrt(3) * last.std()]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_decay_is_first_over_last_and_minus_infinity_if_nothing_arrives():
    np.testing.assert_allclose(record((1e-5, 1e-3, 1e-2)).decay(), [-3, -3, -3])
    assert np.all(np.isneginf(record((0.0, 1.0)).decay()))


def test_layers_without_a_kernel_are_not_weighted():
    found = record(others={"act1": layer(1.0, kernel=False, saturated=[0.1, 0.2, 0.3])})
    assert found.weighted == ["fc1", "fc2", "fc3"]
    assert list(found.by_layer("saturated")) == ["act1"] and list(found.update_ratios()) == found.weighted


ACTIVE = np.array([[1, 1, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]])
"""Units with an output above 0 at three readings."""


@pytest.mark.parametrize(("images", "used", "share"), [(1000, 1000, 0.75), (500, 1000, 0.5), (100, 300, 0.0)])
def test_a_unit_is_dead_if_it_is_inactive_in_the_newest_readings_of_a_thousand_images(images, used, share):
    found = record(images=images, others={"act1": layer(1.0, kernel=False, active=ACTIVE)})
    dead, seen = found.dead_units()
    assert (dead["act1"], seen) == (share, used)


def test_json_has_no_arrays_of_units_and_no_number_that_json_lacks():
    active = np.ones((3, 64))
    found = record((0.0, np.nan), others={"act1": layer(1.0, kernel=False, active=active, inactive=[0, 0, 0.5])})
    text = json.dumps(found.to_json(), allow_nan=False)
    layers = json.loads(text)["readings"]["gradients"]
    assert layers["fc2"]["gradients"]["std"] == [None] * 3 and layers["fc1"]["values_per_image"] == 4
    assert layers["act1"]["inactive"][-1] == 0.5 and "active" not in layers["act1"] and "histogram" not in text
