"""Errors of a network under corruptions of several severities: mean corruption error, table and heat map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.describe.tables import Grid
from jaxcnn.plots import heat_map
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class CorruptionErrors:
    """Errors of one network.

    Attributes:
        network: its name.
        clean: error on images without corruption, in 0..1.
        errors: by corruption, the error for each severity.
        severities: the severities, in order.
    """

    network: str
    clean: float
    errors: Mapping[str, Sequence[float]]
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)

    def __post_init__(self) -> None:
        if not self.errors:
            raise InputError(f"errors of {self.network} has no corruption; give at least one.")
        for name, values in self.errors.items():
            if len(values) != len(self.severities):
                raise InputError(
                    f"errors of {self.network} has {len(values)} values for {name}; there must be one for each of the "
                    f"severities {', '.join(map(str, self.severities))}."
                )
        for name, value in [("clean", self.clean), *((k, v) for k, values in self.errors.items() for v in values)]:
            if not 0 <= value <= 1:
                raise InputError(f"error of {self.network} for {name} is {value}; it must be in 0 to 1.")


def mean_corruption_error(
    network: CorruptionErrors, baseline: CorruptionErrors | None = None, *, relative: bool = False
) -> float:
    """Return the mean corruption error (mCE): the mean over corruptions of the error summed over severities.

    Args:
        network: errors of the network.
        baseline: errors of the network whose sums divide those of `network`, corruption by corruption, so that hard and
            easy corruptions count alike; name it with the result. None: no division, as usual for MNIST and
            CIFAR-10; the result is the mean error over corruptions and severities.
        relative: first subtract the clean error of each network: what corruption adds.

    Returns:
        The mean, a fraction; 1 for the baseline itself.

    Raises:
        InputError: the networks were not tested on the same corruptions and severities, or the error of the baseline
            does not grow by a corruption.

    Source: Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1.
    """
    own = _sums(network, relative)
    if baseline is None:
        return float(np.mean([*own.values()]) / len(network.severities))
    if own.keys() != baseline.errors.keys() or network.severities != baseline.severities:
        raise InputError(
            f"{network.network} and the baseline {baseline.network} have different corruptions or severities. Test "
            "both on the same."
        )
    sums = _sums(baseline, relative)
    for name, value in sums.items():
        if value <= 0:
            raise InputError(
                f"{'relative ' * relative}error of the baseline {baseline.network} for {name} is {value:g}, by which "
                "nothing can be divided. Leave the corruption out, or give another baseline."
            )
    return float(np.mean([own[name] / sums[name] for name in own]))


def _sums(network: CorruptionErrors, relative: bool) -> dict[str, float]:
    """Return the error of each corruption, summed over the severities."""
    clean = network.clean if relative else 0.0
    return {name: float(np.sum(values)) - clean * len(values) for name, values in network.errors.items()}


def corruption_table(network: CorruptionErrors) -> Grid:
    """Return the errors in percent as a table: a row for each corruption, a column for each severity, and the mean."""
    headings = ("corruption", *(f"severity {severity}" for severity in network.severities), "mean")
    errors = np.array([*network.errors.values()])
    every = np.column_stack([errors, errors.mean(axis=1)])
    *rows, footer = (tuple(f"{100 * value:.1f}" for value in row) for row in [*every, every.mean(axis=0)])
    title = f"Error of {network.network} in percent; without corruption {100 * network.clean:.1f}"
    return Grid(
        title,
        headings,
        tuple((name, *row) for name, row in zip(network.errors, rows, strict=True)),
        footer=("mean", *footer),
    )


def draw_corruption_errors(network: CorruptionErrors, path: str | Path) -> Path:
    """Draw the errors in percent as a heat map, with the finding as title.

    Returns:
        `path`, a PNG file.

    Raises:
        OSError: the file cannot be written.
    """
    means = {name: float(np.mean(values)) for name, values in network.errors.items()}
    worst = max(means, key=means.__getitem__)
    mean = mean_corruption_error(network)
    title = (
        f"{network.network}: {100 * network.clean:.1f} % error without corruption, {100 * mean:.1f} % on average with "
        f"it; {worst} is the worst, {100 * means[worst]:.1f} %"
    )
    return heat_map(
        [[100 * value for value in values] for values in network.errors.values()],
        [[""] * len(network.severities)] * len(network.errors),
        path,
        rows=[*network.errors],
        columns=[str(severity) for severity in network.severities],
        row_name="corruption",
        column_name="severity",
        title=title,
        form=".1f",
    )
