"""Sweeps from the command line: their points, running them, and their plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxcnn.cli.axes import read_axes
from jaxcnn.config import Experiment, override
from jaxcnn.config.loading import load_sweep
from jaxcnn.data import MissingData
from jaxcnn.describe.tables import print_table
from jaxcnn.runs.workdir import check_workdir
from jaxcnn.runtime.errors import InputError
from jaxcnn.sweep.grids import grids
from jaxcnn.sweep.groups import groups, share_of
from jaxcnn.sweep.live import first_sentence
from jaxcnn.sweep.points import check_folder, count_of, points_of, status_of
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.running import known, run
from jaxcnn.sweep.work import Options, check_plans


def experiments(base: Experiment, file: str | None, name: str | None, axes: Mapping[str, str]) -> list[Experiment]:
    """Return the experiments of a command line: every point of the config file's sweep, at every point of the grid.

    Args:
        base: experiment that they change.
        file: config file with the function `sweep_NAME`.
        name: NAME, or None.
        axes: texts of the axes of the grid; may be empty if there is a name.

    Raises:
        InputError: there is no such sweep, a field is unknown, or a value does not fit.
    """
    bases = [base]
    if name is not None:
        bases = [
            _point(base, changes, f"point {i} of sweep_{name}()") for i, changes in enumerate(load_sweep(file, name))
        ]
        if not bases:
            raise InputError(f"sweep_{name}() of {file} yields no points.")
    return grids([(one, read_axes(dict(axes), one)) for one in bases]) if axes else bases


def _point(base: Experiment, changes: Mapping[str, Any], where: str) -> Experiment:
    try:
        return override(base, changes)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def run_sweep(points: Sequence[Experiment], folder: str, *, jobs: int | None, **options: Any) -> int:
    """Run a sweep, list the points without results, and return the exit status."""
    if jobs is None:
        records = run(points, folder, **options)
    else:
        with Processes(jobs) as executor:
            records = run(points, folder, executor=executor, **options)
    bad = [record for record in records if record.status != "finished"]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    verb = "is" if len(records) == 1 else "are"
    console.print(f"\n{len(records) - len(bad)} of {count_of(len(records))} {verb} finished in {folder}")
    for record in bad:
        console.print(f"  {record.status}: {Path(record.workdir).name}: {first_sentence(record.reason)}")
    if any((Path(record.workdir) / "failure.json").exists() for record in bad):
        console.print("  failure.json in the folder of a point says more")
    if len(bad) < len(records):
        console.print(f"python -m jaxcnn summarize {folder} compares them")
    statuses = {record.status for record in bad}
    return 1 if "failed" in statuses else 3 if statuses else 0


def show_sweep(experiments: Sequence[Experiment], folder: str, *, shard: str | None, vectorize: Any) -> None:
    """Print the points of a sweep and how far each has come, after checking that every network fits its data.

    Raises:
        InputError: points or folder cannot be used, as in `sweep.run`, or a network does not fit its data.
    """
    place = check_workdir(folder)
    every = points_of(experiments, place)
    check_folder(place, experiments)
    points = share_of(every, shard, vectorize)
    ended = {point.workdir: record for point in points if (record := known(point, Options())) is not None}
    waiting = [point for point in points if point.workdir not in ended]
    table = Table("point", "state", "trains with", box=None, pad_edge=False)
    table.title, table.title_justify = f"{count_of(len(points))} in {folder}", "left"
    for number, group in enumerate(groups(waiting, vectorize)):
        for point in group:
            others = f"group {number}, {len(group)} members" if len(group) > 1 else "alone"
            table.add_row(point.name, status_of(point.workdir), others)
    for point in points:
        if point.workdir in ended:
            table.add_row(point.name, ended[point.workdir].status, "")
    print_table(table)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for record in ended.values():
        if record.reason is not None:
            console.print(f"{record.status}: {Path(record.workdir).name}: {record.reason}")
    first = {point.structure: point for point in reversed(waiting)}
    try:
        check_plans([point.name for point in first.values()], [point.experiment for point in first.values()])
    except MissingData as missing:
        console.print(f"data: missing; {missing}")
    console.print(f"workdir: {place} (nothing was written)")
