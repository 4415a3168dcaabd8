"""Claim: which hidden layer saturates first, with sigmoid and with tanh units (Glorot & Bengio 2010, figures 2 and 3).

In the paper's account a network begins by ignoring its last hidden layer, whose outputs then only disturb the output
layer. The gradient pushes them to 0. For tanh this is the middle of the unit, for a sigmoid it is where it saturates.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, Probes
from jaxcnn.layers import Activation, ActivationName, Dense, Flatten, Layer
from jaxcnn.models import Chain
from jaxcnn.plots.page import save
from jaxcnn.probes import read_history
from jaxcnn.sweep import Record

ARMS: tuple[ActivationName, ...] = ("sigmoid", "tanh")
LAYERS = 4
FIRST = {"sigmoid": LAYERS, "tanh": 1}
"""The hidden layer that saturates first, according to the paper."""
SATURATED = 0.1
"""Share of saturated outputs from which on a layer is saturated."""


def network(units: int, activation: ActivationName, inputs: int) -> Chain:
    """Return four hidden layers with the paper's standard initialization, of which the variance is a third of 1 / n for
    n inputs (equation 1), as normal weights."""
    hidden: tuple[Layer, ...] = ()
    for i in range(1, LAYERS + 1):
        deviation = (3 * (inputs if i == 1 else units)) ** -0.5
        hidden += (Dense(units, kernel_init=deviation, name=f"fc{i}"), Activation(activation, name=f"act{i}"))
    return Chain((Flatten(name="flatten"), *hidden, Dense(10, kernel_init=(3 * units) ** -0.5, name="output")))


def measure(study: Study) -> Measurements:
    """Return the share of saturated outputs of every layer over the training, and the test errors."""
    epochs = study.choose(tiny=2, small=8, full=30)
    settings = study.images(
        "mnist",
        train=study.choose(tiny=80, small=10_000, full=60_000),
        test=study.choose(tiny=32, small=2000, full=10_000),
        batch_size=study.choose(tiny=16, small=10, full=10),
    )
    rates = {"sigmoid": 0.3, "tanh": 0.03}
    bases = {
        arm: Experiment(
            model=network(study.choose(tiny=8, small=100, full=1000), arm, 28 * 28),
            data=settings,
            optimizer=Optimizer(learning_rate=rates[arm], momentum=0.0, weight_decay=0.0),
            epochs=epochs,
            eval_every=1000,
            checkpoint_every=1000,
            log_every=1000,
        )
        for arm in ARMS
    }
    arms = study.tune(bases, study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3)))
    every, window = study.choose(tiny=(1, 2), small=(10, 10), full=(50, 20))
    probes = Probes(every=every, layers=("act*",))
    records = study.repeat({arm: replace(arms[arm], probes=probes) for arm in ARMS})
    seen = {arm: [saturation(r, window) for r in records[arm] if r.results] for arm in ARMS}
    return {
        "learning_rates": {arm: arms[arm].optimizer.learning_rate for arm in ARMS},
        "steps": {arm: seen[arm][0][0] if seen[arm] else [] for arm in ARMS},
        "saturated": {arm: [rows for _, rows in seen[arm]] for arm in ARMS},
        "runs": len(study.seeds),
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def saturation(record: Record, window: int) -> tuple[list[float], list[list[float]]]:
    """Return the middle steps of windows of readings, and for each layer the share of saturated outputs, averaged over
    each window because a batch has few images."""
    history = read_history(Path(record.workdir) / "probes.npz")
    readings = history.readings["gradients"]
    shares = np.array([readings[f"act{i}"]["saturated"] for i in range(1, LAYERS + 1)], np.float64)
    whole = len(history.steps) // window * window
    steps = history.steps[:whole].reshape(-1, window).mean(axis=1)
    return steps.tolist(), shares[:, :whole].reshape(LAYERS, -1, window).mean(axis=2).round(4).tolist()


def first_saturated(shares: Sequence[Sequence[float]]) -> int | None:
    """Return the number of the layer that is saturated first, from the shares of saturated outputs [layers, times]; of
    several at once the one with the largest share; None if no layer is ever saturated."""
    values = np.array(shares)
    reached = np.flatnonzero(values.max(axis=0) >= SATURATED)
    return int(values[:, reached[0]].argmax()) + 1 if len(reached) else None


def as_claimed(measurements: Measurements, arm: str) -> int:
    """Return in how many runs of an arm the layer that is saturated first is that of the paper."""
    return sum(first_saturated(shares) == FIRST[arm] for shares in measurements["saturated"][arm])


def beyond_chance(hits: int, runs: int) -> bool:
    """Return whether the exact 95 % interval of a share of runs lies above that of a layer chosen at random."""
    from scipy.stats import binomtest

    return binomtest(hits, runs).proportion_ci(0.95).low > 1 / LAYERS


def decide(measurements: Measurements) -> Verdict:
    """Compare the layers that are saturated first with those of the paper."""
    from scipy.stats import binomtest

    runs, hits = measurements["runs"], {arm: as_claimed(measurements, arm) for arm in ARMS}
    right = [arm for arm in ARMS if beyond_chance(hits[arm], runs)]
    verdict = "holds" if len(right) == len(ARMS) else "does not hold"
    if len(right) == 1:
        verdict = f"holds if units are {right[0]}"
    conditions = f"A layer is saturated when {100 * SATURATED:.0f} % of its outputs are. " + " ".join(
        f"With {arm} at {measurements['learning_rates'][arm]:g} the first such layer is {_list(measurements, arm)}; "
        f"the layers reach at most {_largest(measurements, arm)} %, and the test error is "
        f"{np.mean(measurements['test_errors'][arm]):.1f} %."
        for arm in ARMS
    )
    total, every = sum(hits.values()), runs * len(ARMS)
    low, high = map(float, binomtest(total, every).proportion_ci(0.95))
    return Verdict(verdict, total / every, (low, high), conditions)


def _list(measurements: Measurements, arm: str) -> str:
    """Return in words which layers are saturated first, as in `layer 4 in 5 of 5 runs`."""
    found = [first_saturated(shares) for shares in measurements["saturated"][arm]]
    names = {number: f"layer {number}" if number else "none" for number in found}
    parts = [f"{name} in {found.count(number)} of {measurements['runs']} runs" for number, name in names.items()]
    return ", ".join(sorted(parts)) or "none, because every run diverges"


def _largest(measurements: Measurements, arm: str) -> str:
    """Return the largest shares of the layers in percent, the mean over the runs."""
    if not measurements["saturated"][arm]:
        return "0"
    largest = 100 * np.array(measurements["saturated"][arm]).max(axis=2).mean(axis=0)
    return ", ".join(f"{share:.0f}" for share in largest)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the share of saturated outputs of every layer over the training, for both activations."""
    found = " and with ".join(f"{arm} {_list(measurements, arm)}" for arm in ARMS)
    title = f"The first layer to saturate is with {found}"
    area, panels = page(title, [("step", f"{arm}: saturated outputs, %") for arm in ARMS], label_width=64)
    for arm, panel in zip(ARMS, panels, strict=True):
        panel.axhline(100 * SATURATED, color="#666666", linewidth=1, linestyle="--")
        runs, ends = 100 * np.array(measurements["saturated"][arm]), []
        for i, colour in zip(range(LAYERS) if len(runs) else (), COLOURS, strict=False):
            steps, mean = measurements["steps"][arm], runs[:, i].mean(axis=0)
            panel.plot(steps, mean, color=colour, linewidth=1.8)
            panel.fill_between(steps, runs[:, i].min(axis=0), runs[:, i].max(axis=0), color=colour, alpha=0.15)
            ends.append((mean[-1], f"layer {i + 1}", colour))
        panel.set_ylim(bottom=0)
        labels(panel, ends)
    note(area, "mean and range over the seeds; dashed: where a layer counts as saturated")
    return save(area, path)


CLAIM = Claim(
    name="saturation_order",
    statement=(
        "With sigmoid units the last hidden layer saturates first; with tanh units the first hidden layer does, then "
        "the layers after it."
    ),
    source="Glorot & Bengio 2010, sections 3.1 and 3.2, figures 2 and 3",
    rule=(
        "Networks of four hidden layers with the paper's standard initial weights train on batches of ten images of "
        "MNIST, with sigmoid and with tanh units, each at its own best learning rate, chosen on a validation split. An "
        "output is saturated if it is within a twentieth of a bound of the activation: below 0.05 or above 0.95 for "
        "the sigmoid, above 0.95 in magnitude for tanh. The share of saturated outputs of a layer is the mean over ten "
        "readings during 100 steps. The layer that is saturated first is the one whose share first reaches a tenth, of "
        "several in the same window the one with the largest share. The effect is the share of all runs in which this "
        "is the last layer with sigmoid and the first with tanh, with its exact 95 % interval; diverged runs and those "
        "in which no layer is saturated count against the claim. The claim holds if for both activations the interval "
        "lies above a quarter, the share of a layer that is chosen at random; it holds for one of them if only its "
        "interval does; otherwise it does not hold."
    ),
    effect="share of runs in which the layer that saturates first is as claimed",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
