"""Keras' weight files: .h5, .weights.h5, .keras."""

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def read_keras(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a Keras file by their path in it, without those of the optimizer; in no order of meaning.

    Read are the HDF5 files of keras-applications (`block1_conv1/block1_conv1_W_1:0`), whole models of Keras 1 and 2
    (`model_weights/block1_conv1/block1_conv1/kernel:0`), and Keras 3's (`layers/conv2d_1/vars/0`), alone or in the
    archive that a .keras file is.

    Raises:
        Exception: of many kinds, where the file is damaged.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            arrays[name] = item[()]

    with contextlib.ExitStack() as stack:
        file: Any = path
        if path.suffix == ".keras":
            file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open("model.weights.h5"))
        stack.enter_context(h5py.File(file, "r")).visititems(take)
    return arrays
