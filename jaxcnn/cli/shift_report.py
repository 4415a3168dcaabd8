"""The command `python -m jaxcnn shift report`."""

import sys
from pathlib import Path
from typing import Literal

from jaxcnn.cli.report_files import check_out, write_files
from jaxcnn.shift.answers import answers
from jaxcnn.shift.report_page import report_files
from jaxcnn.shift.reporting import report


def shift_report(
    run: str, target: str, *, out: str | None, repairs: Literal["quick", "all"], data_dir: str | None, seed: int
) -> None:
    """Compare a target with the test images of a run, print the answers and write report.json, .html and .png.

    Args:
        run: folder of the run.
        target: name of the target.
        out: folder of the files; None: shift_TARGET in the folder of the run.
        repairs: quick: those that need no training on source images; all: also those that do, in runs of the subfolder
            repairs, which continue if they were stopped.
        data_dir: folder of prepared data sets; None: the run's.
        seed: seed of all random choices.

    Raises:
        InputError: as in `report`, or the folder cannot be written; nothing has been written.
    """
    folder = check_out(Path(out or Path(run) / f"shift_{_file_name(target)}"))
    trained = folder / "repairs" if repairs == "all" else None
    found = report(run, target, data_dir=data_dir, trained=trained, seed=seed, progress=_say)
    options = [*["--repairs=all"] * (repairs == "all"), *[f"--seed={seed}"] * (seed != 0)]
    command = " ".join(["python -m jaxcnn shift report", run, f"--target={target}", *options])
    title = f"{Path(run).resolve().name} on {target}"
    write_files(folder, report_files(found, title=title, command=command))
    said = answers(found)
    for text in (said.shift, said.where, said.kind, said.cost, said.repairs):
        print(text)
    print("Next:")
    for text in said.next:
        print(f"  {text}")
    for name in ("report.html", "report.png", "report.json"):
        print(folder / name)


def _say(part: str) -> None:
    print(f"{part} ...", file=sys.stderr, flush=True)


def _file_name(target: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in target)
