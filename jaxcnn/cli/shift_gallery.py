"""The command `python -m jaxcnn shift gallery`."""

from pathlib import Path

import jax

from jaxcnn import data
from jaxcnn.config import Data
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.shift.gallery import draw_gallery

_KNOWN = {"digits": Data(), "mnist": Data(source="tfds", name="mnist"), "cifar10": Data(source="tfds", name="cifar10")}


@fixed_settings()
def shift_gallery(name: str, out: str | None) -> Path:
    """Draw the first test image with every corruption at every severity.

    Args:
        name: digits, mnist, cifar10, or the folder of a run for the images it was trained on.
        out: PNG file to write; None: corruptions_NAME.png, or corruptions.png in the folder of the run.

    Returns:
        The file.

    Raises:
        InputError: the name is unknown, the data are missing or not images in 0..255 or 0..1, or the file cannot be
            written.
    """
    if name not in _KNOWN and not Path(name).is_dir():
        raise InputError(
            f"data is {name!r}; it must be {', '.join(_KNOWN)} or the folder of a run.{did_you_mean(name, _KNOWN)}"
        )
    experiment = None if name in _KNOWN else load_saved(name)
    path = Path(out or (f"corruptions_{name}.png" if experiment is None else f"{name}/corruptions.png"))
    if path.suffix != ".png" or not path.parent.is_dir():
        raise InputError(f"out is {str(path)!r}; it must be a .png file in a folder that exists.")
    config, seed = (_KNOWN[name], 0) if experiment is None else (experiment.data, experiment.seed)
    image = data.load(config, seed, need_train=False).test.images[0]
    try:
        return draw_gallery(image, path, key=jax.random.key(0))
    except OSError as error:
        raise InputError(f"out {path} cannot be written: {error.strerror}.") from None
