"""Experiments of one structure that train together, as the members of one vmapped program."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxcnn.config import Experiment, flatten, run_id, to_json
from jaxcnn.data.shape import image_shape
from jaxcnn.layers import trace_image
from jaxcnn.models import ConvNet
from jaxcnn.runs import checkpoint
from jaxcnn.runs.clock import Clock
from jaxcnn.runs.failure import Failure, read_failure, write_failure
from jaxcnn.runs.group import Alone
from jaxcnn.runs.hooks import Keep, Run, check_keep
from jaxcnn.runs.launch import read_config_text
from jaxcnn.runs.loop import run_group
from jaxcnn.runs.plan import Plan, make_plans, print_plan
from jaxcnn.runs.rows import headline
from jaxcnn.runs.together import Together
from jaxcnn.runs.workdir import Results, Source, check_space, check_workdir, finished, open_workdir
from jaxcnn.runtime import compilation_cache
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.lock import locked
from jaxcnn.runtime.provenance import provenance
from jaxcnn.training import optim
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState


def train_members(
    experiments: Sequence[Experiment],
    workdirs: Sequence[str | Path],
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    keep: Keep = "last",
    on_row: Callable[[int, dict[str, Any]], None] | None = None,
    accept_changed_code: bool = False,
    config_file: str | Path | None = None,
    verbose: bool = True,
) -> list[Results | NonFinite]:
    """Run experiments that differ only in numbers, each in its folder; one program computes a step of all of them.

    A run equals the one that `train` makes of its experiment up to rounding, and its folder has the same files, so that
    either function continues what the other has begun. Its provenance.json lists the run ids of all members.

    Runs that are finished, or have diverged according to a file failure.json, are not run again. The others resume at
    the newest step of which all of them have a good checkpoint, and what any of them has beyond it is removed; without
    such a step they start from the beginning. If a run diverges, a failure.json is written, and the others continue.

    If all seeds are equal, the runs share their batches, which are augmented once. Otherwise the images are on the
    device once, and each run selects its own. States, activations and logits take the memory of as many runs.

    Args:
        experiments: experiments with equal `structure_key`.
        workdirs: folder of each run.
        arrays: as for `train`, for all runs.
        keep: as for `train`.
        on_row: function that receives the index of a run and a row of its metrics.jsonl when that is written.
        accept_changed_code: as for `train`.
        config_file: as for `train`.
        verbose: print devices, tables, and a line for every evaluation of a run.

    Returns:
        For each run its results, or the error that `train` would raise if a number is not finite.

    Raises:
        InputError: an argument does not fit, or the experiments differ in more than numbers; nothing has been written.
        InUse: another process runs in one of the folders.
        Preempted: SIGTERM or Ctrl-C arrived; the states are saved.
        SaveError, RestoreError: as for `train`.
    """
    experiments, workdirs = [*experiments], [check_workdir(workdir) for workdir in workdirs]
    _check(experiments, workdirs)
    check_keep(keep)
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    source = Source.of(experiments[0], None, arrays)
    config_text = None if config_file is None else read_config_text(config_file)

    def outcome(member: int) -> Results | NonFinite | None:
        return _outcome(experiments[member], workdirs[member], source, accept_changed_code)

    def report(member: int, row: dict[str, Any]) -> None:
        if row["split"] != "train":
            console.print(f"{workdirs[member].name}: epoch {row['epoch']:g}: {row['split']} {headline(row)}")
        if on_row is not None:
            on_row(member, row)

    outcomes = {member: outcome(member) for member in range(len(experiments))}
    with fixed_settings(), contextlib.ExitStack() as locks:
        for member in _unfinished(outcomes):
            locks.enter_context(locked(workdirs[member]))
        # Another launch may have trained in the folders before they were locked.
        outcomes |= {member: outcome(member) for member in _unfinished(outcomes)}
        if ended := len(outcomes) - len(_unfinished(outcomes)):
            console.print(f"{ended} of {len(outcomes)} runs have ended before.")
        if members := _unfinished(outcomes):
            if experiments[0].compilation_cache:
                compilation_cache.enable(console.print)
            plans = make_plans([experiments[member] for member in members], arrays)
            runs = _begin(plans, [workdirs[member] for member in members], source, config_text, keep, console)
            found = _train(runs, [partial(report, member) for member in members], console)
            outcomes |= zip(members, found, strict=True)
    return [*outcomes.values()]


def structure_key(experiment: Experiment) -> str:
    """Return a key that is equal for experiments that can train together: they differ only in the seed and in the
    hyperparameters of `optim.hyperparameters`. A weight decay of 0 is another structure, because nothing decays."""
    return json.dumps(to_json(_without_numbers(experiment)), sort_keys=True)


# On a CPU, multiply-adds of a batch in the forward pass up to which runs train together; see `worth_vectorizing`.
_PRODUCTS = 30_000_000


def worth_vectorizing(experiments: Sequence[Experiment], platform: str | None = None) -> bool:
    """Return whether experiments of one structure are expected to train faster together than one after another.

    On a CPU they are if a batch takes at most 30 million multiply-adds in the forward pass, by the table below, and the
    network is a `ConvNet`, whose multiply-adds are known. On an accelerator, which a small network does not occupy, the
    answer is yes; that has not been measured.

    Measured on two AVX-512 cores, medians of 15 paired turns: time of a step of all members, divided by the time of the
    same steps one after another, with equal seeds and with different ones.

        network, images per batch              10^6 products   2 members    5 members   10 members
        3 dense layers of 100, 8                         0.8   1.11, 0.92   0.96, 0.75   0.70, 0.77
        LeNet-5, 8                                       3.3   1.03, 0.97   0.99, 1.00   0.90, 0.81
        3 dense layers of 100, 60                        6.0   1.03, 0.91   0.84, 0.86   0.70, 0.74
        LeNet-5 on digits with distortions, 32          13.3   1.01, 0.96   0.95, 1.01   0.83, 1.05
        3 dense layers of 100, 256                      25.4   0.83, 0.90   0.77, 0.78   0.73, 0.88
        2 dense layers of 800, 32                       41.4   1.33, 0.93   1.50, 0.73   2.11, 1.05
        4 convolutions (VGG), 16                        84.7   1.02, 1.06   0.93, 1.40   1.20, 1.35
        LeNet-5 on MNIST, 256                          106.6   1.30, 1.35   1.27, 1.36   1.29, 1.32
        4 convolutions (VGG), 128                      677.5   1.00, 1.16   1.18, 1.29   1.16, 1.24

    Args:
        experiments: experiments with equal `structure_key`.
        platform: where they will train, as `cpu` or `gpu`; None: where JAX runs in this process, whose devices are then
            initialized.
    """
    if (platform or jax.default_backend()) != "cpu":
        return True
    first = experiments[0]
    if not isinstance(first.model, ConvNet):
        return False
    try:
        layers = trace_image(first.model.layers(), image_shape(first.data, first.augment))
    except InputError:
        # Training will say what is wrong.
        return False
    return first.data.batch_size * sum(layer.info.multiply_adds for layer in layers) <= _PRODUCTS


def _without_numbers(experiment: Experiment) -> Experiment:
    return dataclasses.replace(experiment, seed=0, optimizer=optim.structure(experiment.optimizer))


def _check(experiments: Sequence[Experiment], workdirs: Sequence[Path]) -> None:
    """Raise InputError unless these are experiments of one structure, each with a folder of its own."""
    if not experiments:
        raise InputError("experiments is empty; give at least one.")
    for number, experiment in enumerate(experiments):
        if not isinstance(experiment, Experiment):
            raise InputError(f"experiments[{number}] is {type(experiment).__name__}; it must be Experiment.")
    if len(workdirs) != len(experiments):
        raise InputError(f"there are {len(experiments)} experiments and {len(workdirs)} workdirs; give one for each.")
    for number, workdir in enumerate(workdirs):
        if (earlier := workdirs.index(workdir)) < number:
            raise InputError(f"workdirs[{earlier}] and workdirs[{number}] are both {workdir}; give each run its own.")
    keys = [structure_key(experiment) for experiment in experiments]
    for number, (key, experiment) in enumerate(zip(keys, experiments, strict=True)):
        if key == keys[0]:
            continue
        first, other = (flatten(_without_numbers(each)) for each in (experiments[0], experiment))
        path = next(path for path in sorted(first.keys() | other.keys()) if first.get(path) != other.get(path))
        was, now = (flatten(each).get(path, "absent") for each in (experiments[0], experiment))
        raise InputError(
            f"{path} is {now} in experiments[{number}], but {was} in experiments[0]. Runs that train together may "
            "differ in seed, learning_rate, weight_decay (unless it is 0), momentum, b1, b2, eps and clip_norm only."
        )


def _outcome(
    experiment: Experiment, workdir: Path, source: Source, accept_changed_code: bool
) -> Results | NonFinite | None:
    """Return how the run in a folder has ended; None if it has not."""
    results = finished(experiment, workdir, source, accept_changed_code=accept_changed_code)
    if results is not None:
        return results
    failure = read_failure(workdir)
    return NonFinite(failure.reason) if failure is not None and failure.kind == "diverged" else None


def _unfinished(outcomes: Mapping[int, Any]) -> list[int]:
    return [member for member, outcome in outcomes.items() if outcome is None]


def _begin(
    plans: Sequence[Plan],
    workdirs: Sequence[Path],
    source: Source,
    config_text: bytes | None,
    keep: Keep,
    console: Console,
) -> list[Run]:
    """Open the folders, and return the runs at the newest step of which all have a good checkpoint."""
    print_plan(console, plans[0])
    folders = [workdir / "checkpoints" for workdir in workdirs]
    restored = _restore(plans, folders, console)
    states = restored or [(plan.initial_state(), {}) for plan in plans]
    step, alone = int(states[0][0].step), len(plans) == 1
    console.print(f"{len(plans)} run{' trains' if alone else 's train as one program'}, from step {step:,}")
    check_space(plans[0], workdirs)
    ids = [] if alone else [run_id(plan.experiment) for plan in plans]
    launch, changes = provenance(), set()
    for plan, workdir, folder in zip(plans, workdirs, folders, strict=True):
        changes.add(open_workdir(plan, workdir, source, config_text, launch=launch, members=ids))
        checkpoint.remove_after(folder, step if restored else -1)
        (workdir / "failure.json").unlink(missing_ok=True)
    for line in changes - {None}:
        console.print(line)
    quiet = Console(quiet=True, force_terminal=False)
    return [
        Run(plan, workdir, quiet, state, loop_state, Clock(loop_state.pop("seconds", 0.0)), keep)
        for plan, workdir, (state, loop_state) in zip(plans, workdirs, states, strict=True)
    ]


def _restore(
    plans: Sequence[Plan], folders: Sequence[Path], console: Console
) -> list[tuple[TrainState, dict[str, Any]]] | None:
    """Return the states of all runs at the newest step of which each has a good checkpoint; None if there is none."""

    def saved_by_all() -> set[int]:
        return set.intersection(*({*checkpoint.steps(folder)} for folder in folders))

    while True:
        steps = saved_by_all()
        found = [
            checkpoint.restore_state(
                folder, plan.state, lambda line, folder=folder: console.print(f"{folder.parent}: {line}"), steps
            )
            for plan, folder in zip(plans, folders, strict=True)
        ]
        # Damaged checkpoints have been moved away, so a step may be lost to all.
        if saved_by_all() == steps:
            return found if steps else None


def _train(
    runs: Sequence[Run], on_rows: Sequence[Callable[[dict[str, Any]], None]], console: Console
) -> list[Results | NonFinite]:
    def fail(run: Run, error: NonFinite) -> None:
        write_failure(run.workdir, Failure("diverged", str(error)))
        console.print(f"{run.workdir}: {error}")

    group = Together(runs, console) if len(runs) > 1 else Alone(runs[0])
    try:
        outcomes = run_group(group, on_rows=on_rows, on_failure=fail)
    except OSError as error:
        raise checkpoint.SaveError(f"the folders of the runs can no longer be written: {error}") from error
    for outcome in outcomes:
        if isinstance(outcome, Results):
            console.print(f"{outcome.workdir}: test {headline(outcome.test)}")
    return outcomes
