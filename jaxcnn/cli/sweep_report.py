"""Summaries of sweeps in configs/results/sweeps, and the README's table made from them."""

import json
import shutil
import tempfile
from pathlib import Path

from jaxcnn.runtime.atomic import replacing, write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.sweep.pictures import draw_summary
from jaxcnn.sweep.summary import summarize
from jaxcnn.sweep.trials import read_trials


def collect_sweep(sweep: str | Path, name: str, folder: str | Path, *, baseline: str | None = None) -> Path:
    """Write the summary of a sweep with its provenance, and its strip plot.

    Args:
        sweep: folder of the sweep.
        name: name of the files, `sweeps/NAME.json` and `sweeps/NAME.png`.
        folder: folder of the results, `configs/results`.
        baseline: as in `sweep.summarize`.

    Returns:
        The path of `NAME.json`.

    Raises:
        InputError: as in `sweep.summarize`, or a point is damaged; nothing has been written.
    """
    _, damaged = read_trials(sweep)
    if damaged:
        raise InputError(f"{damaged[0]} A report needs every point.")
    table = summarize(sweep, baseline=baseline)
    workdir = next(workdir for row in table.rows for workdir in row.workdirs.values())
    provenance = read_object(workdir / "provenance.json", "command")
    record = {
        "command": " ".join(["python", *provenance["command"][1:]]),
        **{key: provenance[key] for key in ("git", "versions", "device_kind", "time") if key in provenance},
        "summary": _without_folders(json.loads(table.json())),
        "markdown": table.markdown(),
    }
    path = Path(folder) / "sweeps" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as pictures, replacing(path.with_suffix(".png")) as draft:
        draw_summary(table, pictures)
        shutil.copyfile(Path(pictures) / "summary_strip.png", draft)
    write_json(path, record)
    return path


def _without_folders(summary: dict) -> dict:
    rows = [{key: value for key, value in row.items() if key != "workdirs"} for row in summary["rows"]]
    return summary | {"rows": rows}


def sweeps_table(folder: str | Path) -> str:
    """Return the summary of every `sweeps/NAME.json` in a folder as Markdown, each below the command of its runs."""
    texts = []
    for path in sorted(Path(folder).glob("sweeps/*.json")):
        record = read_object(path, "command", "markdown")
        texts.append(f"`{record['command']}`:\n\n{record['markdown']}")
    return "\n\n".join(texts)
