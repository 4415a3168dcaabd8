"""The command `python -m jaxcnn bench`."""

import functools
import importlib.metadata
import itertools
import json
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.status import Status

from jaxcnn.bench.cases import CASES, Case, Mode, named
from jaxcnn.bench.chart import speed_chart
from jaxcnn.bench.comparison import compare
from jaxcnn.bench.corruptions import Corruptions
from jaxcnn.bench.launching import ROOT, time_launches
from jaxcnn.bench.pipeline import Pipeline
from jaxcnn.bench.probed import Probed
from jaxcnn.bench.process import WorkerError, usable_cpus, working
from jaxcnn.bench.tables import NAMES, Record, failures, grids, machine, markdown, step_name
from jaxcnn.cli.report import marked, update_tables
from jaxcnn.describe.tables import print_table
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.provenance import software

What = Literal["steps", "launch", "pipeline", "probes", "corruptions"]
Peer = Literal["flax", "torch"]

LAUNCHES = ("lenet5_digits", "vgg_a_cifar10")
"""Experiments of configs/ whose launches are timed."""

PIPELINES = ("lenet5_mnist", "vgg_a_cifar10")
"""Experiments of configs/ whose input pipelines are timed."""

PROBED = (CASES["lenet5"], replace(CASES["vgg_d_bn_32"], batch_size=32))
"""Networks whose steps are timed with and without the probes of their layers."""

CORRUPTED = (28, 28, 1)
"""Height, width and channels of the images whose corruptions are timed: those of MNIST."""

_CORRUPTED_BATCH = 256


def bench(
    cases: Sequence[str] = (),
    *,
    what: Sequence[What] = ("steps",),
    mode: Sequence[Mode] = ("train", "forward"),
    dtype: Sequence[Literal["float32", "bfloat16"]] = ("float32",),
    batch_size: int | None = None,
    peer: Sequence[Peer] = (),
    seconds: float = 20.0,
    threads: int | None = None,
    format: Literal["text", "markdown", "json"] = "text",
    output: str | Path | None = None,
    readme: str | Path | None = None,
) -> Record:
    """Run a benchmark, print the results and write them to files.

    Args:
        cases: names of `cases.CASES` or of the zoo; if empty, all of `CASES`.
        what: what to measure: steps of networks, launches of `LAUNCHES`, the input pipelines of `PIPELINES`, the
            probes of `PROBED`, or corruptions of images against their plain form.
        mode, dtype: modes and dtypes of the steps.
        batch_size: images per step; None: the batch size of the case, and 256 for corruptions.
        peer: libraries to compare with.
        seconds: measured time per library and case.
        threads: CPUs per process; None: all that this process may use.
        format: format of the printed results.
        output: .json file to write; if there is a peer, a chart is written beside it.
        readme: Markdown file whose tables are made from the files in the folder of `output`.

    Returns:
        `provenance`, and under `steps`, `launch`, `pipeline`, `probes` and `corruptions` the results of `compare`,
        `time_launches` and the `measure` of `pipeline`, `probed` and `corruptions`, or an `error`.

    Raises:
        InputError: an argument does not fit, and nothing has been measured; or `output` or `readme` cannot be written,
            and the results have been printed.
    """
    chosen = [named(name) for name in cases or CASES]
    threads = _checked(what, peer, threads, seconds, batch_size, output, readme)
    if batch_size:
        chosen = [replace(case, batch_size=batch_size) for case in chosen]
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    record: Record = {"provenance": _provenance(peer, threads, seconds)}
    record |= {"steps": [], "launch": [], "pipeline": [], "probes": [], "corruptions": []}
    with console.status("") as status:
        for case, way, kind in itertools.product(chosen if "steps" in what else (), mode, dtype):
            step = replace(case, model=case.model.clone(dtype=kind))
            report = functools.partial(_show_status, status, f"{case.name} {way} {kind}")
            found = compare(step, way, ("jaxcnn", *peer), seconds=seconds, threads=threads, report=report)
            record["steps"].append(found)
            times = (f"{NAMES[name]} {v['milliseconds']:,.1f} ms" for name, v in found["variants"].items())
            console.print(f"{step_name(found)}: {', '.join(times)}")
        for config in LAUNCHES if "launch" in what else ():
            _show_status(status, "launch", config)
            record["launch"].append(_measured(config, lambda path: time_launches(path, threads)))
        for config in PIPELINES if "pipeline" in what else ():
            _show_status(status, "pipeline", config)
            record["pipeline"].append(_measured(config, lambda path: _alone(Pipeline(str(path), seconds), threads)))
        for case in PROBED if "probes" in what else ():
            _show_status(status, "probes", case.name)
            record["probes"].append(_probed(case, seconds, threads))
        if "corruptions" in what:
            _show_status(status, "corruptions", f"{seconds:g} s for each form")
            record["corruptions"].append(_corrupted(batch_size or _CORRUPTED_BATCH, seconds, threads))
    variants = [v for found in record["steps"] for v in found["variants"].values()]
    record["provenance"]["device"] = variants[0]["device"] if variants else None
    for line in failures(record):
        console.print(f"error: {line}")
    _print(record, format)
    try:
        if output is not None:
            write_json(Path(output), record)
            speed_chart(record, Path(output).with_suffix(".png"))
        if readme is not None:
            update_tables(readme, Path(output).parent)
    except OSError as error:
        raise InputError(f"output {output} or readme {readme} cannot be written: {error.strerror}.") from None
    return record


def _checked(
    what: Sequence[What],
    peer: Sequence[Peer],
    threads: int | None,
    seconds: float,
    batch_size: int | None,
    output: str | Path | None,
    readme: str | Path | None,
) -> int:
    """Check that the arguments fit together, and return the number of threads."""
    if {"launch", "pipeline"} & {*what} and not (ROOT / "launch.py").is_file():
        raise InputError(
            "what is launch or pipeline, which measure experiments that come with the source repository, not with the "
            "installed package; run this command in a clone of the repository."
        )
    cpus = len(usable_cpus())
    if threads is not None and not 1 <= threads <= cpus:
        raise InputError(f"threads is {threads}; it must be from 1 to {cpus}, the CPUs that this process may use.")
    if not seconds > 0:
        raise InputError(f"seconds is {seconds}; it must be above 0.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    if "torch" in peer and _torch_version() is None:
        raise InputError("peer torch needs PyTorch, which is not installed: pip install torch.")
    if output is not None and (Path(output).suffix != ".json" or not Path(output).parent.is_dir()):
        raise InputError(f"output is {str(output)!r}; it must be a .json file in a folder that exists.")
    if readme is not None and (output is None or not Path(output).name.startswith("bench_")):
        raise InputError(f"output is {output}; with readme it must be a file bench_NAME.json.")
    if readme is not None:
        marked(readme)
    return threads or cpus


def _provenance(peer: Sequence[Peer], threads: int, seconds: float) -> Record:
    """Return the command line, revision, versions, processor and settings."""
    source = software()
    known = ("python", "jax", "jaxlib", "flax", "optax")
    versions = {name: source["versions"][name] for name in known}
    versions |= {"torch": _torch_version()} if "torch" in peer else {}
    return {
        "command": shlex.join(["python", "-m", "jaxcnn", *sys.argv[1:]]),
        "git": source["git"],
        "versions": versions,
        "processor": _processor(),
        "threads": threads,
        "seconds": seconds,
    }


def _torch_version() -> str | None:
    """Return the version of PyTorch without importing it; None if it is not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the name of the processor from Linux, otherwise from Python."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _show_status(status: Status, what: str, text: str) -> None:
    status.update(f"{what}: {text}")


def _measured(config: str, measure: Callable[[Path], Record]) -> Record:
    """Return the measurement of an experiment in configs/, or its `error`."""
    try:
        return {"config": config} | measure(ROOT / "configs" / f"{config}.py")
    except WorkerError as error:
        return {"config": config, "error": str(error)}


def _probed(case: Case, seconds: float, threads: int) -> Record:
    """Return the measurement of a network with and without probes, or its `error`."""
    about = {"case": case.name, "batch_size": case.batch_size, "image": list(case.shape)}
    try:
        return about | _alone(Probed.of(case, seconds), threads)
    except WorkerError as error:
        return about | {"error": str(error)}


def _corrupted(batch_size: int, seconds: float, threads: int) -> Record:
    """Return the measurement of the corruptions, or its `error`."""
    about = {"case": "MNIST", "batch_size": batch_size, "image": list(CORRUPTED)}
    try:
        return about | _alone(Corruptions(CORRUPTED, batch_size, seconds), threads)
    except WorkerError as error:
        return about | {"error": str(error)}


def _alone(job: Any, threads: int) -> Record:
    """Return the answer of a process that makes one measurement."""
    with working(job, threads) as worker:
        found = worker.start()
    del found["first_step_seconds"]
    return found


def _print(record: Record, format: Literal["text", "markdown", "json"]) -> None:
    if format == "json":
        print(json.dumps(record, indent=2))
    elif format == "markdown":
        print(markdown(record))
    else:
        print(machine(record))
        for grid in grids(record):
            print_table(grid.table())
