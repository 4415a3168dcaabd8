"""Claim: batch normalization and skip connections cure the vanishing gradient, alone and together.

Skips are those of pre-activation networks, x + F(x) with nothing but sums between the blocks. The initial gradients
also say what else the remedies do: a stack with batch normalization and without skips explodes (Yang et al. 2019,
arXiv:1902.08129), sums of many branches grow, and a factor on the branches holds them back.
"""

import statistics
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import Estimate, difference, mean_interval
from jaxcnn.claims.layer_gradients import decades, first_batch, initial_gradients
from jaxcnn.claims.picture import COLOURS, labels, line, note, page, rows
from jaxcnn.claims.study import Study, error
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import PlainNet
from jaxcnn.plots.page import save

ARMS = {"none": "neither", "batch": "batch norm", "skip": "skips", "both": "both"}
REMEDIES = ("batch", "skip", "both")
SCALE = 0.2
"""Factor on the branches (Szegedy et al. 2017, section 3.3: 0.1 to 0.3)."""
_SKIP = {"skip": "pre_activation"}
NETWORKS = {
    "none": {},
    "batch": {"norm": "batch"},
    "skip": _SKIP,
    "both": _SKIP | {"norm": "batch"},
    "scaled": _SKIP | {"residual_scale": SCALE},
    "post": {"skip": "post_activation"},
}
"""Fields of the networks that are read at their initial weights, by the name of what they have."""
KEPT = 1.0
"""Decades within which the gradient is kept from the last hidden layer to the first."""


def measure(study: Study) -> Measurements:
    """Return the test errors of sigmoid networks, and the decades of the initial gradients by activation, network,
    depth and seed."""
    depth = study.choose(tiny=4, small=20, full=20)
    base = Experiment(
        model=PlainNet(depth, study.choose(tiny=8, small=128, full=512), "sigmoid", "glorot", "none", kind="dense"),
        data=study.images(
            "mnist",
            train=study.choose(tiny=80, small=10_000, full=60_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=study.choose(tiny=16, small=64, full=128),
        ),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0),
        epochs=study.choose(tiny=1, small=6, full=20),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    arms = {arm: override(base, {f"model.{name}": value for name, value in NETWORKS[arm].items()}) for arm in ARMS}
    tuned = study.tune(arms, study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3)))
    records = study.repeat(tuned)
    depths = study.choose(tiny=(4, 6), small=(10, 20, 50), full=(10, 20, 50))
    batch = first_batch(base.data, study.choose(tiny=16, small=256, full=256))
    initial: dict[str, dict[str, list[list[float]]]] = {}
    for activation, init in (("sigmoid", "glorot"), ("relu", "he")):
        common = {"width": base.model.width, "activation": activation, "kernel_init": init, "kind": "dense"}
        initial[activation] = {
            name: [
                _decades(PlainNet(depth, **common | {"norm": "none"} | fields), batch, study.seeds) for depth in depths
            ]
            for name, fields in NETWORKS.items()
        }
    return {
        "depth": depth,
        "depths": list(depths),
        "decades": initial,
        "learning_rates": {arm: tuned[arm].optimizer.learning_rate for arm in ARMS},
        "test_errors": {arm: [error(r) for r in records[arm]] for arm in ARMS},
        "tuning": study.tunings,
    }


def _decades(model: PlainNet, batch: dict, seeds: range) -> list[float]:
    ends = ("fc1", f"*fc{model.depth - 1}")
    return decades(initial_gradients(model, batch, seeds, layers=ends)).tolist()


def initially(measurements: Measurements, activation: str, network: str) -> Estimate:
    """Return the decades of the initial gradient at the depth that is also trained."""
    depths = measurements["depths"]
    place = depths.index(measurements["depth"])
    return mean_interval(measurements["decades"][activation][network][place])


def decide(measurements: Measurements) -> Verdict:
    """Say which remedies keep the initial gradient and lower the test error."""
    errors = measurements["test_errors"]
    found = {arm: initially(measurements, "sigmoid", arm) for arm in ARMS}
    gains = {arm: difference(errors["none"], errors[arm]) for arm in REMEDIES}
    curing = [arm for arm in REMEDIES if max(-found[arm].low, found[arm].high) < KEPT and gains[arm].low > 0]
    verdict = "holds" if len(curing) == len(REMEDIES) else "does not hold"
    if curing and len(curing) < len(REMEDIES):
        verdict = f"holds if the remedy is {' or '.join(ARMS[arm] for arm in curing)}"
    each = "; ".join(
        f"{ARMS[arm]} {found[arm].mean:+.1f} and {statistics.fmean(errors[arm]):.1f} % at "
        f"{measurements['learning_rates'][arm]:g}"
        for arm in ARMS
    )
    rectified = {name: initially(measurements, "relu", name).mean for name in NETWORKS}
    conditions = (
        f"Powers of ten from the last to the first of {measurements['depth']} sigmoid layers, initially, and the test "
        f"error at the best learning rate: {each}. Where the sigmoid follows the sum the skips leave "
        f"{initially(measurements, 'sigmoid', 'post').mean:+.1f} powers of ten. With ReLU and He's weights it is "
        f"{rectified['none']:+.1f} without either, {rectified['batch']:+.1f} with batch normalization alone (a layer "
        f"multiplies the gradient by {per_layer(measurements, 'relu', 'batch'):.2f}), {rectified['skip']:+.1f} with "
        f"skips alone ({rectified['scaled']:+.1f} with branches times {SCALE:g}), {rectified['both']:+.1f} with both."
    )
    effect = gains["both"]
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def per_layer(measurements: Measurements, activation: str, network: str) -> float:
    """Return by how much a layer multiplies the initial gradient, from the shallowest and the deepest network."""
    depths, runs = measurements["depths"], measurements["decades"][activation][network]
    return 10 ** ((statistics.fmean(runs[-1]) - statistics.fmean(runs[0])) / (depths[-1] - depths[0]))


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the initial gradients over the depth for sigmoid and for ReLU, and the test errors."""
    errors = {arm: statistics.fmean(values) for arm, values in measurements["test_errors"].items()}
    found = ", ".join(f"{errors[arm]:.0f} % with {ARMS[arm]}" for arm in REMEDIES)
    title = f"With {measurements['depth']} sigmoid layers the test error is {errors['none']:.0f} %, {found}"
    axes = [("layers", "sigmoid: log10 gradient"), ("layers", "ReLU: log10 gradient"), ("", "sigmoid: test error, %")]
    area, (*panels, right) = page(title, axes, label_width=90)
    words = {"none": "neither", "batch": "batch norm", "skip": "skips", "both": "both", "scaled": f"skips, {SCALE:g} F"}
    colours = dict(
        zip(("none", "batch", "skip", "both", "scaled"), COLOURS[1:2] + COLOURS[:1] + COLOURS[2:], strict=False)
    )
    for panel, activation in zip(panels, ("sigmoid", "relu"), strict=True):
        panel.axhline(0, color="#666666", linewidth=1)
        ends = []
        for name in ARMS if activation == "sigmoid" else words:
            estimates = [mean_interval(row) for row in measurements["decades"][activation][name]]
            line(panel, measurements["depths"], estimates, colours[name])
            ends.append((estimates[-1].mean, words[name], colours[name]))
        labels(panel, ends)
    rows(right, [(ARMS[arm], measurements["test_errors"][arm], colours[arm]) for arm in ARMS])
    note(
        area, "left: initial gradient of the first hidden layer divided by that of the last; means with 95 % intervals"
    )
    return save(area, path)


CLAIM = Claim(
    name="vanishing_remedies",
    statement=(
        "Batch normalization and skip connections cure the vanishing gradient of a deep sigmoid network, each alone "
        "and both together."
    ),
    source="Ioffe & Szegedy 2015, section 1; He et al. 2016, arXiv:1603.05027, section 2",
    rule=(
        "Networks of 20 dense sigmoid layers with Glorot initialization train on MNIST without either, with batch "
        "normalization, with pre-activation skips, and with both, each at its own best learning rate, chosen on a "
        "validation split. A remedy cures if at the initial weights the 95 % interval of the decades, log10 of the "
        "standard deviation of the gradient with respect to the pre-activations of the first hidden layer divided by "
        "that of the last, lies within -1 and 1, and if that of the test error without either minus with the remedy, "
        "paired by seed, lies above 0. The effect is this difference for both together. The claim holds if all three "
        "cure; it holds if the remedy is one of those that do, where only some cure; otherwise it does not hold. The "
        "decades of deeper networks, with rectified linear units and He initialization, with a factor of 0.2 on the "
        "branches and with the activation after the sum are reported beside."
    ),
    effect="test error without either minus with both remedies, points",
    data=("mnist",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
