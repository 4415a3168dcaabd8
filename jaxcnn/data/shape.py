"""The shape of what a network sees, found without decoding a single image."""

import dataclasses
import json

from jaxcnn.config import Augment, Data
from jaxcnn.data import sources, tfds
from jaxcnn.errors import InputError


def image_shape(data: Data, augment: Augment) -> tuple[int, int, int]:
    """Height, width and channels of an image as training and evaluation give it to the network.

    Args:
        data: of a TFDS data set only its description is read; other sources are loaded, which takes little.
        augment: its crop is what the network sees.

    Raises:
        InputError: the data are missing, or their images have several sizes.
    """
    if data.source == "tfds":
        height, width, channels = _prepared(data)
    else:
        one = dataclasses.replace(data.fake, train=1, test=1)
        shape = sources.load(dataclasses.replace(data, fake=one, validation=0.0), seed=0).train.images.shape
        height, width, channels = shape[1:]
    if augment.crop is not None:
        height = width = augment.crop
    if height is None or width is None:
        raise InputError(f"data set {data.name!r} has images of several sizes; set config.data.image_size.")
    return height, width, channels


def _prepared(data: Data) -> tuple[int | None, int | None, int]:
    """What features.json says of the images, None where it leaves a side open, then resized and padded."""
    prepared = tfds.find(data.name, data.data_dir)
    if prepared is None:
        command = tfds.prepare_command(data.name, data.data_dir)
        raise InputError(f"data set {data.name!r} is not prepared in {tfds.data_root(data.data_dir)}; run: {command}")
    path = prepared.folder / "features.json"
    try:
        features = json.loads(path.read_text())["featuresDict"]["features"].values()
        (image,) = (feature["image"] for feature in features if "image" in feature)
        sides = [int(side) for side in image["shape"]["dimensions"]]
        height, width, channels = (side if side > 0 else None for side in sides)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not tell the shape of one image.") from None
    if data.image_size is not None:
        height = width = data.image_size
    border = 2 * data.pad
    return height and height + border, width and width + border, channels or 3
