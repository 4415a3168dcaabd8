"""The folder of a run: what it holds, whether it is this experiment's, whether it is finished."""

import hashlib
import math
import os
import re
import shutil
import warnings
from collections.abc import Mapping
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
    """What a finished run found.

    Attributes:
        test: `accuracy`, `error`, `loss` and `n` on the test part, with the weights of the last step.
        steps: updates done.
        seconds: spent in the run, over all its launches.
        workdir: its folder.
        validation: as `test` on the validation part, if there is one.
    """

    test: dict[str, float]
    steps: int
    seconds: float
    workdir: str
    validation: dict[str, float] | None = None


@dataclass(frozen=True)
class Source:
    """Where a run's weights and data come from, besides its experiment.

    Attributes:
        init_from: absolute path of the run whose weights it started from, or None.
        init_from_checkpoint: which checkpoint of it, or None.
        init_from_digest: digest of those weights; None where there are none or they cannot be read.
        arrays: digest of images and labels given in memory, or None.
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
        """The source that `jaxcnn.train` is given.

        Raises:
            InputError: `init_from` is empty, or `init_from_checkpoint` names no checkpoint or is given alone.
        """
        settings = experiment.data
        given = arrays if settings.source == "arrays" else None
        file = data_file(settings) if given is None else None
        data = {
            "arrays": None if given is None else _arrays_digest(given),
            "data_file": None if file is None else file_digest(file),
        }
        if init_from is None:
            if init_from_checkpoint != "last":
                raise InputError(f"init_from_checkpoint is {init_from_checkpoint!r}, but init_from names no run.")
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
    """The absolute path of a run's folder.

    Raises:
        InputError: it is empty, or an address that a file system does not have.
    """
    text = str(workdir)
    if not text.strip():
        raise InputError("workdir is empty; give the folder of the run, for example runs/a.")
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text):
        raise InputError(
            f"workdir is {text}; {scheme[1]}: cannot be written to. Give a folder of a file system, then copy it."
        )
    return Path(workdir).absolute()


def finished(
    experiment: Experiment, workdir: Path, source: Source, *, accept_changed_code: bool = False
) -> Results | None:
    """The results in a folder, if this experiment is finished there; None if it is not.

    Args:
        experiment: to be run there.
        workdir: the folder.
        source: of its weights and data.
        accept_changed_code: whether the experiment's classes may differ from those that were trained.

    Raises:
        InputError: the folder holds another experiment, or this one with other code, or other weights or data to start
            from.
    """
    if not os.path.exists(workdir / "config.json"):
        return None
    saved, record = load_saved(workdir), read_record(workdir)
    lines = [line for line in differences(saved, experiment) if not line.startswith("code.")]
    if None not in (before := record.get("data_file"), source.data_file):
        # A file is its content, wherever it lies.
        lines = [line for line in lines if not line.startswith("data.name:")]
        if before != source.data_file:
            lines.append(f"data.name: the content of {experiment.data.name} is not what was trained on")
    if [line.partition(":")[0] for line in lines] == ["epochs"]:
        raise InputError(
            f"{workdir} holds a run of {saved.epochs} epochs, not {experiment.epochs}; a run keeps its length, which "
            f"its schedule depends on. To train on from its weights, give a new workdir with init_from={workdir}."
        )
    if lines:
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        raise InputError(
            f"{workdir} holds another experiment; {'; '.join(lines[:3])}{more}. Give another workdir; "
            f"init_from={workdir} takes over its weights."
        )
    # Records made before version 0.2 say nothing of code.
    changed = _changed(record.get("code") or code_of(saved), experiment)
    if changed and not accept_changed_code:
        raise InputError(
            f"{workdir} was trained with other code: {changed} has changed. Undo the change or give another workdir; "
            "accept_changed_code=True (--accept_changed_code for launch.py) goes on with the changed code."
        )
    done = (workdir / "results.json").exists()
    _check_source(record, workdir, source, finished=done)
    if not done:
        return None
    found = read_object(workdir / "results.json", "test", "steps", "seconds")
    return Results(found["test"], found["steps"], found["seconds"], str(workdir), found.get("validation"))


def _changed(code: Mapping[str, str], experiment: Experiment) -> str:
    """The classes and functions of an experiment whose code differs from a record of it, with their files, as text."""
    now = code_of(experiment)
    names = {name for name in now if code.get(name, now[name]) != now[name]}
    things = {
        f"{thing.__qualname__} ({file_of(thing)})" for thing in referred(experiment) if thing.__qualname__ in names
    }
    return ", ".join(sorted(things))


def read_record(workdir: Path) -> dict[str, Any]:
    """What provenance.json says; nothing where there is none."""
    path = workdir / "provenance.json"
    return read_object(path) if os.path.exists(path) else {}


def _check_source(saved: Mapping[str, Any], workdir: Path, source: Source, *, finished: bool) -> None:
    """InputError unless the folder's run was started from the same weights and data.

    A run that is not finished goes on from its own checkpoint, so the run that it was started from may have trained on.
    """
    same_folder = _resolved(saved.get("init_from")) == source.init_from
    # Records made before there was a choice are of the last checkpoint.
    choice = saved.get("init_from_checkpoint", saved.get("init_from") and "last")
    same_choice = same_folder and choice == source.init_from_checkpoint
    if "init_from" in saved and not same_init_from(saved, asdict(source)) and (finished or not same_choice):
        other = "whose weights were others" if same_folder else f"not {source.init_from}"
        if same_folder and not same_choice:
            other = f"checkpoint {choice}, not {source.init_from_checkpoint}"
        raise InputError(
            f"{workdir} was started with init_from {saved['init_from']}, {other}. Give the same or another workdir."
        )
    # Records made before version 0.2 have no digest.
    if "arrays" in saved and saved["arrays"] != source.arrays:
        raise InputError(f"{workdir} was started with other arrays. Give those, or another workdir.")


def same_init_from(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two records of provenance name the same weights to start from: those of one content, or of one folder
    where the content of one of them is not known."""
    digests = [record.get("init_from_digest") for record in (a, b)]
    if None not in digests:
        return digests[0] == digests[1]
    return _resolved(a.get("init_from")) == _resolved(b.get("init_from"))


def _resolved(folder: str | None) -> str | None:
    return folder and str(Path(folder).resolve())


def load_saved(run: str | Path) -> Experiment:
    """The experiment in a run's config.json.

    Its classes come from the files that defined them, which may have moved together with the run, or lie where they
    were when the run was trained. Where such a file has changed or is gone, the run's own copy of its config file,
    `config.py`, takes its place if that has the code that was trained.

    Raises:
        InputError: the folder holds no run, or a class cannot be found.
    """
    folder = Path(run).absolute()
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{run} holds no run: it has no config.json. Give the workdir of a launch.")
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
    """A saved experiment whose classes from a file are sought in the run's copy of its config file."""
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
    """The network of a run and its weights: `model.apply(variables, x, train=False)`.

    It warns if the network's code has changed since the run and the run has no copy of it, or if an older checkpoint is
    read because newer ones are damaged.

    Args:
        run: its folder.
        checkpoint: `last`, `best` or a step. Without a validation part the best checkpoint is chosen by the test part,
            on which its error is then biased low.

    Raises:
        InputError: the folder holds no run, or not that checkpoint, or it cannot be read.
    """
    experiment = load_saved(run)
    if text := other_code(run, experiment):
        warnings.warn(text, stacklevel=3)
    selection = select(run, checkpoint)
    if selection.damaged:
        warnings.warn(f"{run}: the weights are those of {selection}", stacklevel=3)
    return experiment.model, selection.variables


def other_code(run: str | Path, experiment: Experiment) -> str | None:
    """A line that says which code of an experiment is not what the run was trained with; None where all is."""
    changed = _changed(read_record(Path(run)).get("code", {}), experiment)
    return f"{run} was trained with other code: {changed} has changed" if changed else None


def open_workdir(plan: Plan, workdir: Path, source: Source, config_text: bytes | None = None) -> str | None:
    """Make the folder and write what is known before the first step.

    Args:
        plan: of the run.
        workdir: its folder.
        source: where its weights and data come from.
        config_text: the config file's, kept as `config.py`.

    Returns:
        A line that says how the machine differs from that of the launch before; None where it does not, or the run
        begins.

    Raises:
        InputError: the folder cannot be written, or the disk is too full; nothing has been written.
    """
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(plan.state))
    there = next(p for p in (workdir, *workdir.parents) if os.path.exists(p))
    # Three checkpoints are kept, of which some may be there already, and one more is being written.
    saved = len(checkpoints.steps(workdir / "checkpoints"))
    kept = min(3, saved)
    needed = (4 - kept) * size + 2**24
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(f"workdir {workdir}: {needed / 1e6:.0f} MB are needed there, {free / 1e6:.0f} MB are free.")
    made = None if there == workdir else there / workdir.relative_to(there).parts[0]
    experiment = plan.experiment
    # The settings that draw this run's numbers, whatever JAX's own are.
    random = {"implementation": IMPLEMENTATION, "partitionable": bool(jax.config.jax_threefry_partitionable)}
    record = provenance() | {
        "seed": experiment.seed,
        "run_id": run_id(experiment),
        "random": random,
        "code": code_of(experiment),
        "workdir": str(workdir),
        **asdict(source),
    }
    path = workdir / "provenance.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        earlier = read_object(path) if path.exists() else None
        moved = machine_differences(earlier, record) if earlier and saved else []
        if earlier and saved:
            # The run goes on from its own checkpoint; what it was started from has been recorded.
            record |= {key: earlier[key] for key in asdict(source) if key in earlier}
        if earlier:
            record["earlier"] = [*earlier.pop("earlier", []), earlier]
        write_json(path, record)
        write_json(workdir / "config.json", to_json(experiment, folder=workdir))
        if config_text is not None:
            with replacing(workdir / "config.py") as draft:
                draft.write_bytes(config_text)
    except OSError as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise InputError(f"workdir {workdir} cannot be written: {error.strerror}. Give another workdir.") from error
    if not moved:
        return None
    return f"this run went on before with {', '.join(moved)}: results are equal up to rounding, bits may differ"


def write_results(results: Results, experiment: Experiment) -> None:
    """Write results.json, which says that the run is finished."""
    values = {k: v for k, v in asdict(results).items() if k != "workdir" and v is not None}
    record = values | {"seed": experiment.seed, "run_id": run_id(experiment)}
    write_json(Path(results.workdir) / "results.json", record)
