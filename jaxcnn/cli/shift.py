"""The commands `python -m jaxcnn shift COMMAND`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import jax
from tyro.conf import arg
from tyro.extras import SubcommandApp

from jaxcnn import data
from jaxcnn.config import Data
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.shift.gallery import draw_gallery

_KNOWN = {"digits": Data(), "mnist": Data(source="tfds", name="mnist"), "cifar10": Data(source="tfds", name="cifar10")}

app = SubcommandApp()


@app.command
def gallery(
    data: Annotated[str, arg(metavar="digits|mnist|cifar10|DIR")] = "digits",
    out: Annotated[str | None, arg(metavar="FILE")] = None,
) -> None:
    """Draw the first test image with every corruption at every severity.

    Args:
        data: data set, or the folder of a run, for the images it was trained on.
        out: PNG file to write; None: corruptions_DATA.png, or corruptions.png in the folder of the run.
    """
    print(_draw(data, out))


def main(arguments: Sequence[str], *, prog: str) -> None:
    """Run a command.

    Args:
        arguments: arguments of the command line, after `shift`.
        prog: name of the program in help and messages.

    Raises:
        InputError: the command is unknown or its input invalid.
    """
    names = [gallery.__name__]
    command = next(iter(arguments), "--help")
    if not command.startswith("-") and command not in names:
        raise InputError(
            f"{command!r} is not a command of shift.{did_you_mean(command, names)} Commands are {', '.join(names)}."
        )
    set_xla_flags()
    about = "Covariate shift: corrupt images, and see how."
    app.cli(args=[*arguments] or ["--help"], prog=prog, description=about, use_underscores=True)


@fixed_settings()
def _draw(name: str, out: str | None) -> Path:
    if name not in _KNOWN and not Path(name).is_dir():
        raise InputError(
            f"data is {name!r}; it must be {', '.join(_KNOWN)} or the folder of a run.{did_you_mean(name, _KNOWN)}"
        )
    experiment = None if name in _KNOWN else load_saved(name)
    default = f"corruptions_{name}.png" if experiment is None else f"{name}/corruptions.png"
    path = Path(out or default)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise InputError(f"out is {str(path)!r}; it must be a .png file in a folder that exists.")
    config, seed = (_KNOWN[name], 0) if experiment is None else (experiment.data, experiment.seed)
    image = data.load(config, seed, need_train=False).test.images[0]
    try:
        return draw_gallery(image, path, key=jax.random.key(0))
    except OSError as error:
        raise InputError(f"out {path} cannot be written: {error.strerror}.") from None
