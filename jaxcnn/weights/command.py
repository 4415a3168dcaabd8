"""The command `python -m jaxcnn convert`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from jaxcnn.layers import Shape
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.workdir import check_workdir
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.progress import waiting
from jaxcnn.weights.conversion import Conversion, load
from jaxcnn.weights.file import write
from jaxcnn.weights.match import Pair
from jaxcnn.weights.run import export, write_run


def convert(
    source: str,
    *,
    workdir: str | None = None,
    model: str | None = None,
    num_classes: int | None = None,
    drop_head: bool = False,
    output: str | None = None,
    layout: Literal["torchvision", "jaxcnn"] | None = None,
    checkpoint: Choice | None = None,
    dry_run: bool = False,
) -> None:
    """Convert a weight file to a run folder, or a run folder to a weight file, and print which array went where.

    Args:
        source: weight file or run folder.
        workdir: for a weight file: run folder to create; None: runs/NAME for a file NAME.pth.
        model: for a weight file: as in `load`.
        num_classes: for a weight file: as in `load`.
        drop_head: for a weight file: as in `load`.
        output: for a run: file to write, .safetensors or .npz.
        layout: for a run: as in `export`; None: torchvision for .safetensors, jaxcnn for .npz.
        checkpoint: for a run: which checkpoint to export, as in `jaxcnn.restore`; None: the last.
        dry_run: check and print, but write nothing.

    Raises:
        InputError: an option belongs to the other direction; or as in `load`, `write_run`, `export` and `write`.
            Nothing has been written.
    """
    if not str(source).strip():
        raise InputError("source is empty; give a weight file or a run folder.")
    if Path(source).is_dir():
        _refuse(f"{source} is a folder", workdir=workdir, model=model, num_classes=num_classes, drop_head=drop_head)
        _to_file(source, output, layout, "last" if checkpoint is None else checkpoint, dry_run)
    else:
        _refuse(f"{source} is not a run folder", output=output, layout=layout, checkpoint=checkpoint)
        with waiting(f"reading {source}"):
            conversion = load(source, model, num_classes=num_classes, drop_head=drop_head)
        _to_run(conversion, Path("runs") / Path(source).stem if workdir is None else check_workdir(workdir), dry_run)


def _to_run(conversion: Conversion, workdir: Path, dry_run: bool) -> None:
    console, settings = _console(), conversion.experiment.data
    if not dry_run:
        with waiting(f"writing {workdir}"):
            write_run(conversion, workdir)
    console.print(_table(conversion.pairs, f"{conversion.file} as {conversion.name}"))
    console.print(_summary(conversion.pairs))
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (settings.mean, settings.std))
    if classes := getattr(conversion.experiment.model, "num_classes", None):
        console.print(f"classes: {classes}")
    console.print(f"images: {settings.channel_order}, scaled to [0, 1], minus {mean}, divided by {std}")
    conversion.check()
    done = f"wrote {workdir}; test it: python -m jaxcnn evaluate {workdir}"
    console.print("nothing was written" if dry_run else done)


def _to_file(
    run: str,
    output: str | None,
    layout: Literal["torchvision", "jaxcnn"] | None,
    checkpoint: Choice,
    dry_run: bool,
) -> None:
    if output is None:
        raise InputError(f"{run} is a run folder; name the .safetensors or .npz file to write with --output.")
    path = Path(output)
    layout = layout or ("jaxcnn" if path.suffix == ".npz" else "torchvision")
    with waiting(f"reading {run}"):
        weights, pairs = export(run, layout, checkpoint=checkpoint)
    if not dry_run:
        with waiting(f"writing {path}"):
            write(path, weights)
    console = _console()
    console.print(_table(pairs, f"{run} as {path}"))
    done = f"wrote {path}: {len(pairs)} arrays in the {weights.layout} layout"
    console.print("nothing was written" if dry_run else done)


def _refuse(why: str, **options: object) -> None:
    misplaced = [name for name, value in options.items() if value is not None and value is not False]
    if misplaced:
        raise InputError(f"{why}; --{misplaced[0]} does not apply, so leave it out.")


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _table(pairs: Iterable[Pair], title: str) -> Table:
    """Return a table with one row per array: name and shape in the file and in the network, and fate unless used."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    rows = [("in the file", "shape", "in the network", "shape", "")]
    for pair in pairs:
        cells = (pair.source or "", _shown(pair.source_shape), pair.path or "", _shown(pair.shape))
        rows.append((*cells, "" if pair.fate == "used" else pair.fate))
    for heading, cells in zip(rows[0], zip(*rows, strict=True), strict=True):
        # Names are never truncated, however narrow the terminal.
        side = "right" if heading == "shape" else "left"
        table.add_column(heading, justify=side, no_wrap=True, min_width=max(map(len, cells)))
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _summary(pairs: Iterable[Pair]) -> str:
    """Return a text such as `32 used, 0 missing, 0 unexpected, 13 left out`; only the first three fates may be 0."""
    counts = Counter({"used": 0, "missing": 0, "unexpected": 0})
    counts.update(pair.fate for pair in pairs)
    return ", ".join(f"{count} {fate}" for fate, count in counts.items())


def _shown(shape: Shape | None) -> str:
    return "" if shape is None else "x".join(map(str, shape)) or "scalar"
