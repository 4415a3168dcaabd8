"""The command `python -m jaxcnn report`: results of finished runs in configs/results/, and the README's tables."""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxcnn.bench import tables as bench
from jaxcnn.claims import records as claims
from jaxcnn.cli.sweep_report import sweeps_table
from jaxcnn.config import differences
from jaxcnn.layers import trace
from jaxcnn.models import ZOO
from jaxcnn.runs.metrics import read_rows
from jaxcnn.runs.workdir import load_saved, read_results, same_init_from
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object


def collect(runs: Sequence[str | Path], name: str, folder: str | Path) -> Path:
    """Write the results of finished runs of one experiment, one line per seed, and their learning curves.

    Args:
        runs: workdirs of runs that differ only in their `seed`.
        name: name of the files, `NAME.jsonl` and `NAME.png`.
        folder: folder of the results, `configs/results`.

    Returns:
        The path of `NAME.jsonl`.

    Raises:
        InputError: a run is not finished, has no test error, is from another experiment than the first, or has a file
            that cannot be read; or the existing results have seeds that the runs lack.
    """
    from jaxcnn.plots import learning_curves_of_seeds

    if not runs:
        raise InputError("runs is empty; give the workdirs of finished runs.")
    lines, kept = {}, ("git", "versions", "device_kind", "time")
    for run in map(Path, runs):
        if not (run / "results.json").is_file():
            raise InputError(f"{run} is not finished: it has no results.json. Run its command again to finish it.")
        experiment, record = load_saved(run), read_object(run / "provenance.json", "command", *kept)
        other = [line for line in differences(load_saved(runs[0]), experiment) if not line.startswith("seed:")]
        first = read_object(Path(runs[0]) / "provenance.json")
        same = {"init_from": same_init_from(first, record), "arrays": first.get("arrays") == record.get("arrays")}
        codes = [each["code"] for each in (first, record) if "code" in each]
        same["code"] = codes[1:] in ([], codes[:1])
        other += [f"{name}: {first.get(name)} and {record.get(name)}" for name, equal in same.items() if not equal]
        if other:
            raise InputError(f"{run} differs from {runs[0]} in more than the seed: {other[0]}.")
        results = read_results(run)
        if "error" not in results["test"]:
            raise InputError(f"{run} has no test error, which the table needs; its objective does not measure one.")
        lines[experiment.seed] = results | {
            "command": " ".join(["python", *record["command"][1:]]),
            **{key: record[key] for key in kept},
        }
    path = Path(folder) / f"{name}.jsonl"
    lost = {row["seed"] for row in read_rows(path)} - lines.keys() if path.exists() else ()
    if lost:
        raise InputError(
            f"{path} has results of seed {', '.join(map(str, sorted(lost)))}, which is not among these runs. Give the "
            "runs of all seeds, give another --name, or delete the file."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text("".join(json.dumps(lines[seed]) + "\n" for seed in sorted(lines)))
    learning_curves_of_seeds([read_rows(Path(run) / "metrics.jsonl") for run in runs], path.with_suffix(".png"))
    return path


def check_name(name: str) -> str:
    """Return a name of results; raise InputError if it is not the name of a file."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"--name is {name!r}; it must be the name of a file: letters, digits, '_', '-' and '.'.")
    return name


def results_table(folder: str | Path) -> str:
    """Return a Markdown table with the test error, its spread, the seeds and the time per run of every `NAME.jsonl`.

    It is empty if there is none.
    """
    rows = ["| experiment | test error, % | spread | seeds | minutes per run |", "|---|---|---|---|---|"]
    for path in sorted(Path(folder).glob("*.jsonl")):
        runs = read_rows(path)
        errors = [100 * run["test"]["error"] for run in runs]
        sd = f"sd {statistics.stdev(errors):.2f}, " if len(errors) > 1 else ""
        seeds = ", ".join(str(run["seed"]) for run in runs)
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        rows.append(
            f"| [{path.stem}](configs/{path.stem}.py) | {statistics.mean(errors):.2f} "
            f"| {sd}{min(errors):.2f} to {max(errors):.2f} | {seeds} | {minutes:.1f} |"
        )
    return "\n".join(rows) if rows[2:] else ""


def zoo_table() -> str:
    """Return a Markdown table with the size and the published errors of every network of the zoo."""
    rows = [
        "| name | source | input | parameters | multiply-adds | error in the paper, % | torchvision's weights, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in ZOO.items():
        costs = [row.info for row in trace(entry.model.layers(), entry.shape)]
        parameters, multiply_adds = (sum(getattr(cost, k) for cost in costs) for k in ("parameters", "multiply_adds"))
        cells = (f"`{name}`", entry.paper, "x".join(map(str, entry.shape)), f"{parameters:,}", f"{multiply_adds:,}")
        rows.append(f"| {' | '.join((*cells, entry.error, entry.torchvision))} |")
    return "\n".join(rows)


_TABLES: dict[str, Callable[[str | Path], str]] = {
    "results": results_table,
    "sweeps": sweeps_table,
    "zoo": lambda folder: zoo_table(),
    "bench": lambda folder: "\n\n".join(map(bench.markdown, bench.kept(folder))),
    "claims": lambda folder: claims.table(Path(folder) / "claims"),
}


def marked(page: str | Path) -> dict[str, str]:
    """Return the tables of a Markdown page by name: the text between the marks `<!-- results: begin -->` and
    `<!-- results: end -->`. Call it before writing results, to check the page.

    Raises:
        InputError: the page cannot be read, or has no marks.
    """
    try:
        text = Path(page).read_text()
    except OSError as error:
        raise InputError(f"readme {page} cannot be read: {error.strerror}; name the file to update.") from None
    found = {
        name: text.partition(begin)[2].partition(end)[0].strip("\n")
        for name, (begin, end) in _MARKS.items()
        if end in text.partition(begin)[2]
    }
    if not found:
        raise InputError(
            f"readme {page} has no lines <!-- results: begin --> and <!-- results: end -->; add them for the table."
        )
    return found


_MARKS = {name: (f"<!-- {name}: begin -->", f"<!-- {name}: end -->") for name in _TABLES}


def update_tables(page: str | Path, folder: str | Path) -> None:
    """Replace the tables for which a Markdown page has marks: `results` (`results_table`), `sweeps` (`sweeps_table`),
    `zoo` (`zoo_table`), `bench`, the tables of all benchmarks in the folder, and `claims`, the verdicts in its
    subfolder claims. A table whose records are not in the folder stays as it is.

    Args:
        page: README.md, or the README.md of the folder.
        folder: folder of the results, configs/results.

    Raises:
        InputError: as in `marked`.
    """
    names = marked(page)
    text = Path(page).read_text()
    for name in names:
        if not (table := _TABLES[name](folder)):
            continue
        begin, end = _MARKS[name]
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    with replacing(Path(page)) as draft:
        draft.write_text(text)
