"""Scikit-learn's handwritten digits, read from its files, because importing scikit-learn takes a second or more."""

import base64
import functools
import gzip
import importlib.util
from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Split

# One bit per scan, 1 for the 360 scans of the test split, as drawn by scikit-learn's train_test_split(test_size=360,
# stratify=labels, random_state=0).
_TEST = (
    "AAAEiDUkEEAABkEAk0IFABoACAEAJAAoBiwSABAAlAoAkBkSBCD4oAKBEKAACAqIIEQVJElCQKAKAAAAQATYAACBgCAASAXEABBA"
    "CKAQAAVASAAwEAACDsQJAAIkhACDqAE8IKaYCgAAAAsIQAgEoBhIAgJAQcEAgARARoQ3aoECFgBEgABAQqCkGApQAIQLhWHGCBCA"
    "CABMgMAgBAaOAAEIggCBADgIA8AIGQAAEA4BAIQQoCEAMygpBMBEwIBoDgECgwCCAIgipkAsJAQhCKhggJCBoAwCggJCEgE4pBUA"
)


@functools.cache
def digits(side: int = 32) -> tuple[Split, Split, tuple[str, ...]]:
    """Return training split, test split and class names of 1797 scans, 8x8 counts in 0..16 (UCI Optical Recognition of
    Handwritten Digits, test set), as uint8 images of `side` pixels. They are read once; the arrays cannot be written.
    """
    from PIL import Image

    package = Path(importlib.util.find_spec("sklearn").origin).parent
    with gzip.open(package / "datasets" / "data" / "digits.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    planes = (table[:, :-1] * (255 / 16)).astype(np.float32).reshape(-1, 8, 8)
    smooth = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC)) for p in planes]
    images = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)[..., None]
    labels = table[:, -1].astype(np.int32)
    tested = np.unpackbits(np.frombuffer(base64.b64decode(_TEST), np.uint8), count=len(labels)).astype(bool)
    train, test = (Split(images[rows], labels[rows]) for rows in (~tested, tested))
    for array in (train.images, train.labels, test.images, test.labels):
        array.setflags(write=False)
    return train, test, tuple("0123456789")
