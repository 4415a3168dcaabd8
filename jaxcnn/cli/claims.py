"""The command `python -m jaxcnn claims`: verdicts about statements of teaching notes, and the runs behind them."""

import json
import os
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from jaxcnn.claims import records
from jaxcnn.claims.catalogue import NAMES, find
from jaxcnn.claims.running import run


def claims(name: str, *, seeds: int | None, workdir: str | Path, scale: Literal["small", "full"]) -> None:
    """Run or resume a claim and print its verdict; without a name, list all claims with their recorded verdicts.

    Raises:
        InputError: there is no such claim, or as in `running.run`.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not name:
        _list(console)
        return
    claim = find(name)
    path = run(claim, workdir, seeds=seeds, scale=scale)
    verdict = records.verdict_of(json.loads(path.read_text()))
    lines = (
        f"{claim.statement} ({claim.source})",
        f"rule: {claim.rule}",
        f"verdict: {verdict.verdict}",
        verdict.conditions,
        f"effect with 95 % interval: {records.effect_text(claim, verdict)}",
        f"record: {path}, picture: {path.with_suffix('.png')}",
    )
    console.print("\n".join(lines))


def _list(console: Console) -> None:
    found = records.read(records.package_folder())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("claim and source", overflow="fold", ratio=3)
    table.add_column("verdict", overflow="fold", ratio=2)
    for name in NAMES:
        claim = find(name)
        verdict = found[name]["verdict"] if name in found else "not run yet"
        table.add_row(name, f"{claim.statement} ({claim.source})", verdict)
    # A table is wrapped at the width of the terminal or $COLUMNS, and at this width in a file.
    width = console.width if os.environ.get("COLUMNS") else max(100, console.width)
    Console(highlight=False, markup=False, width=width).print(table)
