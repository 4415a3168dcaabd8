"""The command `python -m jaxcnn shift report`."""

import sys
from pathlib import Path

from jaxcnn.cli.report_files import check_out, write_files
from jaxcnn.shift.answers import answers
from jaxcnn.shift.report_page import report_files
from jaxcnn.shift.reporting import report


def shift_report(run: str, target: str, *, out: str | None, data_dir: str | None, seed: int) -> None:
    """Compare a target with the test images of a run, print the answers and write report.json, .html and .png.

    Args:
        run: folder of the run.
        target: name of the target.
        out: folder of the files; None: shift_TARGET in the folder of the run.
        data_dir: folder of prepared data sets; None: the run's.
        seed: seed of all random choices.

    Raises:
        InputError: as in `report`, or the folder cannot be written; nothing has been written.
    """
    folder = check_out(Path(out or Path(run) / f"shift_{_file_name(target)}"))
    found = report(run, target, data_dir=data_dir, seed=seed, progress=_say)
    command = f"python -m jaxcnn shift report {run} --target={target}{f' --seed={seed}' * (seed != 0)}"
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
