"""The two populations that a report compares: images that a run was not trained on, and target images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.data.targets import Target, read_target
from jaxcnn.runtime.errors import InputError

MOST = 5000
"""Most images of each population. The tests find a shift that matters with far fewer, and the work of MMD grows with
the square."""


@dataclass(frozen=True, eq=False)
class Populations:
    """Images as stored, with labels.

    Attributes:
        source: images of the run's test split, with labels.
        target: the other images; its labels are None if they are unknown.
        class_names: of the run's classes.
    """

    source: Target
    target: Target
    class_names: tuple[str, ...]


def read_populations(
    experiment: Experiment,
    target: str | Target,
    *,
    data_dir: str | None = None,
    arrays: Mapping[str, Any] | None = None,
    most: int = MOST,
    seed: int = 0,
) -> Populations:
    """Return the source and the target of a run, without a common image.

    The tests for a shift assume independent samples. If the target is made from the test images themselves, as a
    corruption is, or as published corruptions of the same data set are, the source is one random half of the rows and
    the target the other half.

    Args:
        experiment: the run's experiment, whose test split is the source.
        target: a name for `read_target`, or images.
        data_dir: folder of prepared data sets; None: the run's.
        arrays: images and labels, if the run had them in memory.
        most: largest number of images of each population; more are reduced at random.
        seed: seed of the random rows.

    Raises:
        MissingData: the data set or file is not there.
        InputError: the target is unknown, does not fit, or is identical to the source.
    """
    folder = data_dir or experiment.data.data_dir
    config = replace(experiment.data, data_dir=folder)
    dataset = data.load(config, experiment.seed, arrays, need_train=False)
    test, shape = dataset.test, tuple(dataset.test.images.shape[1:])
    if isinstance(target, str):
        target = read_target(target, data_dir=folder, own=test, shape=shape, config=config)
    paired = _same_labels(test.labels, target.labels)
    if paired and _identical(test.images, target.images):
        raise InputError(
            "target is identical to the source, the run's test images. Give other images; equal samples tell nothing "
            "about a shift."
        )
    random = np.random.default_rng(seed)
    orders = (
        np.array_split(random.permutation(len(test)), 2)
        if paired
        else [random.permutation(len(images)) for images in (test.images, target.images)]
    )
    rows, target_rows = (np.sort(order[:most]) for order in orders)
    about = f"test images of the run, {len(rows):,} of {len(test):,}"
    other = f"{target.about}, {len(target_rows):,} of them here"
    labels = None if target.labels is None else np.asarray(target.labels)[target_rows]
    return Populations(
        Target(np.asarray(test.images[rows]), np.asarray(test.labels)[rows], about),
        Target(np.asarray(target.images[target_rows]), labels, other),
        dataset.class_names,
    )


def _same_labels(labels: np.ndarray, others: np.ndarray | None) -> bool:
    """Return whether the labels are equal, row for row, as those of two forms of the same images are."""
    return others is not None and len(labels) > 1 and np.array_equal(labels, others)


def _identical(images: Any, others: Any, count: int = 100) -> bool:
    rows = np.arange(min(count, len(images)))
    return np.array_equal(np.asarray(images[rows]), np.asarray(others[rows]))
