"""The chi-square test of how often each class occurs, or is predicted."""

from typing import Any

import numpy as np

from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.samples import check_classes

EXPECTED = 5
"""Expected count of a cell from which on the distribution of the statistic is close to chi-square (Cochran 1954)."""


def chi_square(source: Any, target: Any) -> Detection:
    """Test whether the classes have the same shares in two samples.

    With predicted classes it is black-box shift detection with hard predictions (BBSDh); with labels it is a test of
    label shift. Classes that are too rare for the test are merged; the merging reads only pooled counts, so that it
    favours neither answer.

    Args:
        source: classes, integers [n].
        target: classes, integers [m].

    Returns:
        `statistic`: chi-square of the table of counts; `effect`: Cramér's V; `part`: the class whose share differs
        most. If all images have one class there is nothing to compare: statistic 0 and p 1.

    Raises:
        InputError: as in `check_classes`.

    Source: Lipton et al. 2018 (arXiv:1802.03916), section 5; Rabanser et al. 2019 (arXiv:1810.11953), section 3.1.
    """
    from scipy import stats

    source, target = check_classes(source, target)
    n, m = len(source), len(target)
    classes = 1 + max(source.max(), target.max())
    counts = np.stack([np.bincount(x, minlength=classes) for x in (source, target)])
    part = int(np.abs(counts[0] / n - counts[1] / m).argmax())
    table = merge_sparse(counts)
    if table.shape[1] < 2:
        return Detection("chi_square", 0.0, 1.0, 0.0, n, m, part=part)
    found = stats.chi2_contingency(table, correction=False)
    statistic = float(found.statistic)
    return Detection("chi_square", statistic, float(found.pvalue), (statistic / (n + m)) ** 0.5, n, m, part=part)


def merge_sparse(counts: np.ndarray) -> np.ndarray:
    """Return counts [2, classes] with the rarest columns merged until each cell is expected to have `EXPECTED` or more.

    Classes that do not occur are left out. One column remains if there are too few images for two.
    """
    total = counts.sum()
    columns = sorted((column for column in counts.T if column.sum()), key=lambda column: column.sum())
    while len(columns) > 1 and columns[0].sum() * counts.sum(axis=1).min() < EXPECTED * total:
        columns = sorted([columns[0] + columns[1], *columns[2:]], key=lambda column: column.sum())
    return np.stack(columns, axis=1)
