"""Claim: at inference batch normalization uses the statistics of the entire training set."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from jaxcnn.claims.claim import Claim, Measurements, Verdict
from jaxcnn.claims.estimates import difference, holm_p_values, mean_interval
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.picture import COLOURS, labels, note, page
from jaxcnn.claims.study import Record, Study
from jaxcnn.config import Experiment, Optimizer, override
from jaxcnn.models import VGG
from jaxcnn.plots.page import save
from jaxcnn.runs.run_evaluation import evaluate_run

KINDS = {
    "full_pass": "entire training set",
    "pooled": "pooled batches",
    "algorithm2": "algorithm 2",
    "ema": "moving average",
    "batch": "test batch",
}
LENGTHS = ("short", "long")
MARGIN = 0.5
"""Points of test error that are too few to matter."""


def measure(study: Study) -> Measurements:
    """Return test errors in percent by batch size, length of training, kind of statistics and seed."""
    sizes = study.choose(tiny=(8, 16), small=(2, 8, 32, 256), full=(2, 8, 32, 256))
    epochs = study.choose(tiny=(1, 2), small=(1, 8), full=(1, 30))
    base = Experiment(
        model=study.choose(
            tiny=SmallConvNet((2,), norm="batch"),
            small=SmallConvNet((8, 16, 32), norm="batch"),
            full=VGG("A", 10, head="cifar", kernel_init="he", norm="batch"),
        ),
        data=study.images(
            "cifar10",
            train=study.choose(tiny=80, small=2560, full=50_000),
            test=study.choose(tiny=32, small=2000, full=10_000),
            batch_size=8,
            image_size=study.choose(tiny=8, small=16, full=None),
        ),
        optimizer=Optimizer(weight_decay=0.0),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )
    # The rate that suits a batch grows with its size.
    arms = {
        f"{size} {length}": override(
            base, {"data.batch_size": size, "epochs": n, "optimizer.learning_rate": 0.003 * (size / 8) ** 0.5}
        )
        for size in sizes
        for length, n in zip(LENGTHS, epochs, strict=True)
    }
    factors = study.choose(tiny=(1,), small=(0.3, 1, 3), full=(0.3, 1, 3))
    records = study.repeat(study.tune(arms, factors), keep="last")
    return {
        "batch_sizes": list(sizes),
        "errors": {arm: _errors(records[arm]) for arm in arms},
        "updates": {arm: [r.results.steps for r in records[arm] if r.results][:1] for arm in arms},
        "tuning": study.tunings,
    }


def _errors(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return the test errors of runs by kind of statistics; algorithm 2 and pooling also use all training images."""
    rows = []
    for record in records:
        if not record.results:
            rows.append([90.0] * len(KINDS))
            continue
        evaluations = evaluate_run(record.workdir, batch_stats=list(KINDS), stats_batches=10**6)
        rows.append([100 * evaluation.top1_error for evaluation in evaluations])
    return {kind: list(column) for kind, column in zip(KINDS, zip(*rows, strict=True), strict=True)}


def worse(measurements: Measurements) -> dict[str, dict[str, float]]:
    """Return, by cell ("2 short") and kind, how many points the entire training set is worse than that kind, negative
    where it is better; only significant differences beyond the margin, by the rule of the claim."""
    pairs = {
        f"{cell} {kind}": (errors["full_pass"], errors[kind])
        for cell, errors in measurements["errors"].items()
        for kind in KINDS
        if kind != "full_pass"
    }
    means = {name: difference(*pair).mean for name, pair in pairs.items()}
    corrected = holm_p_values(pairs)
    return {
        cell: {
            kind: means[f"{cell} {kind}"]
            for kind in KINDS
            if kind != "full_pass" and abs(means[f"{cell} {kind}"]) > MARGIN and corrected[f"{cell} {kind}"] < 0.05
        }
        for cell in measurements["errors"]
    }


def decide(measurements: Measurements) -> Verdict:
    """Say for which batch sizes no other kind of statistics is better than those of the entire training set."""
    sizes, found = measurements["batch_sizes"], worse(measurements)
    bad = [size for size in sizes if any(x > 0 for length in LENGTHS for x in found[f"{size} {length}"].values())]
    good = [size for size in sizes if size not in bad]
    verdict = "does not hold"
    if good:
        verdict = f"holds if the batch size is {_listed(good)}" if bad else "holds"
    every = [measurements["errors"][f"{size} {length}"] for size in sizes for length in LENGTHS]
    by_seed = [
        [statistics.fmean(errors[kind][i] for errors in every) for i in range(len(every[0]["ema"]))]
        for kind in ("ema", "full_pass")
    ]
    effect = difference(*by_seed)
    sentences = []
    for kind, name in KINDS.items():
        if kind == "full_pass":
            continue
        differences = {cell: found[cell][kind] for cell in found if kind in found[cell]}
        gains = {cell: -x for cell, x in differences.items() if x < 0}
        losses = {cell: x for cell, x in differences.items() if x > 0}
        words = [
            f"{what} by up to {max(cells.values()):.1f} points ({_where(cells)})"
            for what, cells in (("worse", gains), ("better", losses))
            if cells
        ]
        sentences.append(f"{name}: {' and '.join(words) or 'the same'}")
    conditions = f"Compared with the statistics of the entire training set, {'; '.join(sentences)}."
    return Verdict(verdict, effect.mean, (effect.low, effect.high), conditions)


def _listed(sizes: Sequence[int]) -> str:
    *first, last = map(str, sizes)
    return f"{', '.join(first)} or {last}" if first else last


def _where(cells: dict[str, float]) -> str:
    """Return the cells, the one with the largest difference first: `batch size 256 short, 32 short`."""
    return "batch size " + ", ".join(sorted(cells, key=cells.__getitem__, reverse=True))


def draw(measurements: Measurements, path: Path) -> Path:
    """Draw the test error over the batch size for every kind of statistics, after short and long training."""
    sizes = measurements["batch_sizes"]
    costs = []
    for kind in ("ema", "batch"):
        pairs = {cell: (errors[kind], errors["full_pass"]) for cell, errors in measurements["errors"].items()}
        points, cell = max((difference(*pair).mean, cell) for cell, pair in pairs.items())
        size, length = cell.split()
        costs.append(f"the {KINDS[kind]} costs up to {points:.1f} points (batches of {size}, {length} training)")
    title = f"Against statistics of all training images, {', '.join(costs)}"
    axes = [("batch size", f"test error after {length} training, %") for length in LENGTHS]
    area, panels = page(title, axes, label_width=140)
    colours = dict(zip(KINDS, (COLOURS[0], COLOURS[5], COLOURS[2], COLOURS[1], COLOURS[3]), strict=True))
    for panel, length in zip(panels, LENGTHS, strict=True):
        panel.set_xscale("log", base=2)
        ends = []
        # Every kind is moved a little to the side, so that equal values remain visible.
        for place, (kind, colour) in enumerate(colours.items()):
            values = [mean_interval(measurements["errors"][f"{size} {length}"][kind]) for size in sizes]
            shifted = [size * 1.06 ** (place - 2) for size in sizes]
            spread = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
            means = [v.mean for v in values]
            panel.errorbar(shifted, means, spread, color=colour, marker="o", markersize=4, linewidth=1.4, capsize=2)
            ends.append((means[-1], KINDS[kind], colour))
        panel.set_xticks(sizes, labels=list(map(str, sizes)))
        panel.minorticks_off()
        labels(panel, ends)
    note(area, "mean and 95 % interval over the seeds")
    return save(area, path)


CLAIM = Claim(
    name="batch_norm_inference",
    statement="At inference batch normalization should use the statistics of the entire training set.",
    source="common notes; Ioffe & Szegedy 2015, section 3.1, averages over training batches (algorithm 2)",
    rule=(
        "Networks trained with batches of 2 to 256 images, for a short and a long time, are tested with the statistics "
        "of the entire training set, of algorithm 2, of all batches pooled, with moving averages (momentum 0.9), and "
        "with the statistics of each test batch, of the training's batch size. The entire training set is worse than "
        "another kind if its mean test error is more than 0.5 points higher and the paired t-test, corrected by Holm "
        "over all batch sizes, lengths and kinds, gives p < 0.05. The claim holds if it is never worse; it holds for "
        "the batch sizes at which it is never worse; it does not hold if there are none. The effect is what it gains "
        "over the moving average, the mean over batch sizes and lengths, paired by seed."
    ),
    effect="test error with moving averages minus with the entire training set, points",
    data=("cifar10",),
    seeds=5,
    measure=measure,
    decide=decide,
    draw=draw,
)
