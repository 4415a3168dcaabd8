"""The folder of a run: its files, whether they belong to this experiment, and whether the run is finished."""

import glob
import hashlib
import math
import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.config import Experiment, code_of, differences, from_json, run_id, to_json
from jaxcnn.config.code import file_of, referred
from jaxcnn.config.serialization import data_file
from jaxcnn.runs import checkpoint as checkpoints
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.selection import Choice, order, select
from jaxcnn.runtime.atomic import replacing, write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.file_digest import file_digest
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.json_object import read_object
from jaxcnn.runtime.provenance import machine_differences, provenance
from jaxcnn.training.state import IMPLEMENTATION


@dataclass(frozen=True)
class Results:
    """The results of a finished run.

    Attributes:
        test: `accuracy`, `error`, `loss` and `n` on the test split, with the weights of the last step.
        steps: number of updates.
        seconds: time spent in the run, over all its launches; of runs that train together as one program, the time of
            the whole program.
        workdir: folder of the run.
        validation: like `test`, on the validation split; None if there is none.
        target: like `test`, on the target (`data.target`); None if there is none.
    """

    test: dict[str, float]
    steps: int
    seconds: float
    workdir: str
    validation: dict[str, float] | None = None
    target: dict[str, float] | None = None


@dataclass(frozen=True)
class Source:
    """Where a run's weights and data come from, besides its experiment.

    Attributes:
        init_from: absolute path of the run whose weights initialize the network, or None.
        init_from_checkpoint: which of its checkpoints, or None.
        init_from_digest: digest of those weights; None if there are none or they cannot be read.
        arrays: digest of images and labels in memory, or None.
        data_file: digest of the .npz file that `data.name` names, or None.
    """

    init_from: str | None = None
    init_from_checkpoint: Choice | None = None
    init_from_digest: str | None = None
    arrays: str | None = None
    data_file: str | None = None

    @staticmethod
    def of(
        experiment: Experiment,
        init_from: str | Path | None,
        arrays: Mapping[str, np.ndarray] | None,
        init_from_checkpoint: Choice = "last",
    ) -> "Source":
        """Return the source that the arguments of `jaxcnn.train` describe.

        Raises:
            InputError: `init_from` is empty, or `init_from_checkpoint` is not a valid choice or lacks `init_from`.
        """
        settings = experiment.data
        in_memory = arrays if settings.source == "arrays" else None
        file = data_file(settings) if in_memory is None else None
        data = {
            "arrays": None if in_memory is None else _arrays_digest(in_memory),
            "data_file": None if file is None else file_digest(file),
        }
        if init_from is None:
            if init_from_checkpoint != "last":
                raise InputError(
                    f"init_from_checkpoint is {init_from_checkpoint!r}, but init_from names no run; set both or none."
                )
            return Source(**data)
        if not str(init_from).strip():
            raise InputError("init_from is empty; give the folder of a run, or leave the option out.")
        run = Path(init_from).resolve()
        weights = checkpoints.variables_digest(run / "checkpoints", order(run, init_from_checkpoint))
        return Source(str(run), init_from_checkpoint, weights, **data)


def _arrays_digest(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_workdir(workdir: str | Path) -> Path:
    """Return the absolute path of a run's folder.

    Raises:
        InputError: the path is empty, or a URL.
    """
    if not isinstance(workdir, str | os.PathLike):
        raise InputError(f"workdir is {workdir!r}; it must be the path of a folder.")
    text = str(workdir)
    if not text.strip():
        raise InputError("workdir is empty; give the folder of the run, for example runs/a.")
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text):
        raise InputError(
            f"workdir is {text}; a {scheme[1]}: address cannot be written. Give a folder of a file system and copy it."
        )
    return Path(os.path.expanduser(workdir)).absolute()


def finished(
    experiment: Experiment, workdir: Path, source: Source, *, accept_changed_code: bool = False
) -> Results | None:
    """Return the results in a folder if this experiment is finished there; None if it is not.

    Args:
        experiment: experiment to run in the folder.
        workdir: the folder.
        source: source of its weights and data.
        accept_changed_code: whether the code of the experiment's classes may differ from the code that was trained.

    Raises:
        InputError: the folder holds several runs or another experiment, or this one with other code, other initial
            weights or other data.
    """
    if not os.path.exists(workdir / "config.json"):
        if inner := glob.glob("*/config.json", root_dir=workdir):
            raise InputError(
                f"{workdir} holds other runs, for example {os.path.dirname(min(inner))}. Give the run another workdir, "
                "or, to continue a sweep, its --grid or --sweep."
            )
        return None
    saved, record = load_saved(workdir), read_record(workdir)
    lines = [line for line in differences(saved, experiment) if not line.startswith("code.")]
    if None not in (before := record.get("data_file"), source.data_file):
        # A file is identified by its content, not by its path.
        lines = [line for line in lines if not line.startswith("data.name:")]
        if before != source.data_file:
            lines.append(f"data.name: {experiment.data.name} differs from the file that was trained on")
    if [line.partition(":")[0] for line in lines] == ["epochs"]:
        raise InputError(
            f"{workdir} holds a run of {saved.epochs} epochs, not {experiment.epochs}; the length of a run is fixed, "
            f"because its schedule depends on it. To train further, give a new workdir with init_from={workdir}."
        )
    if lines:
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        raise InputError(
            f"{workdir} holds another experiment; {'; '.join(lines[:3])}{more}. Give another workdir; "
            f"init_from={workdir} initializes it from the weights of this one."
        )
    # Records from before version 0.2 do not contain the code.
    changed = _changed(record.get("code") or code_of(saved), experiment)
    if changed and not accept_changed_code:
        raise InputError(
            f"{workdir} was trained with other code: {changed} has changed. Undo the change or give another workdir; "
            "accept_changed_code=True (--accept_changed_code for launch.py) continues with the changed code."
        )
    done = (workdir / "results.json").exists()
    _check_source(record, workdir, source, finished=done)
    if not done:
        return None
    found = read_results(workdir)
    further = (found.get("validation"), found.get("target"))
    return Results(found["test"], found["steps"], found["seconds"], str(workdir), *further)


def _changed(code: Mapping[str, str], experiment: Experiment) -> str:
    """Return the names and files of an experiment's classes and functions whose code differs from a record, as text."""
    now = code_of(experiment)
    names = {name for name in now if code.get(name, now[name]) != now[name]}
    things = {
        f"{thing.__qualname__} ({file_of(thing)})" for thing in referred(experiment) if thing.__qualname__ in names
    }
    return ", ".join(sorted(things))


def read_results(workdir: Path) -> dict[str, Any]:
    """Return the contents of results.json.

    Raises:
        InputError: the file does not exist or is damaged.
    """
    path = workdir / "results.json"
    found = read_object(path, "test", "steps", "seconds")
    splits = [found[name] for name in ("test", "validation", "target") if name in found]
    numbers = [
        found["steps"],
        found["seconds"],
        *(x for each in splits if isinstance(each, dict) for x in each.values()),
    ]
    if not all(isinstance(each, dict) for each in splits) or not all(map(_is_finite, numbers)):
        raise InputError(f"{path} is damaged (it lacks numbers); delete it to continue.")
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_record(workdir: Path) -> dict[str, Any]:
    """Return the contents of provenance.json; empty if there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = workdir / "provenance.json"
    record = read_object(path) if os.path.exists(path) else {}
    for name, kind in (("code", Mapping), ("workdir", str), ("init_from", str | None)):
        if name in record and not isinstance(record[name], kind):
            raise InputError(f"{path} is damaged (its {name} is {record[name]!r}); delete it to continue.")
    return record


def _check_source(saved: Mapping[str, Any], workdir: Path, source: Source, *, finished: bool) -> None:
    """Raise InputError unless the folder's run was started from the same weights and data.

    An unfinished run continues from its own checkpoint, so the run that initialized it may have been trained further.
    """
    same_folder = _resolved(saved.get("init_from")) == source.init_from
    # Records without a choice refer to the last checkpoint.
    choice = saved.get("init_from_checkpoint", saved.get("init_from") and "last")
    same_choice = same_folder and choice == source.init_from_checkpoint
    if "init_from" in saved and not same_init_from(saved, asdict(source)) and (finished or not same_choice):
        other = "whose weights have changed" if same_folder else f"not {source.init_from or 'without it'}"
        if same_folder and not same_choice:
            other = f"checkpoint {choice}, not {source.init_from_checkpoint}"
        raise InputError(
            f"{workdir} was started with init_from {saved['init_from']}, {other}. Give the same one or another workdir."
        )
    # Records from before version 0.2 have no digest.
    if "arrays" in saved and saved["arrays"] != source.arrays:
        raise InputError(f"{workdir} was started with other arrays. Give the same arrays, or another workdir.")


def same_init_from(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two provenance records name the same initial weights: with the same content or, if the content of
    one of them is unknown, from the same folder."""
    digests = [record.get("init_from_digest") for record in (a, b)]
    if None not in digests:
        return digests[0] == digests[1]
    return _resolved(a.get("init_from")) == _resolved(b.get("init_from"))


def _resolved(folder: str | None) -> str | None:
    return folder and str(Path(folder).resolve())


def load_saved(run: str | Path) -> Experiment:
    """Load the experiment from a run's config.json.

    Its classes come from the files that defined them, either moved together with the run or at their original place. If
    such a file has changed or is missing, the run's copy of its config file, `config.py`, is used instead, provided
    that it has the code that was trained.

    Raises:
        InputError: the folder is not a run folder, or a class cannot be found.
    """
    if not isinstance(run, str | os.PathLike) or not str(run).strip():
        raise InputError(f"run is {run!r}; it must be the folder of a run.")
    folder = Path(run).absolute()
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run folder: it has no config.json. Give the workdir of a run.")
    tree, record = read_object(path, "model", "data"), read_record(folder)
    candidates = [(tree, folder), (tree, Path(record.get("workdir", folder))), (_from_own_copy(tree), folder)]
    found, failures = [], []
    for saved, place in candidates:
        try:
            experiment = from_json(saved, folder=place)
        except InputError as error:
            failures.append(error)
            continue
        if not _changed(record.get("code", {}), experiment):
            return experiment
        found.append(experiment)
    if not found:
        raise failures[0]
    return found[0]


def _from_own_copy(tree: Any) -> Any:
    """Return a saved experiment in which classes from any file refer to the run's copy of its config file."""
    if isinstance(tree, list):
        return [_from_own_copy(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: re.sub(r"^.*\.py:", "config.py:", value) if key in ("class", "import") else _from_own_copy(value)
        for key, value in tree.items()
    }


@fixed_settings()
def restore(run: str | Path, *, checkpoint: Choice = "last") -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a run and its weights, for `model.apply(variables, x, train=False)`.

    Warn if the network's code has changed since the run and the run has no copy of it, or if an older checkpoint is
    read because newer ones are damaged.

    Args:
        run: folder of the run.
        checkpoint: `last`, `best` or a step. Without a validation split the best checkpoint is selected on the test
            split, so its test error is biased low.

    Raises:
        InputError: the folder is not a run folder, or the checkpoint does not exist or cannot be read.
    """
    experiment = load_saved(run)
    if text := other_code(run, experiment):
        warnings.warn(text, stacklevel=3)
    selection = select(run, checkpoint)
    if selection.damaged:
        warnings.warn(f"{run}: the weights are those of {selection}", stacklevel=3)
    return experiment.model, selection.variables


def other_code(run: str | Path, experiment: Experiment) -> str | None:
    """Return a line that names the code of an experiment that has changed since the run; None if none has."""
    changed = _changed(read_record(Path(run)).get("code", {}), experiment)
    return f"{run} was trained with other code: {changed} has changed" if changed else None


def check_space(plan: Plan, workdirs: Sequence[Path]) -> None:
    """Raise InputError if the disk has too little space for runs of this structure in these folders."""
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(plan.state))
    # Three checkpoints are kept, some of which may already exist, and one more is being written.
    kept = sum(min(3, len(checkpoints.steps(workdir / "checkpoints"))) for workdir in workdirs)
    needed = (4 * len(workdirs) - kept) * size + 2**24
    free = shutil.disk_usage(_existing(workdirs[0])).free
    if free < needed:
        others = f" and {len(workdirs) - 1} others need" if len(workdirs) > 1 else " needs"
        raise InputError(
            f"workdir {workdirs[0]}{others} {needed / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free. Free disk space "
            "or give another workdir."
        )


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(p for p in (folder, *folder.parents) if os.path.exists(p))


def open_workdir(
    plan: Plan,
    workdir: Path,
    source: Source,
    config_text: bytes | None = None,
    *,
    launch: Mapping[str, Any] | None = None,
    members: Sequence[str] = (),
) -> str | None:
    """Create the folder and write the experiment and its provenance.

    Args:
        plan: plan of the run.
        workdir: folder of the run.
        source: source of its weights and data.
        config_text: text of the config file, kept as `config.py`.
        launch: `provenance()` of this launch, if it has been called already.
        members: run ids of the runs, this one included, that train together as one program; none if it trains alone.

    Returns:
        A line that says how the machine differs from that of the previous launch; None if it does not, or if this is
        the first launch.

    Raises:
        InputError: the folder cannot be written; nothing has been written.
    """
    existing, saved = _existing(workdir), checkpoints.steps(workdir / "checkpoints")
    created = None if existing == workdir else existing / workdir.relative_to(existing).parts[0]
    experiment = plan.experiment
    # Settings of this run's random numbers, independent of JAX's own settings.
    random = {"implementation": IMPLEMENTATION, "partitionable": bool(jax.config.jax_threefry_partitionable)}
    record = (launch or provenance()) | {
        "seed": experiment.seed,
        "run_id": run_id(experiment),
        "random": random,
        "code": code_of(experiment),
        "workdir": str(workdir),
        **asdict(source),
    }
    if members:
        record |= {"members": [*members], "member": [*members].index(record["run_id"])}
    path = workdir / "provenance.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        earlier = read_object(path) if path.exists() else None
        changes = machine_differences(earlier, record) if earlier and saved else []
        if earlier and saved:
            # The run continues from its own checkpoint; the source of its first launch stays recorded.
            record |= {key: earlier[key] for key in asdict(source) if key in earlier}
        if earlier:
            record["earlier"] = [*earlier.pop("earlier", []), earlier]
        write_json(path, record)
        write_json(workdir / "config.json", to_json(experiment, folder=workdir))
        if config_text is not None:
            with replacing(workdir / "config.py") as draft:
                draft.write_bytes(config_text)
    except OSError as error:
        if created is not None:
            shutil.rmtree(created, ignore_errors=True)
        raise InputError(f"workdir {workdir} cannot be written: {error.strerror}. Give another workdir.") from error
    if not changes:
        return None
    return f"the machine has changed ({', '.join(changes)}): results are equal up to rounding, but bits may differ"


def write_results(results: Results, experiment: Experiment) -> None:
    """Write results.json, which marks the run as finished."""
    values = {k: v for k, v in asdict(results).items() if k != "workdir" and v is not None}
    record = values | {"seed": experiment.seed, "run_id": run_id(experiment)}
    write_json(Path(results.workdir) / "results.json", record)
