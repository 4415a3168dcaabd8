"""The commands `python -m jaxcnn shift COMMAND`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from tyro.conf import Positional, arg
from tyro.extras import SubcommandApp

from jaxcnn.cli.shift_calibrate import shift_calibrate
from jaxcnn.cli.shift_gallery import shift_gallery
from jaxcnn.cli.shift_report import shift_report
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.xla_flags import set_xla_flags

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
    print(shift_gallery(data, out))


@app.command
def calibrate(
    run: Annotated[Positional[str], arg(metavar="RUN")], out: Annotated[str | None, arg(metavar="DIR")] = None
) -> None:
    """Measure how often the tests for a shift raise a false alarm on the images of a run, and their power.

    A calibration that was stopped continues.

    Args:
        run: folder of the run.
        out: folder of calibration.json and calibration.png; None: shift in the run's folder.
    """
    shift_calibrate(run, out)


@app.command
def report(
    run: Annotated[Positional[str], arg(metavar="RUN")],
    target: Annotated[str, arg(metavar="TARGET")],
    out: Annotated[str | None, arg(metavar="DIR")] = None,
    repairs: Literal["quick", "all"] = "quick",
    data_dir: Annotated[str | None, arg(metavar="DIR")] = None,
    seed: int = 0,
) -> None:
    """Answer on one page whether a target is shifted from the images of a run, where, how, what it costs and what
    repairs it.

    Args:
        run: folder of the run, whose test images are the source.
        target: corruption:NAME:SEVERITY of the test images, tfds:NAME[:SPLIT], digits, or FILE.npy[:SEVERITY] of
            CIFAR-10-C; then @SUBGROUP, or @SIZE to resize images and make them fit, as in digits@20.
        out: folder of report.html, report.png and report.json; None: shift_TARGET in the run's folder.
        repairs: quick: those that need no training on source images, in about a minute; all: also AugMix, deep CORAL,
            DANN and self-training with three seeds each, which continue if they were stopped.
        data_dir: folder of prepared data sets; None: the run's.
        seed: seed of all random choices.
    """
    shift_report(run, target, out=out, repairs=repairs, data_dir=data_dir, seed=seed)


def main(arguments: Sequence[str], *, prog: str) -> None:
    """Run a command.

    Args:
        arguments: arguments of the command line, after `shift`.
        prog: name of the program in help and messages.

    Raises:
        InputError: the command is unknown or its input invalid.
    """
    names = [each.__name__ for each in (gallery, calibrate, report)]
    command = next(iter(arguments), "--help")
    if not command.startswith("-") and command not in names:
        raise InputError(
            f"{command!r} is not a command of shift.{did_you_mean(command, names)} Commands are {', '.join(names)}."
        )
    set_xla_flags()
    about = "Covariate shift: corrupt images, test whether images are shifted from those of a run, and repair it."
    app.cli(args=[*arguments] or ["--help"], prog=prog, description=about, use_underscores=True)
