"""The named streams of random numbers: one integer per use, so that no two uses draw the same numbers.

Saved runs depend on the integers: changing one changes the results of all runs. Weights are initialized from the seed
itself, and examples in the documentation shuffle without a stream.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Streams on the host, for `jaxcnn.data.sources.shuffled`."""

    ORDER = 0
    """The order of the training images; a second integer is the epoch."""
    VALIDATION = 1
    """The images of the validation split, from `data.split_seed`."""
    COLOR_IMAGES = 2
    """The images from which `color_axes` estimates a covariance, from seed 0."""
    COLOR_PIXELS = 3
    """The pixels selected from each of these images, from seed 0."""
    TEST_ORDER = 4
    """The order of test images when batch normalization uses statistics of test batches."""
    STATISTICS = 5
    """The training images from which population statistics are estimated."""
    TARGET_ORDER = 6
    """The order of the unlabelled target images; a second integer is the pass over them."""
    LABELLED = 7
    """The training images that keep their labels, from `data.split_seed`."""
    TAIL = 8
    """The images of a long-tailed subgroup, from seed 0."""


class InitStream(IntEnum):
    """Streams for initialization, weights excepted: `fold_in(key of the seed, stream)`. No step reaches these
    numbers."""

    OBJECTIVE = 2**32 - 1
    """The parameters of an objective."""


class StepStream(IntEnum):
    """Streams in a training step, on the device: the key of step s is `fold_in(state.key, 2 * s + stream)`."""

    AUGMENT = 0
    """Random augmentation of images."""
    DROPOUT = 1
    """The units that dropout drops."""


class FurtherStepStream(IntEnum):
    """Streams in a training step that only some objectives use: the key of step s is
    `fold_in(fold_in(state.key, stream), s)`. No step reaches these numbers."""

    TARGET_AUGMENT = 2**32 - 2
    """Random augmentation of target images."""
    VIEWS = 2**32 - 3
    """Views of the images, as `Objective.views` makes them."""


def shuffled(n: int, seed: int, *stream: int) -> np.ndarray:
    """Return a permutation of 0..n-1, int32 [n], drawn with a seed for a `Stream`, such as `Stream.ORDER, epoch`.

    It sorts the raw output of PCG64, which NumPy guarantees to keep across versions (unlike its `permutation`), so that
    the order is the same wherever a run is resumed.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=stream)
    return np.argsort(np.random.PCG64(sequence).random_raw(n), kind="stable").astype(np.int32)
