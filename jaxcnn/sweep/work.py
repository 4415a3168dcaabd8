"""The work of one task of a sweep, in this process or in a worker."""

import contextvars
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxcnn.config import Experiment, from_json, run_id
from jaxcnn.data import MissingData
from jaxcnn.runs.checkpoint import RestoreError, SaveError
from jaxcnn.runs.failure import Failure, read_failure, write_failure
from jaxcnn.runs.hooks import Keep
from jaxcnn.runs.launch import train
from jaxcnn.runs.members import train_members
from jaxcnn.runs.pictures import draw_pictures
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.saves import tidy
from jaxcnn.runs.signals import Preempted
from jaxcnn.runs.workdir import Results
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.lock import InUse
from jaxcnn.runtime.provenance import commanded_by
from jaxcnn.training.non_finite import NonFinite


@dataclass(frozen=True)
class Options:
    """Options of `sweep.run` that every run receives, and the command line of the sweep for their provenance."""

    keep: Keep | None = None
    plots: bool = False
    config_file: str | None = None
    accept_changed_code: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a point, as in `Record`.

    Attributes:
        status: as in `Record`; stopped: after a signal, with its state saved; in use: another process runs the point;
            no data: its data are missing.
        results, reason: as in `Record`.
    """

    status: Literal["finished", "diverged", "failed", "stopped", "in use", "no data"]
    results: Results | None = None
    reason: str | None = None


_loading = contextvars.ContextVar("loading", default=False)


def refuse_while_loading() -> None:
    """Raise InputError if a worker is loading its experiments: it would start the sweep again."""
    if _loading.get():
        raise InputError(
            "this file defines parts of the experiment, so workers import it; start its sweep under "
            'if __name__ == "__main__":.'
        )


def _loaded(experiments: Sequence[Mapping[str, Any]]) -> list[Experiment]:
    token = _loading.set(True)
    try:
        return [from_json(experiment) for experiment in experiments]
    finally:
        _loading.reset(token)


def check_plans_of_json(names: Sequence[str], experiments: Sequence[Mapping[str, Any]]) -> None:
    """Check the plans in a worker, as `check_plans` does."""
    check_plans(names, _loaded(experiments))


@fixed_settings()
def check_plans(names: Sequence[str], experiments: Sequence[Experiment]) -> None:
    """Check that every network fits its data.

    Raises:
        InputError: one does not; the message begins with its name.
        MissingData: the data are missing.
    """
    for name, experiment in zip(names, experiments, strict=True):
        try:
            make_plan(experiment)
        except MissingData:
            raise
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception:
            # The point fails for itself when it runs, and its record says where.
            continue


def work_on_json(experiments: Sequence[Mapping[str, Any]], workdirs: Sequence[str], options: Options) -> list[Outcome]:
    """Train in a worker, which receives its experiments as JSON, as `work` does.

    The points fail if the worker finds other code or other data than the process that started the sweep, for example
    because a file was edited while the task waited.
    """
    try:
        loaded = _loaded(experiments)
    except InputError as error:
        return [Outcome("failed", reason=f"the worker cannot load the experiment: {error}")] * len(experiments)
    if not all(workdir.endswith(f"-{run_id(each)}") for each, workdir in zip(loaded, workdirs, strict=True)):
        reason = "its code, its data or jaxcnn's version differ between the worker and the process that began the sweep"
        return [Outcome("failed", reason=reason)] * len(experiments)
    with commanded_by(options.command):
        return work(loaded, workdirs, options)


def _same_again(*arguments: Any) -> Any:
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(work_on_json, *arguments)


# Submitit calls it before a job reaches its time limit or is preempted, and puts the job into the queue again, where it
# continues from its newest checkpoint.
work_on_json.checkpoint = _same_again


def work(experiments: Sequence[Experiment], workdirs: Sequence[str], options: Options) -> list[Outcome]:
    """Train one experiment, or several as members of one program, and return what became of each.

    A point that diverged or failed gets a file failure.json, unless it failed before it had a folder.
    """
    if len(workdirs) == 1 and (failure := read_failure(Path(workdirs[0]))) and failure.kind == "diverged":
        # Another process has run it in the meantime.
        return [Outcome("diverged", reason=failure.reason)]
    for workdir in map(Path, workdirs):
        if (failure := read_failure(workdir)) and failure.kind == "failed":
            (workdir / "failure.json").unlink()
    settings = {
        "keep": options.keep or "last",
        "config_file": options.config_file,
        "accept_changed_code": options.accept_changed_code,
        "verbose": False,
    }
    try:
        if len(experiments) == 1:
            answers = [train(experiments[0], workdirs[0], **settings)]
        else:
            answers = train_members(experiments, workdirs, **settings)
    except NonFinite as error:
        answers = [error]
    except Preempted as error:
        return [Outcome("stopped", reason=str(error))] * len(experiments)
    except InUse as error:
        return [Outcome("in use", reason=str(error))] * len(experiments)
    except MissingData as error:
        return [Outcome("no data", reason=str(error))] * len(experiments)
    except (InputError, SaveError, RestoreError) as error:
        return [_failed(workdir, str(error)) for workdir in workdirs]
    except Exception as error:
        where = traceback.format_exc()
        return [_failed(workdir, _line(error), where) for workdir in workdirs]
    return [_outcome(answer, workdir, options) for answer, workdir in zip(answers, workdirs, strict=True)]


def _outcome(answer: Results | NonFinite, workdir: str, options: Options) -> Outcome:
    if isinstance(answer, NonFinite):
        write_failure(Path(workdir), Failure("diverged", str(answer)))
        return Outcome("diverged", reason=str(answer))
    if needs_pictures(Path(workdir), options):
        _draw(workdir)
    if options.keep is not None:
        # A run that ended in an earlier call may have kept more.
        tidy(Path(workdir), options.keep, answer.steps)
    return Outcome("finished", answer)


def needs_pictures(workdir: Path, options: Options) -> bool:
    """Return whether a finished point lacks the pictures that it should have; a run that keeps all draws its own."""
    return (options.plots or options.keep == "all") and not (workdir / "learning_curves.png").exists()


def _draw(workdir: str) -> None:
    """Draw the pictures of a finished point; one that cannot be drawn does not change what became of it."""
    try:
        draw_pictures(workdir)
    except Exception as error:
        warnings.warn(f"{workdir}: pictures could not be drawn: {_line(error)}", stacklevel=2)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _failed(workdir: str, reason: str, where: str | None = None) -> Outcome:
    if (Path(workdir) / "config.json").exists():
        write_failure(Path(workdir), Failure("failed", reason, where))
    return Outcome("failed", reason=reason)
