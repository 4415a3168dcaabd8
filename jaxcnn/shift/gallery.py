"""The picture of every corruption at every severity."""

from pathlib import Path

import jax
import numpy as np

from jaxcnn import plots
from jaxcnn.corruptions import CORRUPTIONS, HOST, corrupt

SEVERITIES = (1, 2, 3, 4, 5)
"""The severities, from the weakest."""


def draw_gallery(image: np.ndarray, path: str | Path, *, key: jax.Array) -> Path:
    """Draw one image with every corruption at every severity.

    Args:
        image: uint8, or float in 0..1, [height, width, channels] with 1 or 3 channels.
        path: PNG file to write.
        key: random key; a corruption has the same random numbers at all severities.

    Returns:
        `path`.

    Raises:
        InputError: as `corrupt` does for the image.
        OSError: the file cannot be written.
    """
    image = image / np.float32(255) if image.dtype == np.uint8 else image
    copies = np.stack([image] * len(SEVERITIES))
    severities, same = np.array(SEVERITIES), np.zeros(len(SEVERITIES), int)
    rows = {"original": copies[:1]}
    for name in CORRUPTIONS:
        label = f"{name} (on the host)" if name in HOST else name
        rows[label] = np.asarray(corrupt(name, copies, severities, key=key, index=same))
    constants = "MNIST-C" if image.shape[-1] == 1 else "CIFAR-10-C"
    return plots.gallery(
        rows,
        path,
        title=f"{len(CORRUPTIONS)} corruptions of one image",
        subtitle=f"severity 1 to 5 from left to right, with the constants of {constants}",
    )
