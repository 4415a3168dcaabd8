"""The command line of launch.py, read through tyro."""

import dataclasses
import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from rich.console import Console

from jaxcnn.config import Experiment, flatten, load_config
from jaxcnn.describe.tables import settings_table
from jaxcnn.runs.loop import print_plan
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.workdir import check_workdir
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings


@dataclass(frozen=True)
class Launch:
    """What launch.py was asked to do."""

    config: tyro.conf.FlagConversionOff[Experiment]
    """The experiment; `--config=FILE` chooses the file, `--config.any.field=value` changes a field."""
    workdir: str
    """Folder of the run; the same folder again resumes it."""
    init_from: str | None = None
    """Start from the weights of the run in this folder, without its optimizer state."""
    accept_changed_code: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with a run although the code of its network, or of files that it imports, has changed since."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the resolved experiment, the network and the plan; write nothing."""
    require_platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Stop if JAX does not run on this platform."""
    deterministic: tyro.conf.FlagCreatePairsOff[bool] = False
    """Ask the GPU for bit-identical repeats (slower); a CPU repeats itself anyway."""
    config_file: tyro.conf.Suppress[str | None] = None
    """The file that `--config` named, or the default one."""


def parse(arguments: list[str], *, default_config: Path) -> Launch:
    """Arguments of launch.py as a `Launch`.

    The config file is read first: its values are the defaults that `--help` shows and other arguments change. Without
    `--workdir` the run goes to `runs/NAME` for a file NAME.py.

    Raises:
        InputError: the config file cannot be used, or the platform required is not there.
        SystemExit: tyro has printed help, or what is wrong with an argument.
    """
    file, rest = _config_file(arguments)
    experiment = load_config(file or default_config)
    workdir = f"runs/{Path(file or default_config).stem}"
    launch = tyro.cli(
        Annotated[Launch, tyro.conf.arg(name="")],
        prog="launch.py",
        description=f"Run the experiment of a config file (now {file or default_config}).",
        args=[part for argument in rest for part in _tuple(argument, experiment)],
        default=Launch(config=experiment, workdir=workdir, config_file=str(file or default_config)),
        use_underscores=True,
    )
    found = jax.default_backend()
    if launch.require_platform not in (None, found):
        raise InputError(f"--require_platform={launch.require_platform}, but JAX runs on {found}; install jax for it.")
    return launch


@fixed_settings()
def show_plan(launch: Launch) -> None:
    """Print what the run would be."""
    workdir = check_workdir(launch.workdir)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    plan = make_plan(launch.config)
    console.print(settings_table(flatten(launch.config)))
    print_plan(console, plan)
    console.print(f"workdir: {workdir} (nothing was written)")


def _config_file(arguments: list[str]) -> tuple[str | None, list[str]]:
    rest, file = [], None
    given = iter(arguments)
    for argument in given:
        if argument == "--config":
            file = next(given, "--")
            if file.startswith("--"):
                raise InputError("--config needs a file, for example --config=configs/lenet5_mnist.py.")
        elif argument.startswith("--config="):
            file = argument.removeprefix("--config=")
        else:
            rest.append(argument)
    return file, rest


def _tuple(argument: str, experiment: Experiment) -> list[str]:
    """`--config.data.mean=0.1,0.2` as tyro wants a tuple: the flag, then a word for each element."""
    match = re.fullmatch(r"--config\.([\w.]+)=(.*)", argument)
    if not match or match[2] == "None" or not _takes_tuple(experiment, match[1].split(".")):
        return [argument]
    return [f"--config.{match[1]}", *filter(None, re.split(r"[,\s()\[\]]+", match[2]))]


def _takes_tuple(part: Any, path: list[str]) -> bool:
    """Whether the field at a dotted path is annotated as a tuple, or an optional one."""
    hint = fields.hints(type(part)).get(path[0])
    if len(path) > 1:
        return (
            hint is not None
            and dataclasses.is_dataclass(inner := getattr(part, path[0]))
            and _takes_tuple(inner, path[1:])
        )
    return any(typing.get_origin(h) is tuple for h in (hint, *typing.get_args(hint)))
