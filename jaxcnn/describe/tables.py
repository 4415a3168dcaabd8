"""Networks and experiments as tables."""

import csv
import difflib
import functools
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxcnn.config import to_json
from jaxcnn.layers import Shape, TracedLayer, trace_image
from jaxcnn.models import ConvNet, LeNet5


@dataclass(frozen=True)
class Grid:
    """A table, independent of the format in which it is written.

    Attributes:
        title: text above the table.
        headings: one per column.
        rows: texts of the cells.
        footer: texts of a last row with totals, or empty.
        left: headings of the left-aligned columns; the first column always is, and all others are right-aligned.
        sections: indices of the rows above which a terminal shows a line.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    sections: frozenset[int] = frozenset()

    def table(self) -> Table:
        """Return the table as rich prints it on a terminal."""
        table = _table(self.title, show_footer=bool(self.footer))
        for i, heading in enumerate(self.headings):
            footer = self.footer[i] if self.footer else ""
            table.add_column(heading, footer=footer, justify="left" if self._is_left(i) else "right")
        for i, row in enumerate(self.rows):
            table.add_row(*row, end_section=i + 1 in self.sections)
        return table

    def text(self) -> str:
        """Return the table as lines of plain text, none of which is wrapped."""
        console, table = Console(file=io.StringIO(), highlight=False, markup=False, width=1000), self.table()
        table.title = None
        console.print(table)
        return "\n".join([self.title, *(line.rstrip() for line in console.file.getvalue().splitlines())])

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, with the totals in bold."""
        rules = tuple(":--" if self._is_left(i) else "--:" for i in range(len(self.headings)))
        footer = [tuple(f"**{cell}**" if cell else "" for cell in self.footer)] if self.footer else []
        lines = [self.headings, rules, *self.rows, *footer]
        # A vertical bar would end the cell.
        return f"**{self.title}**\n\n" + "\n".join(
            f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in lines
        )

    def csv(self) -> str:
        """Return comma-separated values, with the headings first and the totals last."""
        return csv_text([self.headings, *self.rows, *([self.footer] if self.footer else [])])

    def _is_left(self, column: int) -> bool:
        return column == 0 or self.headings[column] in self.left


def print_table(table: Table | str, *, quiet: bool = False) -> None:
    """Print a table at its full width, even on a narrower terminal, where rich would truncate its numbers."""
    console = Console(highlight=False, markup=False, quiet=quiet)
    wide = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    Console(highlight=False, markup=False, quiet=quiet, width=max(wide, console.width)).print(table)


def network_table(model: nn.Module, shape: tuple[int, ...]) -> Table | str:
    """Tabulate the output shape, window, parameters, multiply-adds and receptive field (`sees`) of each layer.

    Args:
        model: a ConvNet, whose layers are listed, or any other linen module, for which flax's `tabulate` is used.
        shape: (height, width, channels) of an image.
    """
    if not isinstance(model, ConvNet):
        images = np.zeros((1, *shape), np.float32)
        return model.tabulate(jax.random.key(0), images, train=False, compute_flops=False, depth=1)
    return network_grid(f"{type(model).__name__} on {shape_text(shape)}", model, shape, narrow=True).table()


def network_grid(title: str, model: ConvNet, shape: Shape, *, narrow: bool = False) -> Grid:
    """Return the table of a network, with one row per layer and the totals.

    Args:
        title: text above the table.
        model: network whose layers are listed.
        shape: (height, width, channels) of an image.
        narrow: whether to keep the table within 100 columns by leaving out LeNet-5's `connections` and `memory`, the
            size of a layer's output for one image in the model's dtype. The total of `memory` assumes that every output
            is kept; XLA keeps less, because it fuses activations into the operations before them.

    Raises:
        InputError: the network cannot take such an image.
    """
    whole = network(model, shape)
    layers, totals = whole["layers"], whole["totals"]
    columns: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
        "layer": (lambda layer: layer["name"], "total"),
        "kind": (lambda layer: layer["kind"], ""),
        "output": (lambda layer: shape_text(layer["output"]), ""),
        "window": (_window, ""),
        "parameters": (_count("parameters"), f"{totals['parameters']:,}"),
        "multiply-adds": (_count("multiply_adds"), f"{totals['multiply_adds']:,}"),
        "connections": (_count("connections"), f"{totals['connections']:,}"),
        "sees": (lambda layer: shape_text([layer["receptive_field"]] * 2), ""),
        "memory": (lambda layer: memory_text(layer["activation_bytes"]), memory_text(totals["activation_bytes"])),
    }
    left_out = {"memory", "connections"} if narrow else set() if isinstance(model, LeNet5) else {"connections"}
    shown = {heading: column for heading, column in columns.items() if heading not in left_out}
    return Grid(
        title=title,
        headings=tuple(shown),
        rows=tuple(tuple(cell(layer) for cell, _ in shown.values()) for layer in layers),
        footer=tuple(total for _, total in shown.values()),
        left=("kind",),
    )


def network(model: ConvNet, shape: Shape) -> dict[str, Any]:
    """Return a network as a JSON object: `model` (its class and fields), `input`, `dtype`, `layers` and `totals`.

    A layer has `name` (`res1/conv1` for a layer inside another), `kind`, `output`, `kernel`, `stride`, `padding`,
    `groups` (each None where it does not apply), `parameters`, `multiply_adds`, `connections` (counted as in LeCun et
    al. 1998, section II.B), `receptive_field` in input pixels, and `activation_bytes`, the size of its output for one
    image. `totals` has the sums and `weight_layers`, the number of convolutions and dense layers, as in VGG's names.

    Raises:
        InputError: the network cannot take an image of this shape.
    """
    rows = trace_image(model.layers(), shape)
    size = jnp.dtype(model.dtype).itemsize
    layers = [_layer(row, size) for row in rows]
    summed = ("parameters", "multiply_adds", "connections", "activation_bytes")
    return {
        "model": to_json(model),
        "input": list(shape),
        "dtype": model.dtype,
        "layers": layers,
        "totals": {"weight_layers": sum(row.layer.role in ("conv", "dense") for row in rows)}
        | {name: sum(layer[name] for layer in layers) for name in summed},
    }


def comparison(networks: Mapping[str, tuple[ConvNet, Shape]]) -> Grid:
    """Compare networks side by side, as in table 1 of Simonyan & Zisserman (2015): one row per layer, aligned by name.

    From top to bottom, a column lists the whole network. Flattening is left out, and so are activations and dropout
    unless networks differ in the layer of that name.

    Args:
        networks: network and shape of its images, by the heading of the column.

    Raises:
        InputError: a network cannot take such an image.
    """
    columns = [trace_image(model.layers(), shape) for model, shape in networks.values()]
    records = {(row.path, row.layer) for rows in columns for row in rows if row.layer.role != "flatten"}
    minor = ("activation", "dropout")
    minor_paths = [path for path, layer in records if layer.role in minor]
    shown = {path for path, layer in records if layer.role not in minor or minor_paths.count(path) > 1}
    columns = [[row for row in rows if row.path in shown] for rows in columns]
    names = functools.reduce(_merged, ([row.path for row in rows] for rows in columns))
    pools = {row.path for rows in columns for row in rows if row.layer.role == "pool"}
    places = [i + 1 for i, name in enumerate(names) if name in pools]
    totals = [network(model, shape)["totals"] for model, shape in networks.values()]
    rows = [("input", *(shape_text(shape) for _, shape in networks.values()))]
    rows += zip(names, *(_aligned(column, names) for column in columns), strict=True)
    for words in ("weight layers", "parameters", "multiply-adds"):
        rows.append((words, *(f"{total[re.sub('[ -]', '_', words)]:,}" for total in totals)))
    return Grid(
        title=", ".join(networks),
        headings=("layer", *networks),
        rows=tuple(rows),
        left=tuple(networks),
        sections=frozenset([1, *places, *(i + 1 for i in places), len(rows) - 3]),
    )


def stages(model: ConvNet, shape: Shape) -> Grid:
    """Return the figures of a network by stage: the layers up to a pooling layer or before a convolution that reduces
    the resolution, and those from flattening on.

    Raises:
        InputError: the network cannot take such an image.
    """
    rows = trace_image(model.layers(), shape)
    starts = [0]
    for i, row in enumerate(rows):
        pooled = any(before.layer.role == "pool" for before in rows[starts[-1] : i])
        if i and (row.layer.role == "flatten" or (row.layer.role == "conv" and (pooled or row.info.stride > 1))):
            starts.append(i)
    totals = [max(1, sum(getattr(row.info, key) for row in rows)) for key in ("parameters", "multiply_adds")]
    cells = []
    for start, end in itertools.pairwise([*starts, len(rows)]):
        part = rows[start:end]
        names = [row.path for row in part if row.layer.role in ("conv", "pool", "dense", "basis")] or [part[0].path]
        parameters, products = (sum(getattr(row.info, key) for row in part) for key in ("parameters", "multiply_adds"))
        cells.append(
            (
                " to ".join(dict.fromkeys((names[0], names[-1]))),
                shape_text(part[-1].info.output_shape),
                f"{parameters:,}",
                f"{parameters / totals[0]:.1%}",
                f"{products:,}",
                f"{products / totals[1]:.1%}",
                shape_text([part[-1].receptive_field] * 2),
            )
        )
    headings = ("stage", "output", "parameters", "of all", "multiply-adds", "of all", "sees")
    return Grid(f"{type(model).__name__} on {shape_text(shape)} by stage", headings, tuple(cells))


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as comma-separated values, without a final newline."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def _layer(row: TracedLayer, size: int) -> dict[str, Any]:
    """Return one layer of `network`; `size` is the number of bytes per value."""
    layer, info = row.layer, row.info
    window = layer.window()
    return {
        "name": row.path,
        "kind": type(layer).__name__,
        "output": list(info.output_shape),
        "kernel": window and window.size,
        "stride": window and window.stride,
        "padding": window and window.padding,
        "groups": window and window.groups,
        "parameters": info.parameters,
        "multiply_adds": info.multiply_adds,
        "connections": info.connections,
        "receptive_field": row.receptive_field,
        "activation_bytes": math.prod(info.output_shape) * size,
    }


def _window(layer: dict[str, Any]) -> str:
    """Return a window as in `3x3/2 pad 1 groups 2`; stride 1, padding 0 and one group are omitted."""
    if layer["kernel"] is None:
        return ""
    text = shape_text([layer["kernel"]] * 2) + (f"/{layer['stride']}" if layer["stride"] > 1 else "")
    text += f" pad {layer['padding']}" if layer["padding"] else ""
    return text + (f" groups {layer['groups']}" if (layer["groups"] or 1) > 1 else "")


def _count(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda layer: f"{layer[key]:,}" if layer[key] else ""


def shape_text(sides: Iterable[int]) -> str:
    """Return a shape as in `224x224x3`."""
    return "x".join(map(str, sides))


def memory_text(count: int) -> str:
    """Return a number of bytes with three digits and a decimal unit."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{count} B"


def _merged(a: list[str], b: list[str]) -> list[str]:
    """Merge two lists of names into a short one that keeps the order of both."""
    merged: list[str] = []
    for tag, i, j, m, n in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        merged += a[i:j] if tag == "equal" else a[i:j] + b[m:n]
    return merged


def _aligned(rows: Sequence[TracedLayer], names: Sequence[str]) -> list[str]:
    """Return the layers of one network in the order of `names`, with "" for the names that it lacks."""
    left = list(rows)
    return [left.pop(0).layer.brief() if left and left[0].path == name else "" for name in names]


def _table(title: str, **options: bool) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, **options)


def decay_table(leaves: Sequence[tuple[str, tuple[int, ...], bool]], weight_decay: float, form: str) -> Table:
    """Tabulate the parameters that decay and those that do not, from the result of `optim.decay_report`."""
    table = _table(f"weight decay {weight_decay:g}, {form}")
    for heading in ("decays", "does not"):
        table.add_column(heading)
    table.add_row(
        *("\n".join(f"{p} {'x'.join(map(str, s))}" for p, s, decays in leaves if decays == d) for d in (True, False))
    )
    return table


def settings_table(settings: dict[str, Any]) -> Table:
    """Tabulate a resolved experiment, one setting per line."""
    table = _table("experiment", show_header=False)
    for path, value in settings.items():
        table.add_row(f"config.{path}", str(value))
    return table
