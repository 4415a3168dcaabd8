"""The named streams of random numbers: which integer stands for which use, so that no two uses draw the same numbers.

The integers are part of every saved run: changing one changes the results of all runs. Weights are initialized from the
seed itself, and examples in the documentation shuffle without a stream.
"""

from enum import IntEnum


class Stream(IntEnum):
    """Draws on the host, as `jaxcnn.data.sources.shuffled` takes them."""

    ORDER = 0
    """The order of the training images; a second integer is the epoch."""
    VALIDATION = 1
    """The images of the validation part, from `data.split_seed`."""
    COLOR_IMAGES = 2
    """The images from which `color_axes` estimates a covariance, from seed 0."""
    COLOR_PIXELS = 3
    """The pixels of these images, from seed 0."""
    TEST_ORDER = 4
    """The order of test images where batch statistics of test batches are used."""
    STATISTICS = 5
    """The training images from which population statistics are estimated."""


class InitStream(IntEnum):
    """Draws before the first step besides the weights: `fold_in(key of the seed, stream)`."""

    OBJECTIVE = 2**32 - 1
    """The own parameters of an objective. No step reaches this number."""


class StepStream(IntEnum):
    """Draws within a training step, on the device: the key of step s is `fold_in(state.key, 2 * s + stream)`."""

    AUGMENT = 0
    """Random changes to images."""
    DROPOUT = 1
    """Units that are dropped."""
