"""The command `python -m jaxcnn shift calibrate`."""

from rich import box
from rich.table import Table

from jaxcnn.describe.tables import print_table
from jaxcnn.shift.calibration import Calibration, calibrate, finding, folder_of
from jaxcnn.shift.detecting import TESTS


def shift_calibrate(run: str, out: str | None = None) -> None:
    """Calibrate the tests for a shift on the images of a run, and print the false alarms.

    Args:
        run: folder of the run.
        out: folder of calibration.json and calibration.png; None: shift in the run's folder.

    Raises:
        InputError: as in `calibrate`.
    """
    found = calibrate(run, out, verbose=True)
    print_table(_table(found))
    low, high = found.limits
    print(f"false alarms in {found.repetitions} repetitions; a test of exact level has {low} to {high} (99 % limits)")
    print(f"{finding(found)}.")
    folder = folder_of(run, out)
    print(f"record: {folder / 'calibration.json'}, picture: {folder / 'calibration.png'}")


def _table(found: Calibration) -> Table:
    """Return the number of false alarms of each test for each size, and whether it keeps its level."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test")
    for size in found.sizes:
        table.add_column(f"n = {size}", justify="right")
    table.add_column("keeps the level")
    for name in TESTS:
        counts = [str(found.alarms["none"][str(size)][name]) for size in found.sizes]
        table.add_row(name, *counts, "yes" if found.keeps_level(name) else "no")
    return table
