"""Claim: internal covariate shift and covariate shift are the same thing: what reduces one reduces the other.

Internal covariate shift happens in training, on images of one distribution: the layers before a layer move, and with
them its inputs (Ioffe & Szegedy 2015) and its gradient (Santurkar et al. 2018). Covariate shift happens after training:
the images move. The same networks, with and without batch normalization, go through both. The distance of a layer's
inputs is the same measure in both, from one update to the next and from clean to corrupted images. It needs MNIST.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import shift
from jaxcnn.claims.batch_norm_shift import STALLED, Shifts
from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.corrupted_images import corrupted, error_on, test_images
from jaxcnn.claims.estimates import Estimate, ratio
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, note, page, rows
from jaxcnn.claims.study import Record, Study, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import LeNet5
from jaxcnn.objectives import cross_entropy
from jaxcnn.plots.page import save
from jaxcnn.probes import input_drift
from jaxcnn.runtime.jax_settings import fixed_settings

ARMS = {"none": "without a norm", "batch": "with batch norm"}
INTERNAL = {"gradients": "a layer's gradient per update", "inputs": "a layer's inputs per update"}
COVARIATE = {"distance": "a layer's inputs on corrupted images", "loss": "the accuracy lost on corrupted images"}
QUANTITIES = {**INTERNAL, **COVARIATE}
CORRUPTIONS = (
    *("gaussian_noise", "impulse_noise", "gaussian_blur", "motion_blur", "brightness", "contrast", "stripe"),
    *("rotate", "translate", "elastic_transform"),
)
SEVERITY = 3


def measure(study: Study) -> Measurements:
    """Return the four quantities, and test errors in percent, by arm and seed; no quantities for a run that has
    diverged or stalled."""
    # With tanh. Rectified units that hardly ever respond have hardly any deviation to which a shift is relative.
    model = LeNet5()
    base = Experiment(
        model=study.choose(tiny=SmallConvNet((2, 2)), small=model, full=model),
        data=study.images(
            "mnist",
            train=study.choose(tiny=80, small=12_500, full=60_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=100, full=100),
            pad=2,
            mean=(0.1,),
            std=(0.3,),
        ),
        # Without momentum an update is a multiple of the gradient, as the definitions presume.
        optimizer=Optimizer(learning_rate=0.1, momentum=0.0, weight_decay=0.0),
        epochs=study.choose(tiny=1, small=6, full=6),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {arm: override(base, {"model.norm": arm}) for arm in ARMS}
    tuned = study.tune(arms, study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3)))
    every = study.choose(tiny=2, small=20, full=100)
    records = study.repeat(tuned, keep="last", hooks=lambda e: [Shifts(e.model, every=every)])
    names = study.choose(tiny=CORRUPTIONS[:2], small=CORRUPTIONS, full=CORRUPTIONS)
    test = test_images(base)
    changed = {name: corrupted(test, base.data, name, SEVERITY) for name in names}
    quantities = {arm: [_quantities(r, test.images, test.labels, changed) for r in records[arm]] for arm in ARMS}
    return {
        "quantities": quantities,
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "rates": {arm: tuned[arm].optimizer.learning_rate for arm in ARMS},
        "tuning": study.tunings,
    }


def _quantities(
    record: Record, images: np.ndarray, labels: np.ndarray, changed: Mapping[str, np.ndarray]
) -> dict[str, float] | None:
    """Return the four quantities of a run, None if it has diverged or stalled; the shifts are means over layers and
    readings or corruptions, the loss is in points."""
    if not record.results or error(record, "validation") > STALLED:
        return None
    read = json.loads((Path(record.workdir) / "shifts.json").read_text())
    network = shift.load_network(record.workdir)
    clean, lost, moved = error_on(network, images, labels), [], []
    for each in changed.values():
        lost.append(error_on(network, each, labels) - clean)
        moved.append(layer_distances(network, images, each))
    return {
        **{name: float(np.nanmean(np.array(read[name], float))) for name in INTERNAL},
        "distance": float(np.mean(moved)),
        "loss": statistics.fmean(lost),
    }


@fixed_settings()
def layer_distances(network: shift.Network, images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far the distribution of each layer's input moves from images to other images, [layers] without the
    first: the distance of `probes.input_drift`, in evaluation mode and with the weights at rest."""
    return np.asarray(_distances(network.model, network.preprocess)(network.variables, images, others))


@lru_cache(maxsize=4)
def _distances(model: Any, preprocess: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    def distances(variables: Mapping[str, Any], images: jax.Array, others: jax.Array) -> jax.Array:
        def loss(images: jax.Array) -> Callable[[Any], jax.Array]:
            def of(params: Any) -> jax.Array:
                logits = model.apply({**variables, "params": params}, preprocess(images), train=False)
                return jnp.mean(cross_entropy(logits, jnp.zeros(len(images), jnp.int32)))

            return of

        params = variables["params"]
        still = jax.tree.map(jnp.zeros_like, params)
        found = input_drift(loss(images), params, still, after=loss(others))["layers"]
        return jnp.stack([each["distance"] for each in found.values()][1:])

    return jax.jit(distances)


def compared(measurements: Measurements, quantity: str) -> Estimate | None:
    """Return how many times as large a quantity is with batch normalization as without, the geometric mean over the
    seeds; None if fewer than two seeds have both, or if the accuracy does not fall."""
    pairs = _pairs(measurements, quantity)
    return ratio(*zip(*pairs, strict=True)) if len(pairs) > 1 and min(map(min, pairs)) > 0 else None


def _pairs(measurements: Measurements, quantity: str) -> list[tuple[float, float]]:
    both = zip(*(measurements["quantities"][arm] for arm in ("batch", "none")), strict=True)
    return [(a[quantity], b[quantity]) for a, b in both if a and b]


def agreement(measurements: Measurements) -> dict[tuple[str, str], bool]:
    """Return whether a quantity of each shift agree, for the pairs of which at least one is reduced: both are."""
    found = {quantity: compared(measurements, quantity) for quantity in QUANTITIES}
    reduced = {quantity: x is not None and x.high < 1 for quantity, x in found.items()}
    pairs = [(a, b) for a in INTERNAL for b in COVARIATE if reduced[a] or reduced[b]]
    return {(a, b): reduced[a] and reduced[b] for a, b in pairs}


def decide(measurements: Measurements) -> Verdict:
    """Say which quantities of internal covariate shift and of covariate shift batch normalization reduces together."""
    agreed = agreement(measurements)
    together = [f"{QUANTITIES[a]} and {QUANTITIES[b]}" for (a, b), same in agreed.items() if same]
    verdict = "does not hold"
    if together:
        verdict = "holds" if all(agreed.values()) else f"holds if only {', or '.join(together)} are meant"
    found = {quantity: compared(measurements, quantity) for quantity in QUANTITIES}
    parts = {
        kind: "; ".join(
            f"{name} {'unknown' if found[q] is None else format(found[q], '.2f')}" for q, name in of.items()
        )
        for kind, of in (("internal", INTERNAL), ("covariate", COVARIATE))
    }
    rates, errors = measurements["rates"], measurements["test_errors"]
    scores = ", ".join(
        f"{statistics.fmean(errors[arm]):.1f} % {name} at a rate of {rates[arm]:g}" for arm, name in ARMS.items()
    )
    conditions = (
        f"With batch normalization divided by without, internal covariate shift is: {parts['internal']}; covariate "
        f"shift is: {parts['covariate']}. The test error is {scores}."
    )
    effect = found["loss"]
    if effect is None:
        return Verdict(verdict, None, (None, None), conditions)
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw how many times as large each quantity is with batch normalization as without."""
    found = {quantity: compared(measurements, quantity) for quantity in QUANTITIES}
    title = (
        f"With batch norm the inputs of a layer move {_times(found['inputs'])} as much per update, and "
        f"{_times(found['distance'])} as much on corrupted images, where {_times(found['loss'])} as much accuracy is "
        "lost"
    )
    axes = [("times as large, logarithmic", "with batch normalization divided by without")]
    area, (panel,) = page(title, axes, label_width=20)
    colours = {**dict.fromkeys(INTERNAL, COLOURS[1]), **dict.fromkeys(COVARIATE, COLOURS[0])}
    shown = [
        (f"{QUANTITIES[q]}: {found[q].mean:.2f}", _doublings(measurements, q), colours[q])
        for q in QUANTITIES
        if found[q] is not None
    ]
    rows(panel, shown, reference=0)
    ends = [round(x) for x in panel.get_xlim()]
    ticks = range(min(-1, ends[0]), max(1, ends[1]) + 1)
    panel.set_xticks(ticks, [f"{2.0**tick:.3g}" for tick in ticks])
    note(area, "orange: internal covariate shift; blue: covariate shift; points: geometric mean and 95 % interval")
    return save(area, path)


def _doublings(measurements: Measurements, quantity: str) -> Sequence[float]:
    """Return the logarithm to base 2 of the ratio of each seed."""
    return [float(np.log2(a / b)) for a, b in _pairs(measurements, quantity)]


def _times(estimate: Estimate | None) -> str:
    return "an unknown number of times" if estimate is None else f"{estimate.mean:.2g} times"


CLAIM = Claim(
    name="shift_internal",
    statement="Internal covariate shift and covariate shift are the same thing: what reduces one reduces the other.",
    source="Shimodaira 2000, section 1; Ioffe & Szegedy 2015, section 1",
    rule=(
        "LeNet-5 with tanh trains on MNIST by plain gradient descent with and without batch normalization, each at its "
        "own best learning rate by the validation error. Internal covariate shift is read during training, as means "
        "over all layers but the first: the change of a layer's gradient when the layers before it make their update, "
        "relative to its norm (Santurkar et al. 2018, definition 2.1), and the change of the mean and the deviation of "
        "its inputs by an update, relative to their deviation. Covariate shift is read after training, under ten "
        "corruptions of severity 3 of the test images: the same change of a layer's inputs, from clean to corrupted "
        "images, and the accuracy that is lost. Batch normalization reduces a quantity if the 95 % interval of its "
        "ratio with and without, paired by seed, lies below 1. A quantity of the one shift and one of the other agree "
        "if both are reduced and disagree if only one is; if none is, the pair says nothing. The claim holds if at "
        "least one pair agrees and none disagrees, it holds for the pairs that agree if others disagree, and without "
        "any that agrees it does not hold. Runs that diverge or stall are left out. The effect is the ratio of the "
        "lost accuracy."
    ),
    effect="accuracy lost under corruptions with batch normalization divided by without",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
