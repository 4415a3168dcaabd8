"""Calibration of the tests on a run's own images: false alarms without a shift, and power for two known shifts."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn import data
from jaxcnn.plots import power_curves
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.runtime.progress import counted
from jaxcnn.shift.detecting import TESTS, Sample, make_samples
from jaxcnn.shift.detectors.detection import ALPHA
from jaxcnn.shift.features import load_network, read

Condition = Literal["none", "noise", "classes"]

POOL = 5000
"""Most images that samples are drawn from."""

SIZES = (20, 50, 100, 200, 500)

REPETITIONS = 200

NOISE = 0.05
"""Standard deviation of the noise as a share of the range of pixels: hard to see, so that power depends on n."""

SKEW = 0.4
"""The share by which images of the second half of the classes are replaced by images of the first half."""

CONDITIONS: Mapping[Condition, str] = {
    "none": "No shift: share of false alarms",
    "noise": f"Covariate shift, Gaussian noise of {100 * NOISE:g} % of the pixel range: share of alarms",
    "classes": f"Label shift, {100 * SKEW:g} % of the images of later classes replaced by earlier classes: share "
    "of alarms",
}

EXACT = ("MMD on features",)
"""Tests whose level is exact; the others are conservative, because they are corrected or discrete."""

_POWER = 0.8


@dataclass(frozen=True)
class Calibration:
    """How often each test raised an alarm.

    Attributes:
        run: name of the run's folder.
        checkpoint: step of the weights.
        images: number of test images that the samples were drawn from.
        repetitions: pairs of samples for each condition and size.
        sizes: numbers of images of each sample.
        seed: seed of all random choices.
        alarms: number of alarms by condition, by size as text, and by name of the test.
        seconds: time of the tests.
    """

    run: str
    checkpoint: int
    images: int
    repetitions: int
    sizes: tuple[int, ...]
    seed: int
    alarms: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def limits(self) -> tuple[int, int]:
        """The 99 % limits of the number of alarms of a test of level `ALPHA` without a shift, by the binomial
        distribution."""
        from scipy import stats

        low, high = stats.binom.interval(0.99, self.repetitions, ALPHA)
        return int(low), int(high)

    def rates(self, condition: Condition, test: str) -> list[float]:
        """Return the share of alarms for each size."""
        return [self.alarms[condition][str(size)][test] / self.repetitions for size in self.sizes]

    def keeps_level(self, test: str) -> bool:
        """Whether the false alarms of a test are within the limits for every size; for tests that are conservative by
        construction, not above the upper one."""
        low, high = self.limits
        counts = [self.alarms["none"][str(size)][test] for size in self.sizes]
        return max(counts) <= high and (test not in EXACT or min(counts) >= low)

    def needed(self, condition: Condition, test: str) -> int | None:
        """Return the smallest size at which a test finds a shift in at least 80 % of the repetitions; None if none."""
        pairs = zip(self.sizes, self.rates(condition, test), strict=True)
        return next((size for size, rate in pairs if rate >= _POWER), None)


def calibrate(
    run: str | Path,
    out: str | Path | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    repetitions: int = REPETITIONS,
    checkpoint: Choice = "last",
    verbose: bool = False,
) -> Calibration:
    """Measure false alarms and power of every test on the features of a run; write calibration.json and
    calibration.png.

    Both samples are drawn without repetition from the run's test images, which the network was not trained on. Without
    a shift they are random parts of one pool; the power is measured for a little noise (covariate shift) and for other
    class shares (label shift). Finished parts are kept in calibration.json, so that a stopped calibration continues.

    Args:
        run: folder of a run with a checkpoint.
        out: folder of the two files, created if need be; None: as in `folder_of`.
        sizes: numbers of images of each sample; those that need more test images than there are, three for each, are
            left out.
        repetitions: pairs of samples for each condition and size.
        checkpoint: `last`, `best` or a step.
        verbose: show progress on stderr.

    Raises:
        InputError: the run cannot be read, has too few test images, or `out` cannot be written or has another
            calibration.
    """
    if repetitions < 1:
        raise InputError(f"repetitions is {repetitions}; it must be 1 or more.")
    run, experiment = Path(run), load_saved(run)
    network = load_network(run, checkpoint=checkpoint)
    test = data.load(experiment.data, experiment.seed, need_train=False).test
    rows = np.random.default_rng(experiment.seed).permutation(len(test))[:POOL]
    images, labels = np.asarray(test.images[np.sort(rows)]), test.labels[np.sort(rows)]
    used = tuple(size for size in sizes if 3 * size <= len(labels))
    if not used:
        raise InputError(
            f"{run} has {len(labels)} test images; calibration needs at least {3 * min(sizes)}, three for each image "
            "of a sample."
        )
    first = _first_half(labels)
    if first.all():
        raise InputError(f"{run} has test images of one class only; calibration needs at least two classes.")
    path = folder_of(run, out) / "calibration.json"
    found = _resumed(
        path, Calibration(run.resolve().name, network.step, len(labels), repetitions, used, experiment.seed)
    )
    missing = [(c, n) for c in CONDITIONS for n in used if str(n) not in found.alarms.get(c, {})]
    if missing:
        # A folder that cannot be written is reported before anything is computed.
        _write(path, asdict(found))
        size = experiment.data.eval_batch_size
        clean = read(network, images, labels, batch_size=size)
        noisy = read(network, add_noise(images, found.seed), labels, batch_size=size)
        _measure(found, path, missing, make_samples(clean, noisy), first, verbose)
        found = _resumed(path, found)
    draw(found, path.with_suffix(".png"))
    return found


def folder_of(run: str | Path, out: str | Path | None) -> Path:
    """Return the folder of a calibration: `out`, or shift in the folder of the run."""
    return Path(run) / "shift" if out is None else Path(out)


def _measure(
    found: Calibration,
    path: Path,
    missing: Sequence[tuple[Condition, int]],
    samples: tuple[Sample, Sample],
    first: np.ndarray,
    verbose: bool,
) -> None:
    """Count the alarms of the missing conditions and sizes, and write the file after each."""
    alarms, seconds, clean = found.alarms, found.seconds, samples[0]
    total = len(missing) * found.repetitions
    with counted("calibration", total, "pairs of samples", show=verbose) as advance:
        for condition, size in missing:
            begun, counts = time.perf_counter(), dict.fromkeys(TESTS, 0)
            of = samples[1] if condition == "noise" else clean
            for repetition in range(found.repetitions):
                key = [found.seed, [*CONDITIONS].index(condition), size, repetition]
                source, target = draw_rows(first, size, condition == "classes", np.random.default_rng(key))
                for name, test in TESTS.items():
                    counts[name] += test(clean.take(source), of.take(target), repetition).shifted
                advance()
            alarms.setdefault(condition, {})[str(size)] = counts
            seconds += time.perf_counter() - begun
            _write(path, asdict(found) | {"seconds": round(seconds, 1)})


def add_noise(images: np.ndarray, seed: int) -> np.ndarray:
    """Return images with the Gaussian noise of the calibration, clipped to the range of pixels, of the same dtype."""
    whole = np.issubdtype(images.dtype, np.integer)
    low, high = (0, 255) if whole else (images.min(), images.max())
    noise = np.random.default_rng(seed).normal(0, NOISE * (high - low), images.shape)
    noisy = np.clip(images + noise, low, high)
    return (np.rint(noisy) if whole else noisy).astype(images.dtype)


def _first_half(labels: np.ndarray) -> np.ndarray:
    """Return which images are of the first classes, those up to the median label."""
    return labels <= np.median(labels)


def draw_rows(first: np.ndarray, size: int, skewed: bool, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of a source and a target sample, without common rows.

    Args:
        first: which images are of the first half of the classes, [n], n at least 3 times `size`.
        size: rows of each.
        skewed: whether images of the second half are replaced in the target, as far as there are others.
        random: source of random numbers.
    """
    order = random.permutation(len(first))
    source, rest = order[:size], order[size:]
    if not skewed:
        return source, rest[:size]
    target, spare = rest[:size], rest[size:]
    second = target[~first[target]]
    replaced = second[: round(SKEW * len(second))]
    others = spare[first[spare]][: len(replaced)]
    kept = target[~np.isin(target, replaced[: len(others)])]
    return source, np.concatenate([kept, others])


def _resumed(path: Path, new: Calibration) -> Calibration:
    """Return the calibration in a file, or the new one if there is no file.

    Raises:
        InputError: the file has a calibration with other settings.
    """
    if not path.exists():
        return new
    saved = read_object(path, "alarms", "seconds")
    settings = json.loads(json.dumps(asdict(new)))
    for name in settings.keys() - {"alarms", "seconds"}:
        if saved.get(name) != settings[name]:
            raise InputError(
                f"{path} has a calibration with {name} {saved.get(name)}, not {settings[name]}. Give another folder, "
                "or delete the file."
            )
    return Calibration(**{**asdict(new), "alarms": saved["alarms"], "seconds": saved["seconds"]})


def _write(path: Path, record: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    except OSError as error:
        raise InputError(f"out {path.parent} cannot be written: {error.strerror}. Give another folder.") from None


def draw(found: Calibration, path: Path) -> Path:
    """Draw the alarms over the number of images, with the finding as title."""
    low, high = found.limits
    images = f"{found.repetitions} pairs of samples from {found.images:,} test images of {found.run}"
    names = "KS: Kolmogorov-Smirnov, MMD: maximum mean discrepancy, C2ST: classifier two-sample test, χ²: chi-square"
    return power_curves(
        {text: {name: found.rates(condition, name) for name in TESTS} for condition, text in CONDITIONS.items()},
        found.sizes,
        path,
        title=finding(found),
        subtitle=f"{images}; dashed: level {100 * ALPHA:g} %; band: 99 % limits of a test with this level. {names}",
        level=ALPHA,
        limits=(low / found.repetitions, high / found.repetitions),
    )


def finding(found: Calibration) -> str:
    """Return the result in words: whether the tests keep their level, and which need the fewest images."""
    wrong = [name for name in TESTS if not found.keeps_level(name)]
    level = f"{100 * ALPHA:g} %"
    text = f"{_listed(wrong)} missed the level of {level}" if wrong else f"Every test keeps the level of {level}"
    for condition, what in (("noise", "noise"), ("classes", "other class shares")):
        needs = {name: n for name in TESTS if (n := found.needed(condition, name)) is not None}
        least = min(needs.values(), default=None)
        best = [name for name, n in needs.items() if n == least]
        who = _listed(best) if len(best) < 3 else f"{len(best)} tests"
        text += f"; {who} found {what} with {least} images" if needs else f"; none found {what} reliably"
    return text


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
