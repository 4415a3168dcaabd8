"""The folder of a run: what it holds, whether it is this experiment's, whether it is finished."""

import hashlib
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.config import Experiment, differences, run_id, to_json
from jaxcnn.runs import checkpoint
from jaxcnn.runs.plan import Plan
from jaxcnn.runs.saved import Choice, load_saved, order, read_json
from jaxcnn.runtime.atomic import replacing, write_json
from jaxcnn.runtime.errors import InputError
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
    """

    init_from: str | None = None
    init_from_checkpoint: Choice | None = None
    init_from_digest: str | None = None
    arrays: str | None = None

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
        given = arrays if experiment.data.source == "arrays" else None
        digest = None if given is None else _arrays_digest(given)
        if init_from is None:
            if init_from_checkpoint != "last":
                raise InputError(f"init_from_checkpoint is {init_from_checkpoint!r}, but init_from names no run.")
            return Source(arrays=digest)
        if not str(init_from).strip():
            raise InputError("--init_from is empty; give the folder of a run, or leave the option out.")
        run = Path(init_from).resolve()
        weights = checkpoint.variables_digest(run / "checkpoints", order(run, init_from_checkpoint))
        return Source(str(run), init_from_checkpoint, weights, digest)


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
        raise InputError("--workdir is empty; give the folder of the run, for example --workdir=runs/a.")
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text):
        raise InputError(
            f"--workdir is {text}; {scheme[1]}: cannot be written to. Give a folder of a file system, then copy it."
        )
    return Path(workdir).absolute()


def finished(experiment: Experiment, workdir: Path, source: Source) -> Results | None:
    """The results in a folder, if this experiment is finished there; None if it is not.

    Raises:
        InputError: the folder holds another experiment, or this one with other weights or data to start from.
    """
    if not os.path.exists(workdir / "config.json"):
        return None
    saved = load_saved(workdir)
    lines = differences(saved, experiment)
    if [line.partition(":")[0] for line in lines] == ["epochs"]:
        raise InputError(
            f"{workdir} holds a run of {saved.epochs} epochs, not {experiment.epochs}; a run keeps its length, which "
            f"its schedule depends on. To train on from its weights, give a new workdir with init_from={workdir}."
        )
    if lines:
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        raise InputError(
            f"{workdir} holds another experiment; {'; '.join(lines[:3])}{more}. Give another --workdir; "
            f"--init_from={workdir} takes over its weights."
        )
    done = (workdir / "results.json").exists()
    _check_source(workdir, source, finished=done)
    if not done:
        return None
    found = read_json(workdir / "results.json")
    return Results(found["test"], found["steps"], found["seconds"], str(workdir), found.get("validation"))


def _check_source(workdir: Path, source: Source, *, finished: bool) -> None:
    """InputError unless the folder's run was started from the same weights and data.

    A run that is not finished goes on from its own checkpoint, so the run that it was started from may have trained on.
    """
    record = workdir / "provenance.json"
    saved = read_json(record) if os.path.exists(record) else {}
    same_folder = _resolved(saved.get("init_from")) == source.init_from
    # Records made before there was a choice are of the last checkpoint.
    choice = saved.get("init_from_checkpoint", saved.get("init_from") and "last")
    same_choice = same_folder and choice == source.init_from_checkpoint
    if "init_from" in saved and not same_init_from(saved, asdict(source)) and (finished or not same_choice):
        other = "whose weights were others" if same_folder else f"not {source.init_from}"
        if same_folder and not same_choice:
            other = f"checkpoint {choice}, not {source.init_from_checkpoint}"
        raise InputError(
            f"{workdir} was started with init_from {saved['init_from']}, {other}. Give the same or another --workdir."
        )
    # Records made before version 0.2 have no digest.
    if "arrays" in saved and saved["arrays"] != source.arrays:
        raise InputError(f"{workdir} was started with other arrays. Give those, or another --workdir.")


def same_init_from(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two records of provenance name the same weights to start from: those of one content, or of one folder
    where the content of one of them is not known."""
    digests = [record.get("init_from_digest") for record in (a, b)]
    if None not in digests:
        return digests[0] == digests[1]
    return _resolved(a.get("init_from")) == _resolved(b.get("init_from"))


def _resolved(folder: str | None) -> str | None:
    return folder and str(Path(folder).resolve())


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
    saved = len(checkpoint.steps(workdir / "checkpoints"))
    kept = min(3, saved)
    needed = (4 - kept) * size + 2**24
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(f"workdir {workdir}: {needed / 1e6:.0f} MB are needed there, {free / 1e6:.0f} MB are free.")
    made = None if there == workdir else there / workdir.relative_to(there).parts[0]
    experiment = plan.experiment
    # The settings that draw this run's numbers, whatever JAX's own are.
    random = {"implementation": IMPLEMENTATION, "partitionable": bool(jax.config.jax_threefry_partitionable)}
    record = provenance() | {"seed": experiment.seed, "run_id": run_id(experiment), "random": random, **asdict(source)}
    path = workdir / "provenance.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        earlier = read_json(path) if path.exists() else None
        moved = machine_differences(earlier, record) if earlier and saved else []
        if earlier and saved:
            # The run goes on from its own checkpoint; what it was started from has been recorded.
            record |= {key: earlier[key] for key in asdict(source) if key in earlier}
        if earlier:
            record["earlier"] = [*earlier.pop("earlier", []), earlier]
        write_json(path, record)
        write_json(workdir / "config.json", to_json(experiment))
        if config_text is not None:
            with replacing(workdir / "config.py") as draft:
                draft.write_bytes(config_text)
    except OSError as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise InputError(f"workdir {workdir} cannot be written: {error.strerror}. Give another --workdir.") from error
    if not moved:
        return None
    return f"this run went on before with {', '.join(moved)}: results are equal up to rounding, bits may differ"


def write_results(results: Results, experiment: Experiment) -> None:
    """Write results.json, which says that the run is finished."""
    values = {k: v for k, v in asdict(results).items() if k != "workdir" and v is not None}
    record = values | {"seed": experiment.seed, "run_id": run_id(experiment)}
    write_json(Path(results.workdir) / "results.json", record)
