"""What `python -m jaxcnn bench` does."""

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
from typing import Literal

from rich.console import Console
from rich.status import Status

from jaxcnn.bench.cases import CASES, Mode, named
from jaxcnn.bench.chart import speed_chart
from jaxcnn.bench.comparison import compare
from jaxcnn.bench.launching import ROOT, time_launches
from jaxcnn.bench.pipeline import Pipeline
from jaxcnn.bench.process import WorkerError, usable_cpus, working
from jaxcnn.bench.tables import NAMES, Record, failures, grids, machine, markdown, step_name
from jaxcnn.cli.report import marked, update_tables
from jaxcnn.describe.tables import print_table
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.provenance import software

What = Literal["steps", "launch", "pipeline"]
Peer = Literal["flax", "torch"]

LAUNCHES = ("lenet5_digits", "vgg_a_cifar10")
"""Experiments of configs/ whose launches are timed."""

PIPELINES = ("lenet5_mnist", "vgg_a_cifar10")
"""Experiments of configs/ whose input pipelines are timed."""


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
    """Measure, print, and write what was found.

    Args:
        cases: names of `cases.CASES` or of the zoo; none: all of `CASES`.
        what: steps of networks; launches of `LAUNCHES`; the input pipelines of `PIPELINES`.
        mode, dtype: of the steps.
        batch_size: images a step; None: the case's own.
        peer: libraries to compare with.
        seconds: that every library is measured for, in every case.
        threads: CPUs of each process; None: all that this one may use.
        format: of what is printed.
        output: .json file to write, with the chart beside it where there is something to compare with.
        readme: Markdown file whose tables are made from the files in the folder of `output`.

    Returns:
        `provenance`, and under `steps`, `launch` and `pipeline` what `compare`, `time_launches` and `pipeline.measure`
        give, or an `error`.

    Raises:
        InputError: an argument does not fit; nothing has been measured. Or `output` or `readme` cannot be written; what
            was found has been printed.
    """
    chosen = [named(name) for name in cases or CASES]
    threads = _checked(what, peer, threads, seconds, batch_size, output, readme)
    if batch_size:
        chosen = [replace(case, batch_size=batch_size) for case in chosen]
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    record: Record = {"provenance": _provenance(peer, threads, seconds), "steps": [], "launch": [], "pipeline": []}
    with console.status("") as status:
        for case, way, kind in itertools.product(chosen if "steps" in what else (), mode, dtype):
            step = replace(case, model=case.model.clone(dtype=kind))
            told = functools.partial(_tell, status, f"{case.name} {way} {kind}")
            found = compare(step, way, ("jaxcnn", *peer), seconds=seconds, threads=threads, report=told)
            record["steps"].append(found)
            times = (f"{NAMES[name]} {v['milliseconds']:,.1f} ms" for name, v in found["variants"].items())
            console.print(f"{step_name(found)}: {', '.join(times)}")
        for config in LAUNCHES if "launch" in what else ():
            _tell(status, "launch", config)
            record["launch"].append(_one(config, lambda path: time_launches(path, threads)))
        for config in PIPELINES if "pipeline" in what else ():
            _tell(status, "pipeline", config)
            record["pipeline"].append(_one(config, lambda path: _pipeline(path, seconds, threads)))
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
    """The number of threads, if the arguments go together."""
    if {"launch", "pipeline"} & {*what} and not (ROOT / "launch.py").is_file():
        raise InputError(
            "what is launch or pipeline, which measure experiments that come with the source repository, not with the "
            "installed package; run this in a clone of it."
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
        raise InputError(f"readme shows files bench_NAME.json; output is {output}, so name it like that.")
    if readme is not None:
        marked(readme)
    return threads or cpus


def _provenance(peer: Sequence[Peer], threads: int, seconds: float) -> Record:
    """Command line, revision, versions, processor."""
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
    """Without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """As Linux names it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _tell(status: Status, what: str, text: str) -> None:
    status.update(f"{what}: {text}")


def _one(config: str, measure: Callable[[Path], Record]) -> Record:
    """What was measured of an experiment of configs/, or why not."""
    try:
        return {"config": config} | measure(ROOT / "configs" / f"{config}.py")
    except WorkerError as error:
        return {"config": config, "error": str(error)}


def _pipeline(config: Path, seconds: float, threads: int) -> Record:
    with working(Pipeline(str(config), seconds), threads) as worker:
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
