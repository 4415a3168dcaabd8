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
from jaxcnn.sweep.grids import grid
from jaxcnn.sweep.groups import groups
from jaxcnn.sweep.live import first_sentence
from jaxcnn.sweep.points import check_folder, points_of, status_of
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.running import run
from jaxcnn.sweep.shards import share
from jaxcnn.sweep.work import check_plans


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
        bases = [override(base, changes) for changes in load_sweep(file, name)]
        if not bases:
            raise InputError(f"sweep_{name}() of {file} yields no points.")
    return [each for one in bases for each in (grid(one, read_axes(dict(axes), one)) if axes else [one])]


def run_sweep(points: Sequence[Experiment], folder: str, *, jobs: int | None, **options: Any) -> int:
    """Run a sweep, list the points without results, and return the exit status."""
    if jobs is None:
        records = run(points, folder, **options)
    else:
        with Processes(jobs) as executor:
            records = run(points, folder, executor=executor, **options)
    bad = [record for record in records if record.status != "finished"]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"\n{len(records) - len(bad)} of {len(records)} points are finished in {folder}")
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
    points = share(every, shard)
    together = groups(points, vectorize)
    title = f"{len(points)} points in {folder}"
    table = Table("point", "state", "trains with", box=None, pad_edge=False, title=title, title_justify="left")
    for number, group in enumerate(together):
        for point in group:
            others = f"group {number}, {len(group)} members" if len(group) > 1 else "alone"
            table.add_row(point.name, status_of(point.workdir), others)
    print_table(table)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        check_plans([point.name for point in points], [point.experiment for point in points])
    except MissingData as missing:
        console.print(f"data: missing; {missing}")
    console.print(f"workdir: {place} (nothing was written)")
