"""Claim: in a stack of sigmoid layers the gradient vanishes geometrically with depth.

Layer l has the pre-activations z_l, n units and weights of mean 0, which are independent of the gradient that arrives
at layer l + 1. Then

    Var(dL/dz_l) = n Var(W) E[phi'(z_l)^2] Var(dL/dz_(l+1))

(Glorot & Bengio 2010, equation 6, where phi' is 1). So every layer multiplies the standard deviation by the root of
n Var(W) E[phi'^2], which is at most a quarter of the root of n Var(W) for the sigmoid. The mean squared derivative is
measured in the forward pass; the gradient itself in the backward pass.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval
from jaxcnn.claims.layer_gradients import decades, first_batch, initial_gradients, initial_variables
from jaxcnn.claims.picture import COLOURS, labels, line, note, page
from jaxcnn.claims.study import Study
from jaxcnn.layers import Activation, ActivationName, Dense, Flatten, Layer
from jaxcnn.layers.record import Function
from jaxcnn.models import Chain
from jaxcnn.objectives import Batch
from jaxcnn.plots.page import save

SCALES = (1, 4, 16)
"""Deviations of the weights of the sigmoid networks, as multiples of Glorot and Bengio's."""
ARMS: dict[str, tuple[ActivationName, float]] = {
    **{f"sigmoid, {scale}": ("sigmoid", float(scale)) for scale in SCALES},
    "tanh, 1": ("tanh", 1.0),
}
DEPTHS = (2, 5, 10, 20, 30, 40, 50)
STRAIGHT = 0.99
"""Share of the squared decades that a straight line explains if the gradient vanishes geometrically."""
AGREES = 0.1
"""Share of the analytic exponent by which the measured one may differ if the two agree."""


def network(depth: int, units: int, activation: ActivationName, scale: float, inputs: int) -> Chain:
    """Return a stack of dense layers, each with its activation, and an output layer; the weights are normal, with a
    multiple of the deviation of Glorot and Bengio (2010, equation 12)."""
    hidden: tuple[Layer, ...] = ()
    for i in range(1, depth + 1):
        deviation = scale * (2 / ((inputs if i == 1 else units) + units)) ** 0.5
        hidden += (Dense(units, kernel_init=deviation, name=f"fc{i}"), Activation(activation, name=f"act{i}"))
    return Chain((Flatten(name="flatten"), *hidden, Dense(10, kernel_init="glorot_normal", name="output")))


def squared_derivatives(model: Chain, batch: Batch, seeds: Sequence[int]) -> np.ndarray:
    """Return the mean of phi'(z)^2 over images and units for every activation, [seeds, layers], at the initial weights
    that each seed draws."""
    activations = [layer for layer in model.layers() if isinstance(layer, Activation)]

    @jax.jit
    def outputs(variables: Any) -> dict[str, Any]:
        capture = {"capture_intermediates": lambda module, _: isinstance(module, Function)}
        return model.apply(variables, batch["image"], train=False, **capture)[1]["intermediates"]

    def read(seed: int) -> list[float]:
        seen = outputs(initial_variables(model, batch, seed))
        found = []
        for layer in activations:
            y = np.asarray(seen[layer.name]["__call__"][0], np.float64)
            found.append(np.mean((y * (1 - y) if layer.function == "sigmoid" else 1 - y * y) ** 2))
        return found

    return np.array([read(seed) for seed in seeds])


def measure(study: Study) -> Measurements:
    """Return, by arm, depth and seed, the powers of ten from the gradient of the last hidden layer to that of the
    first, measured and analytic."""
    units = study.choose(tiny=8, small=128, full=512)
    depths = study.choose(tiny=DEPTHS[:3], small=DEPTHS, full=DEPTHS)
    settings = study.images("mnist", train=study.choose(tiny=80, small=2000, full=2000), test=1000, batch_size=16)
    batch = first_batch(settings, study.choose(tiny=16, small=256, full=256))
    inputs = int(np.prod(batch["image"].shape[1:]))
    found: dict[str, dict[str, list[list[float]]]] = {"measured": {}, "analytic": {}}
    for arm, (activation, scale) in ARMS.items():
        for kind in found:
            found[kind][arm] = []
        for depth in depths:
            model = network(depth, units, activation, scale, inputs)
            ends = initial_gradients(model, batch, study.seeds, layers=("fc1", f"fc{depth}"))
            factors = scale**2 * squared_derivatives(model, batch, study.seeds)[:, :-1]
            found["measured"][arm].append(decades(ends).tolist())
            found["analytic"][arm].append((0.5 * np.log10(factors).sum(axis=1)).tolist())
    return {"units": units, "depths": list(depths), **found}


def exponents(measurements: Measurements, arm: str, kind: str = "measured") -> list[float]:
    """Return the powers of ten per layer for each seed: the slope of the straight line through the origin that fits the
    decades best."""
    layers, rows = np.array(measurements["depths"]) - 1, np.array(measurements[kind][arm])
    return (layers @ rows / (layers @ layers)).tolist()


def straightness(measurements: Measurements, arm: str) -> float:
    """Return the share of the squared mean decades that the line of the mean exponent explains."""
    means = np.mean(measurements["measured"][arm], axis=1)
    line = (np.array(measurements["depths"]) - 1) * statistics.fmean(exponents(measurements, arm))
    return float(1 - np.sum((means - line) ** 2) / np.sum(means**2))


def disagreement(measurements: Measurements, arm: str) -> Estimate:
    """Return the measured minus the analytic exponent, as a share of the size of the analytic one."""
    measured, analytic = (exponents(measurements, arm, kind) for kind in ("measured", "analytic"))
    size = abs(statistics.fmean(analytic))
    return Estimate(*(x / size for x in difference(measured, analytic)))


def vanishes(measurements: Measurements, arm: str) -> bool:
    """Return whether the gradient of an arm vanishes geometrically, by the rule of the claim."""
    return mean_interval(exponents(measurements, arm)).high < 0 and straightness(measurements, arm) > STRAIGHT


def decide(measurements: Measurements) -> Verdict:
    """Compare the decay with a straight line and with the analytic exponent, and say for which weights there is one."""
    sigmoid = [arm for arm, (activation, _) in ARMS.items() if activation == "sigmoid"]
    vanishing = [vanishes(measurements, arm) for arm in sigmoid]
    effect = mean_interval(exponents(measurements, sigmoid[0]))
    off = disagreement(measurements, sigmoid[0])
    agrees = max(-off.low, off.high) < AGREES
    largest = SCALES[vanishing.index(False) - 1] if False in vanishing else SCALES[-1]
    verdict = "does not hold"
    if vanishing[0]:
        limits = ["only the decay is meant, not its analytic exponent"] * (not agrees)
        limits += [f"the weights have at most {largest} times the deviation of Glorot and Bengio"] * (
            not all(vanishing)
        )
        verdict = f"holds if {' and '.join(limits)}" if limits else "holds"
    factors = "; ".join(
        f"{_words(arm)} {_factor(measurements, arm):.3f} ({_factor(measurements, arm, 'analytic'):.3f} by the formula)"
        for arm in ARMS
    )
    conditions = (
        f"In stacks of {measurements['depths'][0]} to {measurements['depths'][-1]} layers of {measurements['units']} "
        f"units, at their initial weights, a layer multiplies the gradient by: {factors}. A straight line explains "
        f"{100 * straightness(measurements, sigmoid[0]):.2f} % of the decay with Glorot and Bengio's weights, whose "
        f"exponent differs from the analytic one by {Estimate(*(100 * x for x in off)):+.1f} %."
    )
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _words(arm: str) -> str:
    activation, scale = ARMS[arm]
    return activation if scale == 1 else f"{activation} with weights {scale:g} times as large"


def _factor(measurements: Measurements, arm: str, kind: str = "measured") -> float:
    return 10 ** statistics.fmean(exponents(measurements, arm, kind))


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the decades over the depth for every arm, with the analytic ones."""
    first = next(iter(ARMS))
    depth, rows = measurements["depths"][-1], measurements["measured"]
    each, formula = (_factor(measurements, first, kind) for kind in ("measured", "analytic"))
    title = (
        f"A sigmoid layer multiplies the gradient by {each:.2f} (by the formula {formula:.2f}), so that "
        f"{depth} layers leave 10^{np.mean(rows[first][-1]):.0f} of it"
    )
    axes = [("layers", "gradient of the first layer divided by that of the last, powers of ten")]
    area, (panel,) = page(title, axes, label_width=230)
    panel.axhline(0, color="#666666", linewidth=1)
    ends = []
    for arm, colour in zip(ARMS, (*COLOURS[:3], COLOURS[3]), strict=True):
        estimates = [mean_interval(row) for row in rows[arm]]
        line(panel, measurements["depths"], estimates, colour)
        panel.plot(
            measurements["depths"],
            np.mean(measurements["analytic"][arm], axis=1),
            color="#222222",
            linewidth=1.2,
            linestyle="--",
            zorder=4,
        )
        name = _words(arm).replace(" with ", "\n")
        ends.append((estimates[-1].mean, f"{name}\n{_factor(measurements, arm):.2f} times per layer", colour))
    panel.set_xlim(0, depth + 1)
    labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds; dashed: √(n Var(W) E[φ'²]) for every layer")
    return save(area, path)


CLAIM = Claim(
    name="vanishing_depth",
    statement="In a stack of sigmoid layers the gradient vanishes geometrically with the number of layers.",
    source="Bengio et al. 1994; Glorot & Bengio 2010, section 4.2.1",
    rule=(
        "Stacks of 2 to 50 dense layers of equal width are read at their initial weights, on a batch of MNIST. The "
        "decades of a stack are log10 of the standard deviation of the gradient with respect to the pre-activations of "
        "the first hidden layer divided by that of the last. The effect is the exponent: the decades per layer, the "
        "slope of the straight line through the origin that fits all depths best, one for each seed. The gradient "
        "vanishes geometrically if the 95 % interval of the exponent lies below 0 and the line explains 99 % of the "
        "squared mean decades. The analytic exponent has for each layer half of log10 of n Var(W) times the mean "
        "squared derivative; the two agree if the 95 % interval of their difference lies within a tenth of it. The "
        "claim holds if with the initial weights of Glorot and Bengio the gradient vanishes geometrically and both "
        "exponents agree, and it also vanishes geometrically with weights 4 and 16 times as large. It holds in part if "
        "the exponents do not agree, or if it vanishes only up to some size of the weights; otherwise it does not "
        "hold. Tanh is reported beside."
    ),
    effect="powers of ten of the gradient per sigmoid layer, with the initial weights of Glorot and Bengio",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
