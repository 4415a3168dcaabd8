"""The verdict on recurrent cells follows from hand-made errors and factors by the rule; cells and task are as said."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.claims.layer_gradients import initial_variables
from jaxcnn.claims.recurrent_gradients import (
    ARMS,
    RADII,
    SYMBOLS,
    Recurrent,
    decide,
    draw,
    failed,
    per_step,
    sequences,
    task,
)
from jaxcnn.claims.study import Study
from jaxcnn.data import load, make_preprocess

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]
LAGS = [10, 100]


def measured(errors, orthogonal=0.9):
    """Test errors by cell at lags of 10 and 100, and the factor of tanh with a radius of 1."""
    factors = {f"{radius:g}": orthogonal * radius for radius in RADII} | {"lstm": 0.7, "gru": 0.8, "open": 0.95}
    return {
        "lags": LAGS,
        "factors": {name: [[x * (1 + n / 100) for n in NOISE]] * 2 for name, x in factors.items()},
        "learning_rates": {},
        "test_errors": {
            f"{arm}, {lag}": [x + n for n in NOISE]
            for arm, pair in zip(ARMS, errors, strict=True)
            for lag, x in zip(LAGS, pair, strict=True)
        },
    }


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (measured([(1, 90), (1, 5), (1, 5), (1, 5)]), "holds"),
        (measured([(1, 90), (1, 90), (1, 5), (1, 5)]), "holds if the cell is a GRU or a GRU, open gates"),
        (measured([(1, 90), (1, 90), (1, 90), (1, 5)]), "holds if the cell is a GRU, open gates"),
        (measured([(1, 90), (1, 90), (1, 90), (1, 45)]), "does not hold"),
        (measured([(1, 30), (1, 5), (1, 5), (1, 5)]), "does not hold"),
        (measured([(1, 90), (1, 5), (1, 5), (1, 5)], orthogonal=1.0), "does not hold"),
    ],
)
def test_a_gated_cell_must_learn_a_lag_at_which_tanh_fails(found, verdict, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    errors = found["test_errors"]
    assert decided.effect == pytest.approx((errors["tanh, 100"][4] - errors["lstm, 100"][4]) / 2)
    assert failed(found) == ([100] if errors["tanh, 100"][4] == 90 else [])
    assert f"after 100 steps {errors['tanh, 100'][4]:.0f} % tanh" in decided.conditions
    assert draw(found, tmp_path / "a.png").is_file()


def test_only_the_first_symbol_is_of_the_alphabet_to_recall():
    images, labels = sequences(7, 500, seed=0)
    assert images.shape == (500, 8, 1, 1) and images.dtype == np.uint8
    assert (images[:, 0, 0, 0] == labels).all() and (images[:, 1:] >= SYMBOLS).all()
    assert set(labels.tolist()) == set(range(SYMBOLS)) and set(images[:, 1:].ravel()) == set(
        range(SYMBOLS, 2 * SYMBOLS)
    )


def test_the_network_receives_the_numbers_of_the_symbols(tmp_path):
    settings = task(Study(tmp_path, seeds=2, scale="tiny"), 5)
    train = load(settings, 0).train
    x = make_preprocess(settings)(train.images)
    np.testing.assert_allclose(x, np.asarray(train.images), atol=1e-4)


@pytest.mark.slow
def test_tanh_cells_begin_with_the_spectral_radius_and_gates_with_their_bias():
    batch = {"image": np.arange(12, dtype=np.float32).reshape(2, 6, 1, 1)}
    params = initial_variables(Recurrent("tanh", 8, 1.5), batch, 0)["params"]
    weights = np.asarray(next(x for path, x in jax.tree.leaves_with_path(params) if path[-2].key == "h"))
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(weights)), 1.5, rtol=1e-4)
    # With gates of 1 the state of a GRU remains 0, and all logits are those of the bias.
    closed = Recurrent("gru", 8, gate_bias=30.0)
    variables = initial_variables(closed, batch, 0)
    np.testing.assert_allclose(closed.apply(variables, batch["image"], train=True), 0, atol=1e-5)
    assert np.ptp(Recurrent("gru", 8).apply(variables, batch["image"], train=True)) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_a_step_multiplies_the_gradient_by_the_radius_where_tanh_is_linear(radius, monkeypatch):
    images, labels = sequences(12, 16, seed=0)
    batch = {"image": images.astype(np.float32), "label": labels}
    monkeypatch.setattr(nn, "tanh", lambda x: x)
    model = Recurrent("tanh", 8, radius)
    monkeypatch.setattr(
        Recurrent,
        "_cell",
        lambda self: nn.SimpleCell(
            8, activation_fn=lambda x: x, recurrent_kernel_init=nn.initializers.orthogonal(self.spectral_radius)
        ),
    )
    assert per_step(model, batch, range(2)) == pytest.approx([radius] * 2, rel=1e-4)
    monkeypatch.undo()
    assert all(factor < radius for factor in per_step(Recurrent("tanh", 8, radius), batch, range(2)))
