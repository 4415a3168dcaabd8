"""Checks of the two samples that a test compares."""

from typing import Any

import numpy as np

from jaxcnn.runtime.errors import InputError

LEAST = 10
"""Images of each sample that a test needs; with fewer, even a complete change is hardly significant."""


def check_samples(source: Any, target: Any, *, least: int = LEAST, reason: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Return two samples of features as float arrays [n, d] and [m, d].

    Args:
        source, target: the features, one row for each image.
        least: smallest n and m that the test can use.
        reason: why it needs so many, such as ` (5 for each of 84 features)`.

    Raises:
        InputError: a sample is no matrix, has fewer rows than `least` or values that are not finite; the samples differ
            in their number of features, or are equal.
    """
    samples = {"source": np.asarray(source), "target": np.asarray(target)}
    for name, sample in samples.items():
        if sample.ndim != 2:
            raise InputError(f"{name} has shape {sample.shape}; it must be a matrix, one row of features an image.")
        if len(sample) < least:
            raise InputError(
                f"{name} has {len(sample)} images; this test needs at least {least}{reason}. Give more images."
            )
        if broken := int((~np.isfinite(sample)).any(axis=1).sum()):
            raise InputError(
                f"{name} has {broken} images with features that are NaN or infinite. Remove them, or repair their "
                "pixels."
            )
    one, two = samples.values()
    if one.shape[1] != two.shape[1]:
        raise InputError(
            f"target has {two.shape[1]} features and source has {one.shape[1]}. Give images of the same shape, read by "
            "the same network."
        )
    if np.array_equal(one, two):
        raise InputError("target is identical to source. Give other images; equal samples tell nothing about a shift.")
    return one, two


def check_classes(source: Any, target: Any, *, least: int = LEAST) -> tuple[np.ndarray, np.ndarray]:
    """Return two lists of classes as integer arrays [n] and [m]; they may be equal, because the images may differ.

    Raises:
        InputError: one of them is no list of integers from 0, or is shorter than `least`.
    """
    lists = {"source": np.asarray(source), "target": np.asarray(target)}
    for name, classes in lists.items():
        if classes.ndim != 1 or not np.issubdtype(classes.dtype, np.integer) or (len(classes) and classes.min() < 0):
            raise InputError(
                f"{name} has classes of shape {classes.shape} and type {classes.dtype}; they must be a list of "
                "integers from 0."
            )
        if len(classes) < least:
            raise InputError(f"{name} has {len(classes)} images; this test needs at least {least}. Give more images.")
    return lists["source"], lists["target"]
