"""Networks, experiments and norms in words and tables: what launch.py prints, and `python -m jaxcnn describe`."""

import csv
import difflib
import functools
import io
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxcnn.config import Experiment, load_config, to_json
from jaxcnn.errors import InputError
from jaxcnn.fields import did_you_mean
from jaxcnn.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool,
    RadialBasis,
    Row,
    Shape,
    TrainableSubsampling,
    trace_image,
)
from jaxcnn.models import ZOO, ConvNet, LeNet5, named

Format = Literal["text", "markdown", "json", "csv"]
NORMS = ("batch_norm", "local_response_norm")
"""What `describe` explains besides networks."""

_KNOWN = f"Networks are {', '.join(ZOO)}, a config file (.py) or a run folder; norms are {', '.join(NORMS)}."

_POOLS = MaxPool | AveragePool | TrainableSubsampling


@dataclass(frozen=True)
class Grid:
    """A table before it is written in a format.

    Attributes:
        title: above it.
        headings: one a column.
        rows: texts of the cells.
        footer: texts of a last row for totals, or nothing.
        left: headings of the columns that are flush left, as the first always is; numbers are flush right.
        sections: rows above which a terminal shows a line.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    sections: frozenset[int] = frozenset()

    def table(self) -> Table:
        """As rich prints it on a terminal."""
        table = _table(self.title, show_footer=bool(self.footer))
        for i, heading in enumerate(self.headings):
            footer = self.footer[i] if self.footer else ""
            table.add_column(heading, footer=footer, justify="left" if self._is_left(i) else "right")
        for i, row in enumerate(self.rows):
            table.add_row(*row, end_section=i + 1 in self.sections)
        return table

    def markdown(self) -> str:
        """As a table of GitHub's Markdown, totals in bold."""
        rules = tuple(":--" if self._is_left(i) else "--:" for i in range(len(self.headings)))
        footer = [tuple(f"**{cell}**" if cell else "" for cell in self.footer)] if self.footer else []
        lines = [self.headings, rules, *self.rows, *footer]
        # A bar in a cell would end it.
        return f"**{self.title}**\n\n" + "\n".join(
            f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in lines
        )

    def csv(self) -> str:
        """As comma-separated values with a heading, totals last."""
        return _csv([self.headings, *self.rows, *([self.footer] if self.footer else [])])

    def _is_left(self, column: int) -> bool:
        return column == 0 or self.headings[column] in self.left


def network_table(model: nn.Module, shape: tuple[int, ...]) -> Table | str:
    """One line a layer: output shape, window, parameters, multiply-adds, receptive field (`sees`); totals below.

    Args:
        model: ours is read from its layers; any other linen module from flax's `tabulate`.
        shape: (height, width, channels) of an image.
    """
    if not isinstance(model, ConvNet):
        images = np.zeros((1, *shape), np.float32)
        return model.tabulate(jax.random.key(0), images, train=False, compute_flops=False, depth=1)
    return network_grid(f"{type(model).__name__} on {_by(shape)}", model, shape, narrow=True).table()


def network_grid(title: str, model: ConvNet, shape: Shape, *, narrow: bool = False) -> Grid:
    """The table of a network.

    Args:
        title: above it.
        model: read from its layers.
        shape: (height, width, channels) of an image.
        narrow: within 100 columns, without `memory`, what the outputs take for one image in the model's dtype, and
            LeNet-5's `connections`. The total of `memory` presumes that every output is kept; XLA, which fuses
            activations into what precedes them, keeps less.

    Raises:
        InputError: the network cannot take such an image.
    """
    whole = network(model, shape)
    layers, totals = whole["layers"], whole["totals"]
    columns: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
        "layer": (lambda layer: layer["name"], "total"),
        "kind": (lambda layer: layer["kind"], ""),
        "output": (lambda layer: _by(layer["output"]), ""),
        "window": (_window, ""),
        "parameters": (_count("parameters"), f"{totals['parameters']:,}"),
        "multiply-adds": (_count("multiply_adds"), f"{totals['multiply_adds']:,}"),
        "connections": (_count("connections"), f"{totals['connections']:,}"),
        "sees": (lambda layer: _by([layer["receptive_field"]] * 2), ""),
        "memory": (lambda layer: _bytes(layer["activation_bytes"]), _bytes(totals["activation_bytes"])),
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
    """A network as JSON has it: `model` (its class and fields), `input`, `dtype`, `layers` and `totals`.

    A layer has `name`, `kind`, `output`, `kernel`, `stride`, `padding`, `groups` (None where it has no such thing),
    `parameters`, `multiply_adds`, `connections` (as LeCun et al. 1998, section II.B, count them), `receptive_field` in
    input pixels, and `activation_bytes`, what its outputs take for one image. Totals are the sums, and `weight_layers`,
    the convolutions and dense layers, by which VGG's names count.

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
        "totals": {"weight_layers": sum(isinstance(row.layer, Conv | Dense) for row in rows)}
        | {name: sum(layer[name] for layer in layers) for name in summed},
    }


def comparison(networks: Mapping[str, tuple[ConvNet, Shape]]) -> Grid:
    """Networks side by side, as table 1 of Simonyan & Zisserman (2015): a row for every layer, aligned by name.

    Read from top to bottom a column is the whole network. Flattening is left out, and so are activations and dropout
    unless the networks that have one of that name disagree on it.

    Args:
        networks: by the name that heads the column: a network and the shape of its images.

    Raises:
        InputError: a network cannot take such an image.
    """
    columns = [trace_image(model.layers(), shape) for model, shape in networks.values()]
    records = {row.layer for rows in columns for row in rows if not isinstance(row.layer, Flatten)}
    told = [row.name for row in records if isinstance(row, Activation | Dropout)]
    shown = {r.name for r in records if not isinstance(r, Activation | Dropout) or told.count(r.name) > 1}
    columns = [[row for row in rows if row.layer.name in shown] for rows in columns]
    names = functools.reduce(_merged, ([row.layer.name for row in rows] for rows in columns))
    pools = {row.layer.name for rows in columns for row in rows if isinstance(row.layer, _POOLS)}
    places = [i + 1 for i, name in enumerate(names) if name in pools]
    totals = [network(model, shape)["totals"] for model, shape in networks.values()]
    rows = [("input", *(_by(shape) for _, shape in networks.values()))]
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
    """The figures of a network by stage: the layers up to a pooling, and all from the flattening on.

    Raises:
        InputError: the network cannot take such an image.
    """
    rows = trace_image(model.layers(), shape)
    starts = [0]
    for i, row in enumerate(rows):
        pooled = any(isinstance(before.layer, _POOLS) for before in rows[starts[-1] : i])
        if i and (isinstance(row.layer, Flatten) or (pooled and isinstance(row.layer, Conv))):
            starts.append(i)
    totals = [max(1, sum(getattr(row.facts, key) for row in rows)) for key in ("parameters", "multiply_adds")]
    cells = []
    for start, end in itertools.pairwise([*starts, len(rows)]):
        part = rows[start:end]
        names = [row.layer.name for row in part if isinstance(row.layer, Conv | Dense | RadialBasis | _POOLS)] or [""]
        parameters, products = (sum(getattr(row.facts, key) for row in part) for key in ("parameters", "multiply_adds"))
        cells.append(
            (
                " to ".join(dict.fromkeys((names[0], names[-1]))),
                _by(part[-1].facts.shape),
                f"{parameters:,}",
                f"{parameters / totals[0]:.1%}",
                f"{products:,}",
                f"{products / totals[1]:.1%}",
                _by([part[-1].receptive_field] * 2),
            )
        )
    headings = ("stage", "output", "parameters", "of all", "multiply-adds", "of all", "sees")
    return Grid(f"{type(model).__name__} on {_by(shape)} by stage", headings, tuple(cells))


def describe(
    targets: Sequence[str],
    *,
    shape: str | None = None,
    format: Format = "text",
    compare: bool = False,
    explain: bool = False,
    diagram: str | None = None,
) -> None:
    """What `python -m jaxcnn describe` does: draw where asked to, and print.

    Args:
        targets: names of the zoo, config files, run folders, or one of `NORMS`.
        shape: of an image, "height,width,channels"; None: that of the zoo, or of the data that the experiment names.
        format: of what is printed.
        compare: several networks side by side.
        explain: the architecture in words and by stage, instead of the table of its layers.
        diagram: picture to draw, .svg or .png.

    Raises:
        InputError: an unknown target, options that do not go together, an image that the network cannot take, a
            picture that cannot be written. Nothing has been printed then.
    """
    _check(targets, shape, format, compare, explain, diagram)
    if targets[0] in NORMS:
        from jaxcnn.explain import draw_norm, explain_norm

        parts = explain_norm(targets[0])
        if diagram is not None:
            draw_norm(targets[0], diagram)
    else:
        found = {target: _find(target, shape) for target in targets}
        for target, (model, _) in found.items():
            if not isinstance(model, ConvNet) and (compare or explain or diagram or format != "text"):
                raise InputError(
                    f"{target} has a {type(model).__name__}, which is no jaxcnn.models.ConvNet; leave out --compare, "
                    "--explain, --diagram and --format: there is only a table as text."
                )
        parts = _compared(found, format) if compare else _described(targets[0], *found[targets[0]], format, explain)
        if diagram is not None:
            from jaxcnn.diagram import draw

            draw(*found[targets[0]], diagram, title=targets[0])
    for i, part in enumerate(parts):
        if i:
            print()
        _print(part, format)
    if diagram is not None:
        print(f"drew {diagram}", file=sys.stderr)


def _check(
    targets: Sequence[str], shape: str | None, format: Format, compare: bool, explain: bool, diagram: str | None
) -> None:
    """Whether the options go together, and the picture has a place."""
    if not targets:
        raise InputError(f"describe what? {_KNOWN}")
    if (len(targets) > 1) != compare:
        given = f"{len(targets)} target{'s' * (len(targets) > 1)} {'with' if compare else 'without'} --compare"
        raise InputError(f"{given}; describe takes one, or several with --compare.")
    if len(set(targets)) < len(targets):
        raise InputError("--compare has a target twice; give each once.")
    norms = [target for target in targets if target in NORMS]
    clashes = {
        "--compare": compare and (norms or explain or diagram is not None),
        "--explain": explain and format in ("json", "csv"),
        f"--format={format}": norms and format in ("json", "csv"),
        f"--shape={shape}": norms and shape is not None,
    }
    if wrong := [option for option, clash in clashes.items() if clash]:
        others = {"--compare": "a norm, --explain or --diagram", "--explain": f"--format={format}"}
        raise InputError(f"{wrong[0]} does not go with {others.get(wrong[0], norms and norms[0])}; leave out one.")
    if diagram is not None:
        if Path(diagram).suffix not in (".svg", ".png"):
            raise InputError(f"--diagram is {diagram!r}; the file must end in .svg or .png.")
        if not Path(diagram).absolute().parent.is_dir():
            raise InputError(f"--diagram is {diagram!r}; there is no such folder. Make it, or choose another.")


def _find(target: str, shape: str | None) -> tuple[nn.Module, Shape]:
    """A network and the shape of its images."""
    if target in ZOO:
        entry = named(target)
        return entry.model, entry.shape if shape is None else _parsed(shape)
    if target.endswith(".py"):
        experiment = load_config(target)
    elif Path(target).is_dir():
        from jaxcnn.workdir import load_saved

        experiment = load_saved(target)
    else:
        raise InputError(f"{target!r} is unknown. {_KNOWN}{did_you_mean(target, (*ZOO, *NORMS))}")
    return experiment.model, _image_shape(experiment) if shape is None else _parsed(shape)


def _image_shape(experiment: Experiment) -> Shape:
    from jaxcnn.data.shape import image_shape

    try:
        return image_shape(experiment.data, experiment.augment)
    except InputError as error:
        raise InputError(f"{error} (or give the shape of an image, --shape=HEIGHT,WIDTH,CHANNELS)") from error


def _parsed(shape: str) -> Shape:
    words = re.split("[,x]", shape)
    if len(words) != 3 or not all(word.strip().isdecimal() and int(word) for word in words):
        raise InputError(f"--shape is {shape!r}; it must be height,width,channels, for example 224,224,3.")
    return tuple(map(int, words))


def _described(name: str, model: nn.Module, shape: Shape, format: Format, explain: bool) -> list[Grid | Table | str]:
    if not isinstance(model, ConvNet):
        return [network_table(model, shape)]
    if explain:
        from jaxcnn.explain import explain_network

        return explain_network(model, shape)
    if format == "json":
        return [_json(network(model, shape))]
    if format == "csv":
        layers = network(model, shape)["layers"]
        return [_csv([[*layers[0]], *([_by(v) if isinstance(v, list) else v for v in x.values()] for x in layers)])]
    return [network_grid(f"{name}: {type(model).__name__} on {_by(shape)}", model, shape)]


def _compared(networks: Mapping[str, tuple[ConvNet, Shape]], format: Format) -> list[Grid | Table | str]:
    if format == "json":
        return [_json({name: network(*value) for name, value in networks.items()})]
    return [comparison(networks)]


def _print(part: Grid | Table | str, format: Format) -> None:
    if isinstance(part, Grid):
        part = {"text": part.table, "markdown": part.markdown, "csv": part.csv}[format]()
    if isinstance(part, str):
        print(part)
        return
    console = Console(highlight=False, markup=False)
    # A table wider than the terminal would lose the ends of its numbers.
    wide = Measurement.get(console, console.options.update(max_width=1000), part).maximum
    Console(highlight=False, markup=False, width=max(wide, console.width)).print(part)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def _layer(row: Row, size: int) -> dict[str, Any]:
    """One of `network`'s layers; `size` bytes a number."""
    layer, facts = row.layer, row.facts
    window = isinstance(layer, Conv | _POOLS)
    return {
        "name": layer.name,
        "kind": type(layer).__name__,
        "output": list(facts.shape),
        "kernel": facts.kernel if window else None,
        "stride": facts.stride if window else None,
        "padding": getattr(layer, "padding", None),
        "groups": getattr(layer, "groups", None),
        "parameters": facts.parameters,
        "multiply_adds": facts.multiply_adds,
        "connections": facts.connections,
        "receptive_field": row.receptive_field,
        "activation_bytes": math.prod(facts.shape) * size,
    }


def _window(layer: dict[str, Any]) -> str:
    """3x3/2 pad 1 groups 2, as far as it is not usual."""
    if layer["kernel"] is None:
        return ""
    text = _by([layer["kernel"]] * 2) + (f"/{layer['stride']}" if layer["stride"] > 1 else "")
    text += f" pad {layer['padding']}" if layer["padding"] else ""
    return text + (f" groups {layer['groups']}" if (layer["groups"] or 1) > 1 else "")


def _count(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda layer: f"{layer[key]:,}" if layer[key] else ""


def _by(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


def _bytes(count: int) -> str:
    """With three digits and a decimal unit."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{count} B"


def _brief(row: Row) -> str:
    """A layer as table 1 of the VGG paper writes it, `conv3-64`, with what is not usual there behind it."""
    layer, facts = row.layer, row.facts
    step = f"/{facts.stride}" if facts.stride > 1 else ""
    if isinstance(layer, Conv):
        groups = f", groups {layer.groups}" if layer.groups > 1 else ""
        return f"conv{layer.kernel}-{layer.features}{step}{groups}{', partial' if layer.connections else ''}"
    if isinstance(layer, Dense):
        return f"FC-{layer.features}"
    if isinstance(layer, _POOLS):
        name = {MaxPool: "maxpool", AveragePool: "avgpool"}.get(type(layer), "subsampling")
        return name if (facts.kernel, facts.stride) == (2, 2) else f"{name}{facts.kernel}{step}"
    if isinstance(layer, Dropout):
        return f"dropout {layer.rate:g}"
    if isinstance(layer, Activation):
        return layer.function
    return {LocalResponseNorm: "LRN", BatchNorm: "BN"}.get(type(layer), type(layer).__name__)


def _merged(a: list[str], b: list[str]) -> list[str]:
    """The shortest list found in which the names of both stand in their order."""
    merged: list[str] = []
    for tag, i, j, m, n in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        merged += a[i:j] if tag == "equal" else a[i:j] + b[m:n]
    return merged


def _aligned(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The layers of one network, each beside its name, and "" beside names that it lacks."""
    left = list(rows)
    return [_brief(left.pop(0)) if left and left[0].layer.name == name else "" for name in names]


def _table(title: str, **options: bool) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, **options)


def decay_table(leaves: Sequence[tuple[str, tuple[int, ...], bool]], weight_decay: float, form: str) -> Table:
    """Which parameters decay and which do not, as `optim.decay_report` tells."""
    table = _table(f"weight decay {weight_decay:g}, {form}")
    for heading in ("decays", "does not"):
        table.add_column(heading)
    table.add_row(
        *("\n".join(f"{p} {'x'.join(map(str, s))}" for p, s, decays in leaves if decays == d) for d in (True, False))
    )
    return table


def settings_table(settings: dict[str, Any]) -> Table:
    """A resolved experiment, one setting a line."""
    table = _table("experiment", show_header=False)
    for path, value in settings.items():
        table.add_row(f"config.{path}", str(value))
    return table
