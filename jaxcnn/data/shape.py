"""The shape of the images that a network sees, determined without decoding an image if possible."""

import dataclasses
import json

from jaxcnn.config import Augment, Data
from jaxcnn.data import sources, tfds
from jaxcnn.runtime.errors import InputError

# Height, width and channels of well-known TFDS data sets, which need not be prepared.
_KNOWN = {
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), (28, 28, 1)),
    **dict.fromkeys(("cifar10", "cifar100", "svhn_cropped"), (32, 32, 3)),
}


def image_shape(data: Data, augment: Augment) -> tuple[int, int, int]:
    """Return height, width and channels of an image as the network sees it in training and evaluation.

    If the settings determine them, or the data set is a well-known one, the data may be missing. Only the description
    of a TFDS data set is read; other sources are loaded, which is quick.

    Args:
        data: its `image_size` and `pad` set the side, its `mean` and `std` may determine the channels.
        augment: its `crop` is the side that the network sees.

    Raises:
        MissingData: the data are missing.
        InputError: the images have different sizes.
    """
    side = augment.crop or (data.image_size and data.image_size + 2 * data.pad)
    channels = max(len(data.mean), len(data.std))
    if side and channels > 1:
        return side, side, channels
    if data.source == "tfds":
        height, width, channels = _described(data)
        shape = height and height + 2 * data.pad, width and width + 2 * data.pad, channels
    else:
        one = dataclasses.replace(data.fake, train=1, test=1)
        whole = dataclasses.replace(data, fake=one, validation=0.0, train_count=None, subgroup="", target="")
        shape = sources.load(whole, seed=0).train.images.shape[1:]
    if side:
        return side, side, shape[2]
    if None in shape:
        raise InputError(f"data set {data.name!r} has images of different sizes; set config.data.image_size.")
    return shape


def _described(data: Data) -> tuple[int | None, int | None, int]:
    """Return the image shape in features.json, with None for a side that it does not specify."""
    prepared, name = tfds.find(data.name, data.data_dir), data.name.partition(":")[0]
    if prepared is None and name in _KNOWN:
        return _KNOWN[name]
    if prepared is None:
        raise tfds.not_prepared(data.name, data.data_dir)
    path = prepared.folder / "features.json"
    try:
        features = json.loads(path.read_text())["featuresDict"]["features"].values()
        (image,) = (feature["image"] for feature in features if "image" in feature)
        height, width, channels = (int(length) for length in image["shape"]["dimensions"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} does not describe the shape of exactly one image.") from None
    # TFDS writes -1 for a side that differs between images.
    return max(height, 0) or None, max(width, 0) or None, channels if channels > 0 else 3
