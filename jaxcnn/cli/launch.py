"""Training from the command line, with `jaxcnn train` and launch.py.

The exit status is 0 for a finished run, and for a dry run without errors, whether or not the data exist; 1 if a
checkpoint or another file could not be written or read; 2 if an argument, a file or the data cannot be used; 3 if the
loss, a weight or an evaluation is not finite; 75 if SIGTERM or Ctrl-C stopped the run with its state saved (the same
command continues it); 130 after Ctrl-C before training began, or after a second Ctrl-C. For a sweep it is 0 if every
point is finished, 1 if a point failed, and 3 if points diverged but none failed.
"""

import contextlib
import dataclasses
import itertools
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import tyro
from rich.console import Console

from jaxcnn.cli.arguments import parse as parse_options
from jaxcnn.cli.arguments import take_names
from jaxcnn.cli.axes import take_axes
from jaxcnn.cli.sweep import experiments, run_sweep, show_sweep
from jaxcnn.config import Experiment, flatten, load_config
from jaxcnn.data import MissingData
from jaxcnn.data.shape import image_shape
from jaxcnn.describe.tables import decay_table, network_table, print_table, settings_table
from jaxcnn.models import LeNet5
from jaxcnn.runs.checkpoint import RestoreError, SaveError, steps
from jaxcnn.runs.hooks import Keep
from jaxcnn.runs.init_from import starting_weights
from jaxcnn.runs.launch import train
from jaxcnn.runs.plan import make_plan, print_devices, print_plan
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.signals import Preempted
from jaxcnn.runs.workdir import Source, check_workdir, finished
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.sweep.processes import check_jobs
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.optim import decay_report

_STATUSES = {InputError: 2, NonFinite: 3, SaveError: 1, RestoreError: 1, Preempted: 75}


def main(arguments: list[str], *, prog: str, default_config: Path | None = None) -> int:
    """Train as the arguments specify, or show the plan of the run; an error is one message on stderr.

    Args:
        arguments: arguments of the command line, without the program's name.
        prog: name of the program in help and messages.
        default_config: config file to use if `--config` names none; None: `--config` must name one.

    Returns:
        The exit status.
    """
    if "--deterministic" in arguments:
        # JAX reads the flags once, when it creates its backends.
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    set_xla_flags()
    _quiet_orbax()
    try:
        launch = parse(arguments, prog=prog, default_config=default_config)
        if launch.is_sweep:
            return _sweep(launch)
        _refuse_sweep_options(launch)
        if launch.dry_run:
            show_plan(launch)
        else:
            train(
                launch.config,
                launch.workdir,
                init_from=launch.init_from,
                init_from_checkpoint=launch.init_from_checkpoint,
                config_file=launch.config_file,
                keep=launch.keep or "all",
                accept_changed_code=launch.accept_changed_code,
            )
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command continues from the newest checkpoint", file=sys.stderr)
        return 130
    except tuple(_STATUSES) as stop:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"{prog}: {stop}", markup=False)
        return next(status for kind, status in _STATUSES.items() if isinstance(stop, kind))
    return 0


def _quiet_orbax() -> None:
    """Silence orbax, which logs errors that it also raises and prints tracebacks from its threads."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None


@dataclass(frozen=True)
class Launch:
    """The options of a command line."""

    config: tyro.conf.FlagConversionOff[Experiment]
    """The experiment; `--config=FILE` chooses the file, `--config.any.field=value` changes a field."""
    workdir: str
    """Folder of the run; the same folder again resumes it."""
    init_from: str | None = None
    """Initialize from the weights of the run in this folder, without its optimizer state."""
    init_from_checkpoint: Choice = "last"
    """Which of its checkpoints: last, best (by accuracy on its validation split, else on the test split) or a step."""
    accept_changed_code: tyro.conf.FlagCreatePairsOff[bool] = False
    """Continue a run although the code of its network, or of files that it imports, has changed."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the resolved experiment, the network and the plan; write nothing. The data need not exist yet."""
    require_platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Fail if JAX does not run on this platform."""
    deterministic: tyro.conf.FlagCreatePairsOff[bool] = False
    """Request bit-identical results from a GPU (slower); a CPU repeats its results anyway."""
    keep: Keep | None = None
    """What finished runs keep besides results. all: pictures, TensorBoard files, the latest two checkpoints and the
    best; last: the last checkpoint; results: nothing. None: all, but last in a sweep, whose points that are already
    finished stay as they are."""
    sweep: str = ""
    """Run the points that the config file's function sweep_NAME() yields, as in {"model.norm": "batch"}."""
    jobs: int | None = None
    """Sweep: number of worker processes, which share the cores, so that results may differ by rounding from those
    of this process; None: this process."""
    shard: str | None = None
    """Sweep: run the part I/N of the points, with I from 0; slurm: the part of this task of a job array. Groups that
    --vectorize makes are not divided."""
    vectorize: str | None = None
    """Sweep: train points that differ only in these numbers (seed, learning_rate, weight_decay, momentum, ...; several
    are separated by commas) as one vmapped program, whose time is the `seconds` of each; auto: where measurements say
    that it is faster."""
    plots: tyro.conf.FlagCreatePairsOff[bool] = False
    """Sweep: draw the pictures of every finished point, also of those finished before."""
    config_file: tyro.conf.Suppress[str | None] = None
    """The file that `--config` names, or the default file; None if only help is shown."""
    axes: tyro.conf.Suppress[dict[str, str]] = field(default_factory=dict)
    """The values of every `--grid.FIELD`, as text."""

    @property
    def is_sweep(self) -> bool:
        """Whether the command line describes several runs."""
        return bool(self.sweep or self.axes)


def parse(arguments: list[str], *, prog: str, default_config: Path | None) -> Launch:
    """Parse the arguments.

    The config file is read first: its values are the defaults that `--help` shows and that other arguments change.
    Without `--workdir` the folder of a run is `runs/NAME` for a file NAME.py, and that of a sweep is `runs/NAME_sweep`
    or, if the sweep has a name, `runs/NAME_SWEEP`.

    Args:
        arguments, prog, default_config: as in `main`.

    Raises:
        InputError: no config file is named, or it cannot be used, or the required platform is not available.
        SystemExit: tyro has printed help, or an error in an argument.
    """
    named, rest = _config_file(arguments)
    file = named or default_config
    if file is not None:
        experiment, about = load_config(file), f"Train the network of a config file (here {file})."
    elif {"-h", "--help"} & {*rest}:
        experiment = Experiment(model=LeNet5())
        about = "Train the network of a config file, --config=FILE. Without a file, the fields are shown for LeNet-5."
    else:
        raise InputError(
            "--config is missing; name a Python file whose function get_config() returns a jaxcnn.Experiment, as in "
            "--config=my.py."
        )
    _check_options(rest)
    rest, axes = take_axes(rest)
    rest, experiment = take_names(rest, experiment)
    launch = parse_options(
        rest,
        Launch(config=experiment, workdir=f"runs/{Path(file or 'NAME').stem}", config_file=file and str(file)),
        prog=prog,
        description=f"{about} With --grid.FIELD=VALUE,VALUE for one field or more, train a run for each combination: "
        "FIELD is any of the fields below without --config, as in --grid.seed=0,1,2; tuples are in parentheses, and "
        "texts with commas in double quotes.",
    )
    # Asking for the platform reserves a GPU's memory, which the workers of a sweep need.
    if launch.require_platform not in (None, launch.require_platform and (found := jax.default_backend())):
        raise InputError(f"--require_platform={launch.require_platform}, but JAX runs on {found}; install jax for it.")
    launch = dataclasses.replace(launch, axes=axes)
    if launch.is_sweep and not any(argument.startswith("--workdir") for argument in rest):
        launch = dataclasses.replace(launch, workdir=f"{launch.workdir}_{launch.sweep or 'sweep'}")
    return launch


def _check_options(arguments: Sequence[str]) -> None:
    """Check what the parser would take in another way than it was meant.

    Raises:
        InputError: `--sweep` is given twice, or names nothing; or the value of `--jobs` is no number. Of other options
            given twice, the last counts, so that a script can append its own.
    """
    given: dict[str, str] = {}
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, value = argument.partition("=")
        name = option.replace("-", "_").removeprefix("__")
        if not option.startswith("--") or name.startswith("grid."):
            continue
        if name == "sweep" and name in given:
            raise InputError(
                "--sweep is given twice; give it once. A sweep is one function; --grid crosses its points with further "
                "values."
            )
        given[name] = value if equals else following
    if "sweep" in given and not given["sweep"].isidentifier():
        raise InputError(
            f"--sweep is {given['sweep']!r}; it must be NAME of a function sweep_NAME() in the config file. To vary a "
            "field, write --grid.FIELD=VALUE,VALUE."
        )
    if "jobs" in given and not re.fullmatch(r"[-+]?\d+|None", given["jobs"]):
        raise InputError(f"jobs is {given['jobs']!r}; it must be an integer > 0, the number of processes.")


def _refuse_sweep_options(launch: Launch) -> None:
    for option in ("jobs", "shard", "vectorize", "plots"):
        if getattr(launch, option):
            raise InputError(f"--{option} is for a sweep; name its points by --grid.FIELD=VALUE,VALUE or --sweep=NAME.")


def _sweep(launch: Launch) -> int:
    if launch.init_from is not None:
        raise InputError("--init_from is not available in a sweep; call jaxcnn.train for each of its experiments.")
    if launch.jobs is not None:
        check_jobs(launch.jobs)
    points = experiments(launch.config, launch.config_file, launch.sweep or None, launch.axes)
    options = {"shard": launch.shard, "vectorize": launch.vectorize and launch.vectorize.split(",")}
    if options["vectorize"] == ["auto"]:
        options["vectorize"] = "auto"
    if launch.dry_run:
        show_sweep(points, launch.workdir, **options)
        return 0
    return run_sweep(
        points,
        launch.workdir,
        jobs=launch.jobs,
        keep=launch.keep,
        plots=launch.plots,
        config_file=launch.config_file,
        accept_changed_code=launch.accept_changed_code,
        **options,
    )


@fixed_settings()
def show_plan(launch: Launch) -> None:
    """Print the plan of a run; if its data are missing, print how to get them and what is known without them.

    Raises:
        InputError: parts of the experiment do not fit together or do not fit the data, the workdir is not usable or
            holds another run, or the weights to start from do not exist.
    """
    workdir, experiment = check_workdir(launch.workdir), launch.config
    source = Source.of(experiment, launch.init_from, None, launch.init_from_checkpoint)
    done = finished(experiment, workdir, source, accept_changed_code=launch.accept_changed_code)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    print_table(settings_table(flatten(experiment)))
    saved = steps(workdir / "checkpoints")
    try:
        plan = make_plan(experiment)
        print_plan(console, plan)
        if not saved:
            starting_weights(plan, source, console.print)
    except MissingData as missing:
        print_devices(console)
        with contextlib.suppress(MissingData):
            _show_network(experiment, image_shape(experiment.data, experiment.augment))
        console.print(f"data: missing; {missing}")
    holds = "this experiment, finished" if done else f"this experiment, stopped at step {max(saved, default=0):,}"
    console.print(f"workdir: {workdir} (nothing was written){f'; it holds {holds}' if done or saved else ''}")


def _show_network(experiment: Experiment, shape: tuple[int, int, int]) -> None:
    print_table(network_table(experiment.model, shape))
    images = jax.ShapeDtypeStruct((1, *shape), np.float32)
    variables = jax.eval_shape(partial(experiment.model.init, train=False), jax.random.key(0), images)
    settings = experiment.optimizer
    report = decay_report(settings, variables["params"])
    print_table(decay_table(report, settings.weight_decay, settings.weight_decay_form))


def _config_file(arguments: list[str]) -> tuple[str | None, list[str]]:
    rest, file = [], None
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--config":
            file = next(remaining, "")
        elif argument.startswith("--config="):
            file = argument.removeprefix("--config=")
        else:
            rest.append(argument)
        if file is not None and (not file or file.startswith("--")):
            raise InputError("--config needs a file, for example --config=my.py.")
    return file, rest
