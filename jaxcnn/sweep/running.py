"""Running the points of a sweep: here, in worker processes or on other machines."""

import contextlib
import os
import textwrap
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxcnn.config import Experiment, to_json
from jaxcnn.data import MissingData
from jaxcnn.runs.failure import read_failure
from jaxcnn.runs.hooks import Keep, check_keep
from jaxcnn.runs.saves import tidy
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Source, check_workdir, finished, read_record
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import check_writable, is_locked
from jaxcnn.runtime.provenance import command
from jaxcnn.sweep.groups import groups, share_of
from jaxcnn.sweep.live import View
from jaxcnn.sweep.points import Point, Record, check_folder, count_of, points_of, status_of
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.work import (
    Options,
    Outcome,
    check_plans,
    check_plans_of_json,
    needs_pictures,
    refuse_while_loading,
    work,
    work_on_json,
)

# Seconds between two looks at the futures of an executor, and at points that other processes run.
_POLL, _IN_USE = 0.2, 2.0


@dataclass(frozen=True)
class _Task:
    """Points that train together, usually one."""

    points: tuple[Point, ...]

    @property
    def experiments(self) -> list[Experiment]:
        return [point.experiment for point in self.points]

    @property
    def workdirs(self) -> list[str]:
        return [str(point.workdir) for point in self.points]


def run(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    executor: Any = None,
    shard: str | None = None,
    vectorize: str | Sequence[str] | None = None,
    keep: Keep | None = None,
    plots: bool = False,
    config_file: str | Path | None = None,
    accept_changed_code: bool = False,
    verbose: bool = True,
) -> list[Record]:
    """Train every experiment in its own run folder within a folder, and return what became of each, in order.

    A point that is finished is not run again, wherever it was run; one that was stopped, by any means, is resumed; one
    that diverged stays as it is until its folder is deleted; one that failed is tried again. Neither of these stops the
    others. Points that another process runs are left to it; if that process ends without finishing them, this one does.
    In this process, points that differ only in numbers (see `jaxcnn.train`) share compiled programs.

    Args:
        experiments: experiments, for example from `grid` or `random`.
        folder: folder of the sweep, which gets a run folder for each point, named by what varies and the run id.
        executor: where points run: None: one after another in this process; `Processes(n)`; any
            `concurrent.futures.Executor` whose processes are not forked, dask's `client.get_executor()`; submitit's
            executors. Experiments travel as JSON, so the workers must find the same files. A worker that dies costs its
            point only; in a `ProcessPoolExecutor` it ends the whole pool, and the next call continues all its points.
            On a CPU, results may differ from those of this process by rounding (1e-5 of a loss), because each worker of
            `Processes` has its part of the cores, and the number of threads decides the order of sums.
        shard: run only the part `i/n` of the points, with i from 0; `slurm`: the part of this task of a job array.
            Groups that `vectorize` makes are not divided.
        vectorize: numbers by which points that are otherwise equal train together, as members of one vmapped program:
            any of seed, learning_rate, weight_decay, momentum, b1, b2, eps and clip_norm; auto: all of them, where
            measurements say that it is faster (`runs.members.worth_vectorizing`); None: points train alone. The
            `seconds` of a member are those of its whole group.
        keep: what finished points keep, as in `jaxcnn.train`, also those that ended in an earlier call, as far as they
            have it; None: the last checkpoint of points that end in this call, and the others stay as they are.
        plots: draw the pictures of finished points, also of those that ended in an earlier call.
        config_file: file that the experiments come from; every point keeps its text.
        accept_changed_code: as in `jaxcnn.train`.
        verbose: show the running points and a line for every one that ends.

    Raises:
        InputError: an argument does not fit, a network does not fit its data (with an executor of another kind than
            `Processes` that point fails instead), the folder holds another sweep, the data are missing, or the executor
            cannot start; points that run already are continued by the next call.
        Preempted: SIGTERM or Ctrl-C arrived; the state of the points that ran is saved. Jobs of dask and submitit are
            cancelled as these libraries do it, and continue from their newest checkpoints.
    """
    refuse_while_loading()
    folder = check_workdir(folder)
    if keep is not None:
        check_keep(keep)
    _check_executor(executor)
    every = points_of(experiments, folder)
    check_folder(folder, [point.experiment for point in every])
    groups((), vectorize)  # It raises before anything runs.
    platform = _platform(executor) if vectorize == "auto" else None
    points = share_of(every, shard, vectorize, platform)
    if not isinstance(config_file, str | os.PathLike | None):
        raise InputError(f"config_file is {config_file!r}; it must be the path of a file.")
    file = None if config_file is None else os.path.abspath(config_file)
    options = Options(keep, plots, file, accept_changed_code, tuple(command()))
    records = {point.workdir: record for point in points if (record := known(point, options)) is not None}
    waiting = [point for point in points if point.workdir not in records]
    _check_plans([point for point in waiting if status_of(point.workdir) != "finished"], executor)
    if waiting:
        check_writable(folder)
    _tidy(records, keep)
    signals = Signals()
    with View(folder, points, records, show=verbose) as view, signals.watch():
        while waiting:
            free, again = _split(waiting)
            tasks = [_Task(group) for group in groups(free, vectorize, platform)]
            answers = _here(tasks, options, signals) if executor is None else _there(tasks, options, executor, signals)
            with contextlib.closing(answers):  # It stops the tasks if an exception ends the loop.
                for point, outcome in answers:
                    if outcome.status == "no data":
                        raise MissingData(outcome.reason)
                    if outcome.status in ("in use", "stopped"):
                        again.append(point)
                    else:
                        records[point.workdir] = _record(point, outcome)
                        view.ended(records[point.workdir])
            if signals.received and len(records) < len(points):
                done = sum(record.status == "finished" for record in records.values())
                raise Preempted(f"stopped with {done} of {count_of(len(points))} finished; the same command continues")
            waiting = [point for point in again if not _ended_elsewhere(point, records, options, view)]
            if waiting:
                time.sleep(_IN_USE)
    return [records[point.workdir] for point in points]


def _tidy(records: Mapping[Path, Record], keep: Keep | None) -> None:
    """Remove what points that ended in an earlier call need no longer keep."""
    for workdir, record in records.items() if keep is not None else ():
        try:
            if record.results is not None:
                tidy(workdir, keep, record.results.steps)
        except OSError as error:
            raise InputError(f"keep is {keep}, but {workdir} cannot be changed: {error.strerror}.") from error


def _check_plans(points: Sequence[Point], executor: Any) -> None:
    """Check that every network fits its data, where that does not wait for a cluster."""
    first = {point.structure: point for point in reversed(points)}
    names, experiments = [p.name for p in first.values()], [p.experiment for p in first.values()]
    if executor is None:
        check_plans(names, experiments)
    elif isinstance(executor, Processes) and points:
        # This process does not ask for devices, because that would reserve the memory of a GPU.
        try:
            executor.submit(check_plans_of_json, names, [*map(to_json, experiments)]).result()
        except (BrokenProcessPool, RuntimeError) as error:
            raise _no_start(executor, _short(error)) from error


def _platform(executor: Any) -> str | None:
    """Return where points will train; None: in this process."""
    if executor is None:
        return None
    if isinstance(executor, Processes):
        return executor.submit(jax.default_backend).result()
    raise InputError(
        f"vectorize is auto, which must know where the points train, and executor {type(executor).__name__} does not "
        "say it; name numbers, for example vectorize='seed'."
    )


def _record(point: Point, outcome: Outcome) -> Record:
    return Record(point.experiment, str(point.workdir), outcome.status, outcome.results, outcome.reason)


def known(point: Point, options: Options) -> Record | None:
    """Return the record of a point that needs no training: it is finished or has diverged, or its folder cannot be
    used, for example because a file is damaged."""
    status = status_of(point.workdir)
    if status == "diverged":
        return _record(point, Outcome("diverged", reason=read_failure(point.workdir).reason))
    source = Source.of(point.experiment, None, None)
    try:
        if status == "new":
            read_record(point.workdir)
            return None
        results = finished(point.experiment, point.workdir, source, accept_changed_code=options.accept_changed_code)
    except InputError as error:
        return _record(point, Outcome("failed", reason=str(error)))
    if results is None or needs_pictures(point.workdir, options):
        return None
    return _record(point, Outcome("finished", results))


def _ended_elsewhere(point: Point, records: dict[Path, Record], options: Options, view: View) -> bool:
    """Note the record of a point that another process has ended in the meantime, and return whether it has."""
    record = known(point, options)
    if record is not None:
        records[point.workdir] = record
        view.ended(record)
    return record is not None


def _split(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Return the points that are free, and those that another process runs."""
    free, locked = [], []
    for point in points:
        (locked if is_locked(point.workdir) else free).append(point)
    return free, locked


def _here(tasks: Sequence[_Task], options: Options, signals: Signals) -> Generator[tuple[Point, Outcome], None, None]:
    """Train in this process, and yield what became of each point; stop after a signal."""
    for task in tasks:
        if signals.received:
            return
        yield from zip(task.points, work(task.experiments, task.workdirs, options), strict=True)


def _there(
    tasks: Sequence[_Task], options: Options, executor: Any, signals: Signals
) -> Generator[tuple[Point, Outcome], None, None]:
    """Train with an executor, and yield what became of each point as it ends; after a signal, stop the others."""
    running = _submit(tasks, options, executor)
    try:
        while running and not signals.received:
            left = []
            for task, future in running:
                if signals.received or not future.done():
                    left.append((task, future))
                else:
                    yield from zip(task.points, _outcomes(task, future, executor), strict=True)
            if len(left) == len(running):
                time.sleep(_POLL)
            running = left
    finally:
        _stop(executor, [future for _, future in running])


def _submit(tasks: Sequence[_Task], options: Options, executor: Any) -> list[tuple[_Task, Any]]:
    if not tasks:
        return []
    # Submitit makes one job array of what is submitted within `batch`.
    together = executor.batch() if hasattr(executor, "batch") else contextlib.nullcontext()
    futures: list[Any] = []
    try:
        with together:
            for task in tasks:
                experiments = [to_json(experiment) for experiment in task.experiments]
                futures.append(executor.submit(work_on_json, experiments, task.workdirs, options))
    except Exception as error:
        _stop(executor, futures)
        raise _no_start(executor, f"{type(error).__name__}: {_short(error)}") from error
    return [*zip(tasks, futures, strict=True)]


def _no_start(executor: Any, why: str) -> InputError:
    name = type(executor).__name__
    return InputError(f"executor {name} cannot start: {why}. Give another one, or None to run in this process.")


def _outcomes(task: _Task, future: Any, executor: Any) -> list[Outcome]:
    """Return what became of the points of a task that has ended, also if its worker has not answered."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        return future.result()
    if isinstance(error, CancelledError):
        why = "the executor cancelled it"
    elif isinstance(executor, Processes) and isinstance(error, BrokenProcessPool):
        why = f"its worker died ({error})"
    elif isinstance(error, BrokenExecutor):
        why = "a worker died, perhaps at another point, and the whole pool with it (unlike sweep.Processes)"
    else:
        why = f"its worker failed ({type(error).__name__}: {_short(error)})"
    return [Outcome("failed", reason=f"{why}; the same command continues it")] * len(task.points)


def _short(error: BaseException) -> str:
    """Return the message of an error on one line; those of submitit contain the worker's log."""
    return textwrap.shorten(str(error).strip() or "no message", 250).rstrip(".")


def _stop(executor: Any, futures: Sequence[Any]) -> None:
    """Cancel tasks and, as far as the executor can, stop those that run: they save their state."""
    running = [future for future in futures if not _cancelled(future)]
    while isinstance(executor, Processes | ProcessPoolExecutor) and running:
        # Again and again, because a worker may just have begun a task.
        _terminate(executor)
        running = [*wait(running, _IN_USE).not_done]


def _cancelled(future: Any) -> bool:
    with contextlib.suppress(Exception):
        return future.cancel()
    return False


def _terminate(executor: Processes | ProcessPoolExecutor) -> None:
    """Send SIGTERM to the workers."""
    if isinstance(executor, Processes):
        executor.interrupt()
        return
    for process in [*(executor._processes or {}).values()]:  # It has no public method for this before Python 3.14.
        process.terminate()


def _check_executor(executor: Any) -> None:
    if executor is None:
        return
    if not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"executor is {type(executor).__name__}, which has no method submit; give a concurrent.futures.Executor."
        )
    # A closed dask client accepts tasks and never runs them.
    if getattr(getattr(executor, "_client", None), "status", None) == "closed":
        raise _no_start(executor, "its client is closed")
    # JAX has threads, which a forked process lacks: it would hang.
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, ProcessPoolExecutor) and context is not None and context.get_start_method() == "fork":
        raise InputError(
            "executor forks its processes, which hang under JAX; make it with "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))."
        )
