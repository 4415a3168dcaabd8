"""The handwritten digits equal scikit-learn's, and so does their split."""

import subprocess
import sys

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxcnn.config import Data
from jaxcnn.data.sources import load


def test_digits_equal_scikit_learns_resized_to_32_pixels():
    data = load(Data(), 0)
    assert data.train.images.shape == (1437, 32, 32, 1) and data.test.images.shape == (360, 32, 32, 1)
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int32
    assert data.class_names == tuple("0123456789") and data.validation is None
    scans = load_digits()
    smooth = jax.image.resize(scans.images * 255 / 16, (1797, 32, 32), "cubic")
    expected = np.clip(smooth, 0, 255).reshape(1797, -1)
    images = np.concatenate([data.train.images, data.test.images]).reshape(1797, -1).astype(np.float32)
    origin = ((expected**2).sum(1) - 2 * images @ expected.T).argmin(1)
    # Every scan occurs once, with its label, up to rounding.
    assert sorted(origin) == list(range(1797))
    np.testing.assert_allclose(images, expected[origin], atol=0.6)
    np.testing.assert_array_equal(scans.target[origin], np.concatenate([data.train.labels, data.test.labels]))


def test_the_test_split_equals_scikit_learns_for_every_seed():
    scans = load_digits()
    rows = train_test_split(np.arange(1797), test_size=360, stratify=scans.target, random_state=0)
    for seed in (0, 1):
        data = load(Data(), seed)
        for part, expected in zip((data.train, data.test), rows, strict=True):
            np.testing.assert_array_equal(part.labels, scans.target[np.sort(expected)])
            # Bicubic resizing keeps the mean of a scan, up to smoothing.
            scan = scans.images[np.sort(expected)].mean((1, 2))
            assert np.corrcoef(part.images.mean((1, 2, 3)), scan)[0, 1] > 0.99


def test_digits_are_read_without_importing_scikit_learn():
    code = "from jaxcnn.data.digits import digits; digits(); import sys; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
