"""Start or resume a run, or read the results of a finished one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxcnn.config import Experiment, file_modules
from jaxcnn.runs import checkpoint
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.group import Alone
from jaxcnn.runs.hooks import Hook, Keep, Run, check_hooks, check_keep
from jaxcnn.runs.init_from import starting_weights
from jaxcnn.runs.loop import run_group
from jaxcnn.runs.plan import Plan, make_plan, print_plan
from jaxcnn.runs.rows import headline
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.workdir import Results, Source, check_space, check_workdir, finished, open_workdir
from jaxcnn.runtime import compilation_cache
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.lock import locked
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState


def train(
    experiment: Experiment,
    workdir: str | Path,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    init_from: str | Path | None = None,
    init_from_checkpoint: Choice = "last",
    config_file: str | Path | None = None,
    hooks: Sequence[Hook] = (),
    keep: Keep = "all",
    on_row: Callable[[dict[str, Any]], None] | None = None,
    accept_changed_code: bool = False,
    verbose: bool = True,
) -> Results:
    """Run an experiment in a folder; continue from the newest checkpoint if the folder has one.

    A finished run is not run again; its results are read. A run that was stopped, in whatever way, ends with the same
    weights and the same rows in metrics.jsonl as a run that was not.

    Args:
        experiment: experiment to run.
        workdir: folder for everything that the run writes; it is created if needed.
        arrays: images and labels in memory for `data.source="arrays"`: `train_images`, `train_labels`, `test_images`,
            `test_labels`.
        init_from: folder of a run whose weights initialize the network; its optimizer state is not used.
        init_from_checkpoint: which of its checkpoints: `last`, `best` (by the accuracy on its validation split, or on
            the test split if it has none, which biases test errors low) or a step.
        config_file: file that the experiment was loaded from, if any; its text is kept as `config.py`.
        hooks: further hooks, called at steps, evaluations, checkpoints and the end; a run that is already finished
            calls none.
        keep: what a finished run leaves in its folder besides config, provenance, metrics and results. all: the latest
            two checkpoints and the best, TensorBoard files, pictures; last: the last checkpoint; results: nothing.
        on_row: function that receives every row of metrics.jsonl when it is written, for example to log it elsewhere.
            The rows after the newest checkpoint of a stopped run are written again when it resumes.
        accept_changed_code: continue a run although its own classes, or the files they import, have changed.
        verbose: print devices, tables, a progress bar on a terminal, and a summary.

    Returns:
        Metrics of the last step on the test split, and on the validation split if there is one; steps and seconds.

    Raises:
        InputError: an argument does not fit; nothing has been written.
        Preempted: SIGTERM or Ctrl-C arrived; the state is saved.
        NonFinite: a training metric, a weight or an evaluation is NaN or infinite; no row, checkpoint or result of it
            has been written.
        SaveError: a checkpoint or another file of the run could not be written.
        RestoreError: a checkpoint could not be read although nothing shows that it is damaged (for example, an I/O
            error); nothing has been changed. Damaged checkpoints are skipped with a message.
    """
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment is {type(experiment).__name__}; it must be Experiment.")
    check_hooks(hooks)
    check_keep(keep)
    workdir = check_workdir(workdir)
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    source = Source.of(experiment, init_from, arrays, init_from_checkpoint)
    config_text = None if config_file is None else read_config_text(config_file)
    if (results := _finished(experiment, workdir, source, console, accept_changed_code)) is not None:
        return results
    if experiment.compilation_cache:
        compilation_cache.enable(console.print)
    with fixed_settings():
        plan = make_plan(experiment, arrays)
        print_plan(console, plan)
        with locked(workdir):
            # Another launch may have trained in the folder before it was locked.
            if (results := _finished(experiment, workdir, source, console, accept_changed_code)) is not None:
                return results
            state, loop_state = _begin(plan, workdir, source, console)
            check_space(plan, [workdir])
            if line := open_workdir(plan, workdir, source, config_text):
                console.print(line)
            clock = Clock(loop_state.pop("seconds", 0.0))
            run = Run(plan, workdir, console, state, loop_state, clock, keep)
            try:
                (outcome,) = run_group(Alone(run), hooks=hooks, on_rows=[on_row])
            except OSError as error:
                raise checkpoint.SaveError(f"workdir {workdir} can no longer be written: {error}") from error
    if isinstance(outcome, NonFinite):
        raise outcome
    return outcome


def read_config_text(file: str | Path) -> bytes:
    """Return the text of a config file, as this process has run it; raise InputError if it cannot be read."""
    try:
        return file_modules.source(Path(file).resolve())
    except OSError as error:
        raise InputError(
            f"config_file {file} cannot be read: {error.strerror}; give the file or leave it out."
        ) from error


def _finished(
    experiment: Experiment, workdir: Path, source: Source, console: Console, accept_changed_code: bool
) -> Results | None:
    """Return the results of a finished run and print a line about them; return None if the run is not finished."""
    results = finished(experiment, workdir, source, accept_changed_code=accept_changed_code)
    if results is not None:
        console.print(f"{workdir} already holds the finished run of this experiment: test {headline(results.test)}.")
    return results


def _begin(plan: Plan, workdir: Path, source: Source, console: Console) -> tuple[TrainState, dict[str, Any]]:
    """Return the state to start from, and the values that the loop saved with it (`loop_state`)."""
    restored = checkpoint.restore_state(workdir / "checkpoints", plan.state, console.print)
    if restored is not None:
        console.print(f"resuming from step {int(restored[0].step):,} in {workdir}/checkpoints")
        return restored
    return plan.initial_state(starting_weights(plan, source, console.print)), {}
