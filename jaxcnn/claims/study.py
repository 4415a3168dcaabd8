"""What the experiments of all claims share: data, tuned learning rates, repetitions over seeds."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from jaxcnn import sweep
from jaxcnn.config import Data, Experiment, Fake, override, run_id
from jaxcnn.runs.hooks import Hook
from jaxcnn.runs.launch import train
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep import Record
from jaxcnn.training.non_finite import NonFinite

Scale = Literal["tiny", "small", "full"]
Choice = TypeVar("Choice")

# Seeds of runs that only choose a learning rate; they differ from the seeds of the runs that are reported.
TUNING_SEEDS = (1000, 1001)

# Largest number of rates by which the grid grows beyond its ends.
_GROWTH = 3

# Images [height, width, channels], and mean and standard deviation of the training pixels in [0, 1].
_IMAGES = {
    "mnist": ((28, 28, 1), (0.1307,), (0.3081,)),
    "cifar10": ((32, 32, 3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}


@dataclass(frozen=True)
class Tuning:
    """The choice of a learning rate.

    Attributes:
        rates: learning rates tried, ascending.
        errors: mean validation error at each, or mean of another criterion; None where a run diverged.
        best: the rate with the least error.
    """

    rates: list[float]
    errors: list[float | None]
    best: float


def validation_error(record: Record) -> float:
    """Return the validation error of a finished run as a fraction."""
    return record.results.validation["error"]


class Study:
    """One execution of a claim, in a folder; what is finished there is not trained again.

    Attributes:
        folder: folder of the claim.
        seeds: the seeds that results are reported for.
        scale: size of the experiments.
        tunings: the choices that `tune` made, by arm, in JSON types.
    """

    def __init__(self, folder: Path, *, seeds: int, scale: Scale = "small") -> None:
        self.folder, self.seeds, self.scale = folder, range(seeds), scale
        self.tunings: dict[str, dict[str, Any]] = {}

    def choose(self, *, tiny: Choice, small: Choice, full: Choice) -> Choice:
        """Return the value for this study's scale."""
        return {"tiny": tiny, "small": small, "full": full}[self.scale]

    def images(self, name: str, *, train: int, test: int, batch_size: int, **settings: Any) -> Data:
        """Return a data set with a fifth of the training images set aside for validation, the same ones for all seeds.

        At scale tiny it is as many random images of the same shape.

        Args:
            name: mnist or cifar10.
            train: number of training images, the first ones, before validation is set aside.
            test: number of test images, the first ones.
            batch_size: images per step.
            **settings: further fields of `Data`.
        """
        shape, mean, std = _IMAGES[name]
        common = {"batch_size": batch_size, "validation": 0.2, "split_seed": 0, "mean": mean, "std": std, **settings}
        if self.scale == "tiny":
            return Data(source="fake", fake=Fake(shape=shape, train=train, test=test), **common)
        return Data(source="tfds", name=name, train_split=f"train[:{train}]", test_split=f"test[:{test}]", **common)

    def cifar10(self, *, train: int, test: int, full: int = 50_000) -> Data:
        """Return CIFAR-10 as most claims use it: at scale small with images of half the size, in batches of 64.

        Args:
            train, test: numbers of images at scale small.
            full: number of training images at scale full; its test images are all 10,000.
        """
        return self.images(
            "cifar10",
            train=self.choose(tiny=80, small=train, full=full),
            test=self.choose(tiny=32, small=test, full=10_000),
            batch_size=self.choose(tiny=16, small=64, full=128),
            image_size=self.choose(tiny=8, small=16, full=None),
        )

    def repeat(
        self,
        arms: Mapping[str, Experiment],
        *,
        part: str = "runs",
        keep: Literal["last", "results"] = "results",
        hooks: Callable[[Experiment], Sequence[Hook]] | None = None,
    ) -> dict[str, list[Record]]:
        """Train every arm with every seed.

        Args:
            arms: experiments by name; their own seed is not used.
            part: subfolder of the runs.
            keep: results: no checkpoints; last: the last checkpoint of each run, to evaluate it further.
            hooks: function from an experiment to hooks of its run. A finished run calls none, so a hook writes what it
                finds to a file of the run's folder.

        Returns:
            The records of each arm, in the order of the seeds. A diverged run has no results.
        """
        return self._train(arms, self.seeds, part, keep, hooks)

    def tune(
        self,
        arms: Mapping[str, Experiment],
        factors: Sequence[float],
        *,
        criterion: Callable[[Record], float] = validation_error,
    ) -> dict[str, Experiment]:
        """Choose the learning rate of every arm by the mean validation error over `TUNING_SEEDS`, never on test images.

        If the best rate is at an end of the grid, the grid grows there by one rate at a time, by three at most. A rate
        at which a run diverges is never better than one at which none does.

        Args:
            arms: experiments by name, with a validation split that does not depend on the seed.
            factors: multiples of the arm's own learning rate to try, ascending; the grid grows by the ratio of the two
                at its end. A single one leaves no choice.
            criterion: what is minimized instead of the validation error, as a function of a finished run.

        Returns:
            The arms with their best rates. `tunings` says how they were chosen.
        """
        wanted = {arm: [_round(e.optimizer.learning_rate * factor) for factor in factors] for arm, e in arms.items()}
        errors: dict[str, dict[float, float]] = {arm: {} for arm in arms}
        for _ in range(1 + self.choose(tiny=0, small=_GROWTH, full=_GROWTH)):
            points = {(arm, rate): _at(arms[arm], rate) for arm, new in wanted.items() for rate in new}
            for (arm, rate), records in self._train(points, TUNING_SEEDS, "tuning", "results").items():
                found = [criterion(record) if record.results else math.inf for record in records]
                errors[arm][rate] = statistics.mean(found)
            wanted = {arm: new for arm in wanted if (new := _beyond(errors[arm]))}
            if not wanted:
                break
        for arm, by_rate in errors.items():
            ordered = [by_rate[rate] if math.isfinite(by_rate[rate]) else None for rate in sorted(by_rate)]
            self.tunings[arm] = asdict(Tuning(sorted(by_rate), ordered, _best(by_rate)))
        return {arm: _at(experiment, self.tunings[arm]["best"]) for arm, experiment in arms.items()}

    def best(self, arms: Sequence[str]) -> str:
        """Return which of several tuned arms has the least validation error at its best rate; of equal ones the
        first."""
        return min(arms, key=lambda arm: min(x for x in (*self.tunings[arm]["errors"], math.inf) if x is not None))

    def _train(
        self,
        arms: Mapping[Any, Experiment],
        seeds: Sequence[int],
        part: str,
        keep: Literal["last", "results"],
        hooks: Callable[[Experiment], Sequence[Hook]] | None = None,
    ) -> dict[Any, list[Record]]:
        """Train every arm with every seed, equal experiments once; without hooks, all of them are one sweep."""
        # A claim has more structures than a process keeps programs, and comes back to each of them.
        options = {"compilation_cache": self.scale != "tiny"}
        points = {arm: [replace(e, seed=seed, **options) for seed in seeds] for arm, e in arms.items()}
        every = {run_id(point): point for row in points.values() for point in row}
        folder = self.folder / part
        if hooks is None:
            found = sweep.run([*every.values()], folder, keep=keep, verbose=self.scale != "tiny")
        else:
            found = [_observed(point, folder / identity, keep, hooks(point)) for identity, point in every.items()]
        if failed := [record for record in found if record.status not in ("finished", "diverged")]:
            raise InputError(
                f"{len(failed)} of {len(found)} runs in {folder} have failed, the first with: {failed[0].reason}; "
                "the same command tries them again."
            )
        records = dict(zip(every, found, strict=True))
        return {arm: [records[run_id(point)] for point in row] for arm, row in points.items()}


def curve(record: Record, split: Literal["train", "validation"]) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl for a split: `step`, `epoch`, `loss`, `accuracy`, ..."""
    return [row for row in read_rows(Path(record.workdir) / "metrics.jsonl") if row["split"] == split]


def error(record: Record, split: Literal["test", "validation"] = "test") -> float:
    """Return the error of a run in percent; a diverged run counts as guessing one of ten classes, 90 %."""
    return 100 * getattr(record.results, split)["error"] if record.results else 90.0


def _observed(experiment: Experiment, workdir: Path, keep: Literal["last", "results"], hooks: Sequence[Hook]) -> Record:
    try:
        results = train(experiment, workdir, keep=keep, hooks=hooks, verbose=False)
        return Record(experiment, str(workdir), "finished", results)
    except NonFinite as error:
        return Record(experiment, str(workdir), "diverged", reason=str(error))


def _round(rate: float) -> float:
    """Return a rate with three digits, because it is part of the name of a run."""
    return float(f"{rate:.3g}")


def _at(experiment: Experiment, rate: float) -> Experiment:
    return override(experiment, {"optimizer.learning_rate": rate})


def _best(errors: Mapping[float, float]) -> float:
    """Return the rate with the least error; of several the lowest."""
    return min(sorted(errors), key=errors.__getitem__)


def _beyond(errors: Mapping[float, float]) -> tuple[float, ...]:
    """Return the next rate beyond the end of the grid that has the least error, if any."""
    best, rates = _best(errors), sorted(errors)
    inner = {rates[0]: rates[1], rates[-1]: rates[-2]}.get(best) if len(rates) > 1 else None
    return () if inner is None else (_round(best * best / inner),)
