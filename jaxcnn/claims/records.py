"""Records of decided claims: one JSON file and one picture each, and the tables made from them.

In a checkout they are in configs/results/claims, which `jaxcnn/claims/recorded` links to; in an installed package they
are files of the package.
"""

import importlib.resources
import json
from pathlib import Path
from typing import Any

from jaxcnn.claims.catalogue import NAMES, find
from jaxcnn.claims.claim import Claim, Verdict
from jaxcnn.describe.tables import Grid
from jaxcnn.runtime.atomic import write_json

Record = dict[str, Any]
"""claim, statement, source, rule, command, scale, seeds, effect, interval, verdict, conditions, measurements, revision,
minutes, processor_minutes."""


def package_folder() -> Path:
    """Return the folder of the records that come with the package; in a checkout configs/results/claims."""
    return Path(str(importlib.resources.files("jaxcnn.claims") / "recorded")).resolve()


def in_checkout() -> bool:
    """Return whether this package is a checkout, whose records a run of a claim updates."""
    return Path(str(importlib.resources.files("jaxcnn.claims") / "recorded")).is_symlink()


def read(folder: str | Path) -> dict[str, Record]:
    """Return the records in a folder by the name of their claim, in the order of the catalogue."""
    paths = {name: Path(folder) / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def write(record: Record, folder: Path) -> Path:
    """Write the record of a claim and its picture, drawn from the measurements.

    Returns:
        The JSON file; the picture beside it ends in .png.

    Raises:
        OSError: one of the files cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['claim']}.json"
    find(record["claim"]).draw(record["measurements"], path.with_suffix(".png"))
    write_json(path, record)
    return path


def verdict_of(record: Record) -> Verdict:
    """Return the verdict in a record."""
    return Verdict(record["verdict"], record["effect"], tuple(record["interval"]), record["conditions"])


def effect_text(claim: Claim, verdict: Verdict) -> str:
    """Return the effect with its interval and what it is, as in `1.2 (0.8 to 1.6), test error ..., points`."""
    value, *ends = ("none" if x is None else f"{x:.3g}" for x in (verdict.effect, *verdict.interval))
    return f"{value} ({' to '.join(ends)}), {claim.effect}"


def table(folder: str | Path) -> str:
    """Return a Markdown table with the statement, verdict and effect of every record in a folder; "" without records.

    Its links are those of a page in the root of the repository. The conditions of a verdict are in its record.
    """
    rows = []
    for name, record in read(folder).items():
        claim, verdict = find(name), verdict_of(record)
        link = f"[{name}](configs/results/claims/{name}.png)"
        rows.append((link, claim.statement, verdict.verdict, effect_text(claim, verdict), f"{record['seeds']}"))
    if not rows:
        return ""
    headings = ("picture", "claim", "verdict", "effect with 95 % interval", "seeds")
    return Grid("Verdicts", headings, tuple(rows), left=headings[1:4]).markdown()
