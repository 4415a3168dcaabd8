"""The named streams of random numbers: one integer per use, so that no two uses draw the same numbers.

Saved runs depend on the integers: changing one changes the results of all runs. Weights are initialized from the seed
itself, and examples in the documentation shuffle without a stream.
"""

from enum import IntEnum


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


class InitStream(IntEnum):
    """Streams for initialization, weights excepted: `fold_in(key of the seed, stream)`."""

    OBJECTIVE = 2**32 - 1
    """The parameters of an objective. No step reaches this number."""


class StepStream(IntEnum):
    """Streams in a training step, on the device: the key of step s is `fold_in(state.key, 2 * s + stream)`."""

    AUGMENT = 0
    """Random augmentation of images."""
    DROPOUT = 1
    """The units that dropout drops."""
