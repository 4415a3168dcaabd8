"""Claim: weighting source images by p_target(x) / p_source(x) repairs covariate shift.

The problem is controlled: source and target are normal distributions of points in the plane, one to the left and one
to the right, with the same classes, above and below a parabola. A straight line cannot be right on both (a misspecified
model, Shimodaira 2000); a parabola can; a network with more weights than points fits every point of the source
(Byrd & Lipton 2019). It needs no data set.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import shift
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, differences, holm_p_values, mean_interval
from jaxcnn.claims.picture import COLOURS, inside, labels, line, note, page, rows
from jaxcnn.claims.study import Study
from jaxcnn.layers import Activation, Dense
from jaxcnn.models import Chain
from jaxcnn.plots.page import save
from jaxcnn.plots.words import MUTED
from jaxcnn.runtime.jax_settings import fixed_settings

CENTRE = 0.75
"""Source points have the mean (-CENTRE, 0), target points (CENTRE, 0), and all a deviation of 1: the effective sample
size of the exact weights is exp(-4 CENTRE^2), 11 % of the points."""
LEVEL = 0.75
"""The classes lie above and below x2 = x1^2 / 2 - LEVEL."""
MODELS = {"line": "a straight line", "parabola": "a parabola", "network": "an overparameterized network"}
WEIGHTS = {"none": "without weights", "exact": "exact weights", "estimated": "estimated weights"}
MARGIN = 0.5
"""Points of error that are too few to matter."""
UNITS, RATE = 64, 3e-3


class Problem(NamedTuple):
    """Points [n, 2] with classes 0 and 1, int [n], of source and target, and weights of the source points by kind."""

    source: np.ndarray
    source_classes: np.ndarray
    target: np.ndarray
    target_classes: np.ndarray
    weights: Mapping[str, np.ndarray]


def classes(points: np.ndarray) -> np.ndarray:
    """Return the class of each point [n, 2]: 1 above the parabola, 0 below."""
    return (points[:, 1] > points[:, 0] ** 2 / 2 - LEVEL).astype(np.int32)


def exact_weights(points: np.ndarray) -> np.ndarray:
    """Return p_target(x) / p_source(x) of points [n, 2]."""
    return np.exp(2 * CENTRE * points[:, 0])


def problem(seed: int, count: int, scored: int) -> Problem:
    """Draw as many unlabelled target points for the estimated weights as source points, and others to score on; all
    weights have mean 1."""
    random = np.random.default_rng(seed)
    source = random.normal((-CENTRE, 0), 1, (count, 2))
    unlabelled, target = (random.normal((CENTRE, 0), 1, (n, 2)) for n in (count, scored))
    exact = exact_weights(source)
    weights = {
        "none": np.ones(count),
        "exact": exact / exact.mean(),
        "estimated": shift.importance_weights(source, unlabelled, seed=seed).weights,
    }
    return Problem(source, classes(source), target, classes(target), weights)


def fitted(model: str, found: Problem, kind: str) -> tuple[float, list[float]]:
    """Return the target error in percent of a logistic regression on x1 and x2, and for the parabola on x1^2 too, and
    its coefficients, the constant first."""
    from sklearn.linear_model import LogisticRegression

    def features(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points, points[:, 0] ** 2]) if model == "parabola" else points

    # Hardly any regularization, which separable classes need.
    regression = LogisticRegression(C=1e4, max_iter=1000)
    regression.fit(features(found.source), found.source_classes, found.weights[kind])
    wrong = regression.predict(features(found.target)) != found.target_classes
    return 100 * float(np.mean(wrong)), [*regression.intercept_.tolist(), *regression.coef_[0].tolist()]


def network() -> Chain:
    """Return a network of two hidden layers, with more weights than there are points."""
    hidden = tuple(
        layer
        for i in (1, 2)
        for layer in (Dense(UNITS, kernel_init="he_normal", name=f"fc{i}"), Activation("relu", name=f"act{i}"))
    )
    return Chain((*hidden, Dense(2, name="output")))


@fixed_settings()
def trained(problems: Sequence[Problem], readings: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Train a network for every problem and kind of weights with Adam, on all points at once, from the same initial
    weights for all kinds.

    Args:
        problems: one for each seed.
        readings: epochs after which errors are read, ascending.

    Returns:
        Errors in percent on the target, [seeds, kinds, readings], and on the source points, likewise.
    """
    model, optimizer = network(), optax.adam(RATE)
    source, target = (
        tuple(
            jnp.asarray(np.stack([getattr(p, name) for p in problems]), dtype)
            for name, dtype in ((part, jnp.float32), (f"{part}_classes", jnp.int32))
        )
        for part in ("source", "target")
    )
    weights = jnp.asarray([[p.weights[kind] for kind in WEIGHTS] for p in problems], jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(problems))

    def loss(params: optax.Params, points: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
        logits = model.apply({"params": params}, points, train=True)
        return jnp.mean(weights * optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def error(params: optax.Params, points: jax.Array, labels: jax.Array) -> jax.Array:
        return 100 * jnp.mean(jnp.argmax(model.apply({"params": params}, points, train=False), axis=-1) != labels)

    def begin(key: jax.Array, points: jax.Array) -> tuple[optax.Params, optax.OptState]:
        params = model.init(key, points[:1], train=False)["params"]
        return params, optimizer.init(params)

    def epochs(state: tuple, data: tuple[jax.Array, jax.Array], weights: jax.Array, count: jax.Array) -> tuple:
        def step(_: jax.Array, state: tuple) -> tuple:
            params, moments = state
            updates, moments = optimizer.update(jax.grad(loss)(params, *data, weights), moments)
            return optax.apply_updates(params, updates), moments

        return jax.lax.fori_loop(0, count, step, state)

    # Over the kinds of weights within, over the seeds outside.
    every = jax.jit(jax.vmap(jax.vmap(epochs, (0, None, 0, None)), (0, 0, 0, None)))
    errors = jax.jit(jax.vmap(jax.vmap(error, (0, None, None))))
    state = jax.vmap(begin)(keys, source[0])
    state = jax.tree.map(lambda x: jnp.repeat(x[:, None], len(WEIGHTS), axis=1), state)
    found, done = [], 0
    for reading in readings:
        state = every(state, source, weights, jnp.int32(reading - done))
        found.append([np.asarray(errors(state[0], *data), float) for data in (target, source)])
        done = reading
    return tuple(np.moveaxis(np.array(part), 0, -1) for part in zip(*found, strict=True))


def measure(study: Study) -> Measurements:
    """Return target errors in percent by model, kind of weights and seed, the network's after every reading too."""
    count = study.choose(tiny=60, small=500, full=500)
    readings = study.choose(
        tiny=(1, 2, 3), small=(10, 30, 100, 300, 1000, 3000), full=(10, 30, 100, 300, 1000, 3000, 10_000)
    )
    problems = [problem(seed, count, study.choose(tiny=100, small=4000, full=4000)) for seed in study.seeds]
    straight = {model: {k: [fitted(model, p, k) for p in problems] for k in WEIGHTS} for model in ("line", "parabola")}
    target, source = (
        {kind: part[:, place].tolist() for place, kind in enumerate(WEIGHTS)} for part in trained(problems, readings)
    )
    errors = {model: {k: [error for error, _ in each] for k, each in runs.items()} for model, runs in straight.items()}
    errors["network"] = {kind: [row[-1] for row in each] for kind, each in target.items()}
    return {
        "count": count,
        "errors": errors,
        "epochs": list(readings),
        "network": target,
        "network_source": source,
        "lines": {kind: each[0][1] for kind, each in straight["line"].items()},
        "effective": {kind: [_effective(p.weights[kind]) for p in problems] for kind in WEIGHTS},
    }


def _effective(weights: np.ndarray) -> float:
    """Return the effective sample size of weights as a share of the points (Kish 1965)."""
    return float(weights.sum() ** 2 / np.square(weights).sum() / len(weights))


def gains(measurements: Measurements, kind: str) -> list[list[float]]:
    """Return how many points the error of the network is lower with weights, for every reading and seed."""
    without, weighted = (np.array(measurements["network"][each]) for each in ("none", kind))
    return (without - weighted).T.tolist()


def faded(measurements: Measurements) -> Estimate:
    """Return how much smaller the effect of exact weights on the network is at the end than on average over the first
    half of the readings, in points; its size counts, not its sign."""
    sizes = np.abs(gains(measurements, "exact"))
    early = sizes[: len(sizes) // 2].mean(axis=0)
    return difference(early.tolist(), sizes[-1].tolist())


def decide(measurements: Measurements) -> Verdict:
    """Say which models weighting helps, and whether its effect on the network fades."""
    errors = measurements["errors"]
    pairs = {(m, k): (errors[m]["none"], errors[m][k]) for m in MODELS for k in ("exact", "estimated")}
    p = holm_p_values(pairs)
    change = {pair: difference(*values) for pair, values in pairs.items()}
    helps = {pair: p[pair] < 0.05 and change[pair].mean > MARGIN for pair in pairs}
    helped = [m for m in MODELS if helps[m, "exact"] and helps[m, "estimated"]]
    verdict = "does not hold"
    if len(helped) == len(MODELS):
        verdict = "holds"
    elif helped == ["line"]:
        verdict = "holds if the model is misspecified"
    elif helped:
        verdict = f"holds if the model is {' or '.join(MODELS[m] for m in helped)}"
    each = "; ".join(
        f"{MODELS[m]} has {statistics.fmean(errors[m]['none']):.1f} % without weights, "
        f"{statistics.fmean(errors[m]['exact']):.1f} % with exact and {statistics.fmean(errors[m]['estimated']):.1f} % "
        "with estimated ones"
        for m in MODELS
    )
    fades, last = faded(measurements), measurements["epochs"][-1]
    left = statistics.fmean(row[-1] for row in measurements["network_source"]["none"])
    share = 100 * statistics.fmean(measurements["effective"]["exact"])
    conditions = (
        f"Trained on {measurements['count']} points of the source, of which the exact weights leave an effective "
        f"sample of {share:.0f} %, on the target {each}. From the first half of the readings to epoch {last:,}, at "
        f"which the network errs on {left:.1f} % of the points that it was trained on, exact weights lose "
        f"{fades:.1f} points of their effect on it, which "
        f"{'fades' if fades.low > 0 else 'does not fade significantly'}."
    )
    effect = change["line", "exact"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the problem with the fitted lines, what weighting gains, and the network's error over the epochs."""
    errors = measurements["errors"]
    gained = {m: difference(errors[m]["none"], errors[m]["exact"]).mean for m in MODELS}
    title = (
        f"Weighting lowers the error on the target by {gained['line']:.1f} points if the model is too simple, by "
        f"{gained['parabola']:.1f} if it is right, and by {gained['network']:.1f} if it is a network at the end of "
        "training"
    )
    axes = [("x1", "x2; dashed: true border"), ("points", "error without minus with weights")]
    area, (left, middle, right) = page(title, [*axes, ("epochs", "error of the network, %")], label_width=76)
    _draw_problem(left, measurements["lines"])
    colours = {"none": COLOURS[1], "exact": COLOURS[0], "estimated": COLOURS[2]}
    shown = [
        (f"{m}, {k}", differences(errors[m]["none"], errors[m][k]), colours[k])
        for m in MODELS
        for k in ("exact", "estimated")
    ]
    rows(middle, shown, reference=0)
    right.set_xscale("log")
    ends = []
    for kind, colour in colours.items():
        estimates = [mean_interval(column) for column in zip(*measurements["network"][kind], strict=True)]
        line(right, measurements["epochs"], estimates, colour)
        ends.append((estimates[-1].mean, kind, colour))
    labels(right, ends)
    note(area, "marks: seeds; points: mean and 95 % interval; circles: one and two deviations")
    return save(area, path)


def _draw_problem(panel, lines: Mapping[str, Sequence[float]]) -> None:
    """Draw both distributions as circles, the border of the classes, and the lines fitted with the first seed."""
    x, angle = np.linspace(-3.2, 3.2, 100), np.linspace(0, 2 * np.pi, 100)
    panel.set_xlim(-3.2, 3.2)
    panel.set_ylim(-3.2, 3.2)
    for centre, name, colour in ((-CENTRE, "source", COLOURS[4]), (CENTRE, "target", COLOURS[3])):
        for radius in (1, 2):
            panel.plot(centre + radius * np.cos(angle), radius * np.sin(angle), color=colour, linewidth=1.2)
        inside(panel, -3 if centre < 0 else 0.9, -2.6, name, colour)
    panel.plot(x, x**2 / 2 - LEVEL, color=MUTED, linewidth=1.5, linestyle="--")
    for kind, colour in (("none", COLOURS[1]), ("exact", COLOURS[0])):
        constant, first, second = lines[kind]
        panel.plot(x, -(constant + first * x) / second, color=colour, linewidth=2)


CLAIM = Claim(
    name="importance_weighting",
    statement="Weighting source images by p_target(x) / p_source(x) repairs covariate shift.",
    source="Shimodaira 2000; Byrd & Lipton 2019",
    rule=(
        "Source and target are points of two normal distributions in the plane, 1.5 deviations apart, with the same "
        "classes, above and below a parabola. Three models are fitted to 500 source points: a logistic regression "
        "whose border is a straight line, one whose border is a parabola, and a network of two hidden layers with "
        "more weights than points, trained for thousands of epochs: each without weights, with the exact weights, and "
        "with weights that are estimated by a classifier between source points and unlabelled target points. "
        "Weighting helps a model if exact and estimated weights both lower the error on other target points by more "
        "than 0.5 points, with p below 0.05 in a t-test paired by seed, corrected by Holm's procedure for the six "
        "comparisons. The claim holds if weighting helps all three; if it helps the straight line alone, it holds if "
        "the model is misspecified; if it helps others, for those; otherwise it does not hold. The effect is the error "
        "of the straight line without minus with exact weights. The effect on the network fades if its size, averaged "
        "over the first half of the readings, is larger than at the end, by the 95 % interval paired by seed."
    ),
    effect="target error of a misspecified model without minus with exact weights, points",
    data=(),
    seeds=20,
    measure=measure,
    decide=decide,
    draw=draw,
)
