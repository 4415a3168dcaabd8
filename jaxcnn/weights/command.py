"""What `python -m jaxcnn convert` does."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from jaxcnn.layers import Shape
from jaxcnn.runs.selection import Choice
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
    """Turn a file of weights into a run folder, or a run folder into a file of weights, and print what went where.

    Args:
        source: the file or the folder.
        workdir: of a file: the run folder to make; None: runs/NAME for a file NAME.pth.
        model: of a file: as for `load`.
        num_classes: of a file: as for `load`.
        drop_head: of a file: as for `load`.
        output: of a run: the file to write, .safetensors or .npz.
        layout: of a run: as for `export`; None: torchvision for .safetensors, jaxcnn for .npz.
        checkpoint: of a run: which one, as for `jaxcnn.restore`; None: the last.
        dry_run: print and check only.

    Raises:
        InputError: options for the other direction, or what `load`, `write_run`, `export` and `write` raise. Nothing
            has been written then.
    """
    if Path(source).is_dir():
        _refuse(f"{source} is a folder", workdir=workdir, model=model, num_classes=num_classes, drop_head=drop_head)
        _to_file(source, output, layout, "last" if checkpoint is None else checkpoint, dry_run)
    else:
        _refuse(f"{source} is no folder of a run", output=output, layout=layout, checkpoint=checkpoint)
        with waiting(f"reading {source}"):
            conversion = load(source, model, num_classes=num_classes, drop_head=drop_head)
        _to_run(conversion, Path(workdir or Path("runs") / Path(source).stem), dry_run)


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
    console.print(f"images: {settings.channel_order}, scaled to [0, 1], less {mean}, divided by {std}")
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
        raise InputError(f"{run} is a folder; --output names the file to write, .safetensors or .npz.")
    path = Path(output)
    layout = layout or ("jaxcnn" if path.suffix == ".npz" else "torchvision")
    with waiting(f"reading {run}"):
        weights, pairs = export(run, layout, checkpoint=checkpoint)
    if not dry_run:
        with waiting(f"writing {path}"):
            write(path, weights)
    console = _console()
    console.print(_table(pairs, f"{run} as {path}"))
    done = f"wrote {path}: {len(pairs)} arrays in the layout of {weights.layout}"
    console.print("nothing was written" if dry_run else done)


def _refuse(why: str, **options: object) -> None:
    given = [name for name, value in options.items() if value is not None and value is not False]
    if given:
        raise InputError(f"{why}; --{given[0]} does not apply.")


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _table(pairs: Iterable[Pair], title: str) -> Table:
    """One line an array: its name and shape in the file, its name and shape here, and its fate unless it is used."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    rows = [("in the file", "shape", "here", "shape", "")]
    for pair in pairs:
        cells = (pair.source or "", _shown(pair.source_shape), pair.path or "", _shown(pair.shape))
        rows.append((*cells, "" if pair.fate == "used" else pair.fate))
    for heading, cells in zip(rows[0], zip(*rows, strict=True), strict=True):
        # Names are never cut, however narrow the terminal: they are what the table is for.
        side = "right" if heading == "shape" else "left"
        table.add_column(heading, justify=side, no_wrap=True, min_width=max(map(len, cells)))
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _summary(pairs: Iterable[Pair]) -> str:
    """`32 used, 0 missing, 0 unexpected, 13 left out`; those three always, the other fates where they occur."""
    counts = Counter({"used": 0, "missing": 0, "unexpected": 0})
    counts.update(pair.fate for pair in pairs)
    return ", ".join(f"{count} {fate}" for fate, count in counts.items())


def _shown(shape: Shape | None) -> str:
    return "" if shape is None else "x".join(map(str, shape)) or "scalar"
