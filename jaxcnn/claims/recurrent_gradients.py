"""Claim: gradients of recurrent networks vanish over time lags, and gates carry them.

The task is to recall the first symbol of a sequence after distracting symbols of another alphabet, of which the number
is the lag. A sequence is stored as an image of one column, [steps, 1, 1], of numbers of symbols.
"""

import math
import statistics
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval
from jaxcnn.claims.layer_gradients import first_batch, initial_variables
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Data, Experiment, Optimizer
from jaxcnn.objectives import Batch
from jaxcnn.plots.page import save
from jaxcnn.probes import network_loss, through_time
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.fields import Positive, PositiveInt

SYMBOLS = 10
"""Symbols to recall, and as many that distract."""
RADII = (0.5, 0.8, 1.0, 1.2, 1.5)
"""Spectral radii of the recurrent weights of tanh cells; the one of 1 is trained."""
ARMS = {"tanh": "tanh", "lstm": "LSTM", "gru": "GRU", "open": "GRU, open gates"}
GATED = ("lstm", "gru", "open")
LEARNED = 45.0
"""Test error in percent, half of that of guessing, below which a lag has been learned."""


class Recurrent(nn.Module):
    """A recurrent layer over the symbols of a sequence, and an output layer after its last step.

    Attributes:
        cell: tanh (`flax.linen.SimpleCell`), lstm or gru.
        units: units of the state.
        spectral_radius: that of the initial recurrent weights of a tanh cell, which are this multiple of an orthogonal
            matrix; the other cells have orthogonal weights, as in flax.
        gate_bias: added to the inputs of all gates of a GRU. With log T the update gate keeps the state for about T
            steps (Tallec & Ollivier 2018, arXiv:1804.11188); 0: as in flax.
    """

    cell: Literal["tanh", "lstm", "gru"] = "tanh"
    units: PositiveInt = 64
    spectral_radius: Positive = 1.0
    gate_bias: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return logits [n, SYMBOLS] of sequences [n, steps, 1, 1]."""
        one_hot = jax.nn.one_hot(jnp.round(x[..., 0, 0]).astype(jnp.int32), 2 * SYMBOLS)
        states = nn.RNN(self._cell(), name="rnn")(one_hot)
        return nn.Dense(SYMBOLS, name="output")(states[:, -1])

    @nn.nowrap
    def _cell(self) -> nn.RNNCellBase:
        match self.cell:
            case "tanh":
                weights = nn.initializers.orthogonal(self.spectral_radius)
                return nn.SimpleCell(self.units, recurrent_kernel_init=weights)
            case "lstm":
                return nn.LSTMCell(self.units)
            case "gru":
                return nn.GRUCell(self.units, gate_fn=lambda x: nn.sigmoid(x + self.gate_bias))


def sequences(lag: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences uint8 [count, lag + 1, 1, 1], a symbol below `SYMBOLS` and then symbols from there on, and the
    first symbol of each, int32 [count]."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, SYMBOLS, (count, 1))
    rest = rng.integers(SYMBOLS, 2 * SYMBOLS, (count, lag))
    symbols = np.concatenate([first, rest], axis=1).astype(np.uint8)
    return symbols[..., None, None], first[:, 0].astype(np.int32)


def task(study: Study, lag: int) -> Data:
    """Write sequences with a lag to a file in the folder of the study, and return the data set."""
    file = study.folder / f"lag {lag}.npz"
    if not file.exists():
        study.folder.mkdir(parents=True, exist_ok=True)
        train = sequences(lag, study.choose(tiny=80, small=10_000, full=50_000), seed=0)
        test = sequences(lag, study.choose(tiny=32, small=2000, full=10_000), seed=1)
        parts = {"train_images": train[0], "train_labels": train[1], "test_images": test[0], "test_labels": test[1]}
        with replacing(file) as draft, draft.open("wb") as stream:
            np.savez(stream, **parts)
    # Numbers from 0 to 255 as they are.
    unscaled = {"mean": (0.0,), "std": (1 / 255,)}
    size = study.choose(tiny=16, small=128, full=128)
    return Data(source="arrays", name=str(file), batch_size=size, validation=0.2, split_seed=0, **unscaled)


def measure(study: Study) -> Measurements:
    """Return the test errors by lag, cell and seed, and by what the gradient is multiplied in each step back, by
    network, number of steps and seed, at initial weights."""
    lags = study.choose(tiny=(4, 8), small=(10, 30, 100), full=(10, 100, 300))
    units = study.choose(tiny=8, small=32, full=128)
    networks = {lag: _networks(units, lag) for lag in lags}
    arms = {
        f"{arm}, {lag}": Experiment(
            model=networks[lag][arm],
            data=task(study, lag),
            optimizer=Optimizer(algorithm="adam", learning_rate=0.003, weight_decay=0.0, clip_norm=1.0),
            epochs=study.choose(tiny=1, small=10, full=40),
            eval_every=1000,
            checkpoint_every=1000,
            log_every=1000,
        )
        for lag in lags
        for arm in ARMS
    }
    tuned = study.tune(arms, study.choose(tiny=(1,), small=(1, 3), full=(0.3, 1, 3)))
    records = study.repeat(tuned)
    factors: dict[str, list[list[float]]] = {}
    for lag in lags:
        batch = first_batch(arms[f"tanh, {lag}"].data, 64)
        read = {f"{radius:g}": Recurrent("tanh", units, radius) for radius in RADII}
        read |= {arm: networks[lag][arm] for arm in GATED}
        for name, model in read.items():
            factors.setdefault(name, []).append(per_step(model, batch, study.seeds))
    return {
        "lags": list(lags),
        "factors": factors,
        "learning_rates": {arm: e.optimizer.learning_rate for arm, e in tuned.items()},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in arms},
        "tuning": study.tunings,
    }


def _networks(units: int, lag: int) -> dict[str, Recurrent]:
    return {
        "tanh": Recurrent("tanh", units),
        "lstm": Recurrent("lstm", units),
        "gru": Recurrent("gru", units),
        "open": Recurrent("gru", units, gate_bias=round(math.log(lag), 3)),
    }


def per_step(model: Recurrent, batch: Batch, seeds: range) -> list[float]:
    """Return by what the norm of the gradient with respect to the state is multiplied from a step to the one before,
    the geometric mean over all steps, at the initial weights of each seed. The first step is left out, because its
    state is 0."""

    @jax.jit
    def norms(params: dict) -> jax.Array:
        return through_time(network_loss(model, {"params": params}, batch), params)["layers"]["rnn"]

    found = []
    for seed in seeds:
        sizes = np.asarray(norms(initial_variables(model, batch, seed)["params"]), np.float64)[1:]
        sizes = np.maximum(sizes, np.finfo(np.float32).tiny)
        found.append(float((sizes[0] / sizes[-1]) ** (1 / (len(sizes) - 1))))
    return found


def outcome(measurements: Measurements, arm: str, lag: int) -> str:
    """Return whether a cell "learns" a lag, "fails", or is "undecided", by the rule of the claim."""
    estimate = mean_interval(measurements["test_errors"][f"{arm}, {lag}"])
    return "learns" if estimate.high < LEARNED else "fails" if estimate.low > LEARNED else "undecided"


def failed(measurements: Measurements) -> list[int]:
    """Return the lags at which tanh fails."""
    return [lag for lag in measurements["lags"] if outcome(measurements, "tanh", lag) == "fails"]


def vanishes(measurements: Measurements) -> bool:
    """Return whether the gradient of tanh cells with a spectral radius of 1 or less vanishes at every length."""
    return all(
        mean_interval(values).high < 1
        for radius in RADII
        if radius <= 1
        for values in measurements["factors"][f"{radius:g}"]
    )


def decide(measurements: Measurements) -> Verdict:
    """Say which gated cells learn lags at which tanh fails, and how the gradient changes in a step."""
    lags, beyond = measurements["lags"], failed(measurements)
    able = [arm for arm in GATED if any(outcome(measurements, arm, lag) == "learns" for lag in beyond)]
    verdict = "does not hold"
    if vanishes(measurements) and {"lstm", "gru"} <= {*able}:
        verdict = "holds"
    elif vanishes(measurements) and able:
        verdict = f"holds if the cell is a {' or a '.join(ARMS[arm] for arm in able)}"
    effect = difference(*(_over_lags(measurements, arm) for arm in ("tanh", "lstm")))
    errors = "; ".join(
        f"after {lag} steps "
        + ", ".join(
            f"{np.mean(measurements['test_errors'][f'{arm}, {lag}']):.0f} % {name}" for arm, name in ARMS.items()
        )
        for lag in lags
    )
    tanh = ", ".join(f"{_factor(measurements, f'{radius:g}').mean:.3f} at {radius:g}" for radius in RADII)
    gates = ", ".join(f"{_factor(measurements, arm).mean:.3f} {ARMS[arm]}" for arm in GATED)
    shorter = ", ".join(
        f"{statistics.fmean(values):.3f} over {lag}"
        for lag, values in zip(lags, measurements["factors"]["1"], strict=True)
    )
    conditions = (
        f"Of recalling one of {SYMBOLS} symbols the test error is {errors}. Over {lags[-1]} steps each step back "
        f"multiplies the initial gradient by, for tanh by spectral radius, {tanh}; {gates}. For tanh with radius 1 "
        f"it is {shorter} steps."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _over_lags(measurements: Measurements, arm: str) -> list[float]:
    """Return the test error of a cell for each seed, the mean over the lags."""
    return np.mean([measurements["test_errors"][f"{arm}, {lag}"] for lag in measurements["lags"]], axis=0).tolist()


def _factor(measurements: Measurements, name: str) -> Estimate:
    return mean_interval(measurements["factors"][name][-1])


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the factor of a step over the spectral radius, and the test errors over the lag."""
    lags, beyond = measurements["lags"], failed(measurements)
    lag = beyond[0] if beyond else lags[-1]
    errors = {arm: np.mean(measurements["test_errors"][f"{arm}, {lag}"]) for arm in ARMS}
    title = f"A symbol seen {lag} steps ago is not recalled in {errors['tanh']:.0f} % with tanh, " + ", ".join(
        f"{errors[arm]:.0f} % with {'an' if arm == 'lstm' else 'a'} {ARMS[arm]}" for arm in GATED
    )
    axes = [("spectral radius of initial tanh weights", f"gradient per step back, {lags[-1]} steps")]
    axes += [("steps since the symbol", "test error, %")]
    area, (left, right) = page(title, axes, label_width=136)
    colours = dict(zip(ARMS, (COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[3]), strict=True))
    left.axhline(1, color="#666666", linewidth=1)
    estimates = [_factor(measurements, f"{radius:g}") for radius in RADII]
    line(left, RADII, estimates, colours["tanh"])
    ends = [(estimates[-1].mean, ARMS["tanh"], colours["tanh"])]
    for arm in GATED:
        mean = _factor(measurements, arm).mean
        left.axhline(mean, color=colours[arm], linewidth=1.8)
        ends.append((mean, ARMS[arm], colours[arm]))
    labels(left, ends)
    right.set_xscale("log")
    right.axhline(90, color="#666666", linewidth=1, linestyle="--")
    ends = []
    for arm, colour in colours.items():
        estimates = [mean_interval(measurements["test_errors"][f"{arm}, {lag}"]) for lag in lags]
        line(right, lags, estimates, colour)
        ends.append((estimates[-1].mean, ARMS[arm], colour))
    right.set_xticks(lags, [f"{lag}" for lag in lags])
    right.minorticks_off()
    right.set_ylim(0, 100)
    labels(right, ends)
    note(area, "means with 95 % intervals; left: 1 keeps the gradient; right, dashed: guessing")
    return save(area, path)


CLAIM = Claim(
    name="recurrent_gradients",
    statement=(
        "In recurrent networks of tanh units the gradient vanishes over time lags; LSTM and GRU cells carry it and "
        "learn lags at which tanh fails."
    ),
    source="Bengio et al. 1994; Hochreiter & Schmidhuber 1997; Pascanu et al. 2013",
    rule=(
        "A recurrent layer reads a symbol and then distracting symbols of another alphabet, and recalls the first "
        "after several lags. Cells of tanh units with orthogonal recurrent weights, LSTM and GRU cells as flax "
        "initializes them, and GRU cells whose gates start open, with log T added to their inputs, train with Adam and "
        "clipped gradients, each at its own best learning rate, chosen on a validation split. A cell learns a lag if "
        "the 95 % interval of its test error lies below 45 %, half of that of guessing, and fails if it lies above. "
        "The factor of a step is the geometric mean, over the steps back, of the ratio of the norms of the gradient "
        "with respect to the state, at initial weights. The gradient of tanh vanishes if the 95 % interval of the "
        "factor lies below 1 at every length with spectral radii of 0.5, 0.8 and 1. The effect is the test error with "
        "tanh minus with LSTM, the mean over the lags, paired by seed. The claim holds if the gradient vanishes and "
        "LSTM and GRU each learn a lag at which tanh fails; it holds for those gated cells that do, where only some "
        "do; otherwise it does not hold."
    ),
    effect="test error with tanh minus with LSTM cells, mean over the lags, points",
    data=(),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
