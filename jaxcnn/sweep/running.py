"""Running the points of a sweep: here, in worker processes or on other machines."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.config import Experiment, to_json
from jaxcnn.data import MissingData
from jaxcnn.runs.hooks import Keep, check_keep
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Source, check_workdir, finished
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.groups import groups, structure_key
from jaxcnn.sweep.live import View
from jaxcnn.sweep.points import Point, Record, check_folder, points_of, read_failure, status_of
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.shards import share
from jaxcnn.sweep.work import Options, Outcome, check_plans, check_plans_of_json, work, work_on_json

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
    keep: Keep = "last",
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
            executors. Experiments travel as JSON, so the workers must find the same files.
        shard: run only the part `i/n` of the points, with i from 0; `slurm`: the part of this task of a job array.
        vectorize: numbers by which points that are otherwise equal train together, as members of one vmapped program:
            any of seed, learning_rate, weight_decay, momentum, b1, b2, eps and clip_norm; auto: all of them, where
            measurements say that it is faster (`runs.members.worth_vectorizing`); None: points train alone.
        keep: what finished points keep, as in `jaxcnn.train`.
        plots: draw the pictures of finished points.
        config_file: file that the experiments come from; every point keeps its text.
        accept_changed_code: as in `jaxcnn.train`.
        verbose: show the running points and a line for every one that ends.

    Raises:
        InputError: an argument does not fit, a network does not fit its data (with an executor of another kind than
            `Processes` that point fails instead), the folder holds another sweep, the data are missing, or the executor
            cannot start; points that run already are continued by the next call.
        Preempted: SIGTERM or Ctrl-C arrived; the state of the points that ran is saved.
    """
    folder = check_workdir(folder)
    check_keep(keep)
    _check_executor(executor)
    every = points_of(experiments, folder)
    check_folder(folder, [point.experiment for point in every])
    points = share(every, shard)
    options = Options(keep, plots, None if config_file is None else str(config_file), accept_changed_code)
    records = {point.workdir: record for point in points if (record := _known(point, options)) is not None}
    waiting = [point for point in points if point.workdir not in records]
    tasks = [_Task(group) for group in groups(waiting, vectorize)]
    _check_plans(waiting, executor)
    signals = Signals()
    with View(points, records, show=verbose) as view, signals.watch():
        while tasks:
            busy = []
            answers = _here(tasks, options, signals) if executor is None else _there(tasks, options, executor, signals)
            for task, outcomes in answers:
                for point, outcome in zip(task.points, outcomes, strict=True):
                    if outcome.status == "no data":
                        raise MissingData(outcome.reason)
                    if outcome.status == "in use":
                        busy.append(point)
                        continue
                    records[point.workdir] = _record(point, outcome)
                    view.ended(records[point.workdir])
            stopped = signals.received or any(record.status == "stopped" for record in records.values())
            if stopped:
                done = sum(record.status == "finished" for record in records.values())
                raise Preempted(f"stopped with {done} of {len(points)} points finished; the same command continues")
            tasks = [_Task((point,)) for point in busy if not _ended_elsewhere(point, records, options, view)]
            if tasks:
                time.sleep(_IN_USE)
    return [records[point.workdir] for point in points]


def _check_plans(points: Sequence[Point], executor: Any) -> None:
    """Check that every network fits its data, where that does not wait for a cluster."""
    first = {structure_key(point.experiment): point for point in reversed(points)}
    names, experiments = [p.name for p in first.values()], [p.experiment for p in first.values()]
    if executor is None:
        check_plans(names, experiments)
    elif isinstance(executor, Processes) and points:
        # This process does not ask for devices, because that would reserve the memory of a GPU.
        executor.submit(check_plans_of_json, names, [*map(to_json, experiments)]).result()


def _record(point: Point, outcome: Outcome) -> Record:
    return Record(point.experiment, str(point.workdir), outcome.status, outcome.results, outcome.reason)


def _known(point: Point, options: Options) -> Record | None:
    """Return the record of a point that needs no training: it is finished, or has diverged."""
    status = status_of(point.workdir)
    if status == "diverged":
        return _record(point, Outcome("diverged", reason=read_failure(point.workdir).reason))
    if status != "finished":
        return None
    source = Source.of(point.experiment, None, None)
    try:
        results = finished(point.experiment, point.workdir, source, accept_changed_code=options.accept_changed_code)
    except InputError as error:
        return _record(point, Outcome("failed", reason=str(error)))
    return _record(point, Outcome("finished", results))


def _ended_elsewhere(point: Point, records: dict[Path, Record], options: Options, view: View) -> bool:
    """Note the record of a point that another process has ended in the meantime, and return whether it has."""
    record = _known(point, options)
    if record is not None:
        records[point.workdir] = record
        view.ended(record)
    return record is not None


def _here(tasks: Sequence[_Task], options: Options, signals: Signals) -> Iterator[tuple[_Task, list[Outcome]]]:
    """Train in this process, and yield what became of each task; stop after a signal."""
    for task in tasks:
        if signals.received:
            return
        outcomes = work(task.experiments, task.workdirs, options)
        yield task, outcomes
        if any(outcome.status == "stopped" for outcome in outcomes):
            return


def _there(
    tasks: Sequence[_Task], options: Options, executor: Any, signals: Signals
) -> Iterator[tuple[_Task, list[Outcome]]]:
    """Train with an executor, and yield what became of each task as it ends; after a signal, cancel the rest."""
    futures = _submit(tasks, options, executor)
    stopping = False
    try:
        while futures:
            if signals.received and not stopping:
                stopping = True
                _cancel(executor, [future for _, future in futures])
            ended = [(task, future) for task, future in futures if future.done()]
            futures = [(task, future) for task, future in futures if (task, future) not in ended]
            for task, future in ended:
                yield task, _answer(task, future)
            if stopping and not isinstance(executor, Processes):
                return
            if not ended:
                time.sleep(_POLL)
    finally:
        if futures and not stopping:
            _cancel(executor, [future for _, future in futures])


def _submit(tasks: Sequence[_Task], options: Options, executor: Any) -> list[tuple[_Task, Any]]:
    # Submitit makes one job array of what is submitted within `batch`.
    together = executor.batch() if hasattr(executor, "batch") else contextlib.nullcontext()
    submit: Callable[..., Any] = executor.submit
    try:
        with together:
            return [
                (task, submit(work_on_json, [to_json(e) for e in task.experiments], task.workdirs, options))
                for task in tasks
            ]
    except InputError:
        raise
    except Exception as error:
        cause = (str(error).strip() or "no message").splitlines()[0]
        raise InputError(
            f"executor {type(executor).__name__} cannot start: {type(error).__name__}: {cause}. Nothing has run; give "
            "another executor, or None to run in this process."
        ) from error


def _answer(task: _Task, future: Any) -> list[Outcome]:
    """Return what became of a task; if its worker died, its points are continued by the next call."""
    try:
        return future.result()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        cause = (str(error).strip() or "no message").splitlines()[0]
        reason = f"its worker died ({type(error).__name__}: {cause}); the same command continues it"
        return [Outcome("failed", reason=reason)] * len(task.points)


def _cancel(executor: Any, futures: Sequence[Any]) -> None:
    for future in futures:
        with contextlib.suppress(Exception):
            future.cancel()
    if isinstance(executor, Processes):
        executor.interrupt()


def _check_executor(executor: Any) -> None:
    if executor is None:
        return
    if not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"executor is {type(executor).__name__}, which has no method submit; give a concurrent.futures.Executor."
        )
    # JAX has threads, which a forked process lacks: it would hang.
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, ProcessPoolExecutor) and context is not None and context.get_start_method() == "fork":
        raise InputError(
            "executor forks its processes, which hang under JAX; make it with "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))."
        )
