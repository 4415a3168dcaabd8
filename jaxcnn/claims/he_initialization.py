"""Claim: He initialization keeps the gradient of a deep ReLU network, Glorot initialization does not.

A ReLU passes half of the squared gradient. He's weights have twice the variance of Glorot's in layers of equal width,
which makes up for it; Glorot's lose the root of a half in each layer, 4e-5 over 29.
"""

import math
import statistics
from pathlib import Path

import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, mean_interval
from jaxcnn.claims.layer_gradients import first_batch, initial_gradients
from jaxcnn.claims.picture import COLOURS, inside, labels, note, page
from jaxcnn.claims.study import Study, curve, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import PlainNet
from jaxcnn.plots.page import save

ARMS = {"he": "He", "glorot": "Glorot"}
DEPTH = 30
GUESSING = math.log(10)
STALLED = 0.9
"""Training loss of the last epoch, as a share of ln 10, above which a run has stalled."""
FACTOR = 2.0
"""Factor within which a gradient is kept."""
# Initial weights cost little to read, and their gradients differ much between seeds in narrow networks.
_DRAWS = 4


def measure(study: Study) -> Measurements:
    """Return the gradients of the hidden layers at initial weights, and the training losses and test errors."""
    epochs = study.choose(tiny=2, small=6, full=20)
    base = Experiment(
        model=PlainNet(
            depth=study.choose(tiny=6, small=DEPTH, full=DEPTH),
            width=study.choose(tiny=8, small=128, full=512),
            norm="none",
            kind="dense",
        ),
        data=study.images(
            "mnist",
            train=study.choose(tiny=80, small=10_000, full=60_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
        ),
        optimizer=Optimizer(learning_rate=0.01, weight_decay=0.0),
        epochs=epochs,
        eval_every=1000,
        checkpoint_every=1000,
        log_every=study.choose(tiny=4, small=25, full=75),
    )
    arms = {arm: override(base, {"model.kernel_init": arm}) for arm in ARMS}
    # Each rate is ten times the one before, so that no rate between the smallest and the largest could train a network
    # that none of them trains.
    tuned = study.tune(arms, study.choose(tiny=(1, 10), small=(0.1, 1, 10), full=(0.1, 1, 10)))
    records = study.repeat(tuned)
    batch = first_batch(base.data, study.choose(tiny=16, small=256, full=256))
    draws = range(_DRAWS * len(study.seeds))
    rows = {arm: [curve(r, "train") if r.results else None for r in records[arm]] for arm in ARMS}
    finished = next(run for arm in ARMS for run in rows[arm] if run)
    return {
        "gradients": {arm: initial_gradients(arms[arm].model, batch, draws).tolist() for arm in ARMS},
        "learning_rates": {arm: tuned[arm].optimizer.learning_rate for arm in ARMS},
        "steps": [row["step"] for row in finished],
        "last_epoch": math.ceil(len(finished) / epochs),
        "losses": {arm: [[row["loss"] for row in run] if run else None for run in rows[arm]] for arm in ARMS},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def kept(measurements: Measurements, arm: str) -> Estimate:
    """Return the gradient of the first hidden layer divided by that of the last: the geometric mean over the initial
    weights, and its interval."""
    gradients = np.maximum(measurements["gradients"][arm], np.finfo(np.float32).tiny)
    return Estimate(*map(math.exp, mean_interval(np.log(gradients[:, 0] / gradients[:, -1]).tolist())))


def stalled(measurements: Measurements, arm: str) -> int:
    """Return how many runs of an arm have diverged, or have a training loss near that of guessing in the last epoch."""
    last = measurements["last_epoch"]
    means = [statistics.fmean(run[-last:]) if run else math.inf for run in measurements["losses"][arm]]
    return sum(mean > STALLED * GUESSING for mean in means)


def decide(measurements: Measurements) -> Verdict:
    """Compare what the two initializations leave of the gradient, and whether they train."""
    he, glorot = (kept(measurements, arm) for arm in ARMS)
    initially = max(1 / he.low, he.high) < FACTOR and glorot.high < 1 / FACTOR
    runs, stalls = len(measurements["losses"]["he"]), {arm: stalled(measurements, arm) for arm in ARMS}
    in_training = stalls == {"he": 0, "glorot": runs}
    verdict = "holds" if initially and in_training else "does not hold"
    if initially and not in_training:
        verdict = "holds if only the gradient at the initial weights is meant, not the training"
    if in_training and not initially:
        verdict = "holds if only the training is meant, not the gradient at the initial weights"
    layers = len(measurements["gradients"]["he"][0])
    parts = []
    for arm, name in ARMS.items():
        rates, errors = (measurements["tuning"][arm][key] for key in ("rates", "errors"))
        best = min((x for x in errors if x is not None), default=0.9)
        parts.append(
            f"with {name}'s at {measurements['learning_rates'][arm]:g} {stalls[arm]} of {runs} runs stall and the mean "
            f"test error is {statistics.fmean(measurements['test_errors'][arm]):.1f} % (of the rates from {rates[0]:g} "
            f"to {rates[-1]:g} none has a validation error below {100 * best:.0f} %)"
        )
    conditions = (
        f"Over {layers} hidden layers of rectified units the initial weights of He leave {he:.2f} of the gradient, "
        f"those of Glorot {glorot:.1g}. After {measurements['steps'][-1]:,} steps, each at its best learning rate, "
        f"{'; '.join(parts)}."
    )
    return Verdict(verdict, he.mean, (he.low, he.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the gradient of every layer at initial weights, and the training losses."""
    shares = {arm: kept(measurements, arm).mean for arm in ARMS}
    depth = len(measurements["gradients"]["he"][0]) + 1
    outcome = {
        arm: "does not train" if stalled(measurements, arm) > len(measurements["losses"][arm]) // 2 else "trains"
        for arm in ARMS
    }
    parts = [f"{name} leaves {_share(shares[arm])} of the gradient and {outcome[arm]}" for arm, name in ARMS.items()]
    axes = [("layer", "gradient at initial weights; 1: last"), ("step", "training loss")]
    area, (left, right) = page(f"Over {depth} layers of ReLUs {', '.join(parts)}", axes, label_width=80)
    left.set_yscale("log")
    right.axhline(GUESSING, color="#666666", linewidth=1, linestyle="--")
    ends, halfway = [], []
    for (arm, name), colour in zip(ARMS.items(), COLOURS, strict=False):
        gradients = np.log10(np.maximum(measurements["gradients"][arm], np.finfo(np.float32).tiny))
        relative = 10 ** (gradients - gradients[:, -1:])
        layers, mean = np.arange(1, depth), 10 ** np.log10(relative).mean(axis=0)
        left.plot(layers, mean, color=colour, linewidth=1.8)
        left.fill_between(layers, relative.min(axis=0), relative.max(axis=0), color=colour, alpha=0.2)
        halfway.append((mean[depth // 2 - 1], name, colour, -16 if arm == "glorot" else 24))
        runs = np.array([run for run in measurements["losses"][arm] if run])
        if not len(runs):
            continue
        right.plot(measurements["steps"], runs.mean(axis=0), color=colour, linewidth=1.8)
        right.fill_between(measurements["steps"], runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.2)
        ends.append((runs[:, -1].mean(), name, colour))
    # The axis has its final scale only now.
    for height, name, colour, up in halfway:
        inside(left, depth // 2, height, name, colour, right=6, up=up)
    right.set_ylim(0, 1.3 * GUESSING)
    labels(right, [*ends, (1.1 * GUESSING, "guessing", "#666666")])
    note(area, "mean and range over initial weights (left) and runs (right)")
    return save(area, path)


def _share(value: float) -> str:
    return f"{value:.2f}" if value > 0.05 else f"{value:.0e}".replace("e-0", "e-")


CLAIM = Claim(
    name="he_initialization",
    statement=(
        "With rectified linear units He initialization keeps the size of the gradient over 30 layers; with Glorot "
        "initialization it vanishes, and the network does not train."
    ),
    source="He et al. 2015, section 2.2 and figure 3",
    rule=(
        "A network of 29 hidden dense layers of equal width and an output layer is read at 20 initial weights, on a "
        "batch of MNIST. What is kept is the standard deviation of the gradient with respect to the pre-activations of "
        "the first hidden layer divided by that of the last, the geometric mean over the initial weights; it is the "
        "effect for He initialization. Then both networks train at their own best learning rate, chosen on a "
        "validation split from a grid whose rates are ten times each other. A run stalls if it diverges or if its "
        "training loss in the last epoch is above nine tenths of ln 10, the loss of guessing. The claim holds if the "
        "95 % interval of what is kept lies within 1/2 and 2 with He and below 1/2 with Glorot, no run with He stalls "
        "and every run with Glorot does; it holds in part if only the gradients or only the training are so; otherwise "
        "it does not hold."
    ),
    effect="gradient of the first hidden layer divided by that of the last with He initialization",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
