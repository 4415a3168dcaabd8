"""Tables from a model definition."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from rich import box
from rich.table import Table

from jaxcnn.layers import AveragePool, Conv, Layer, MaxPool, Row, trace
from jaxcnn.models import ConvNet


def network_table(model: nn.Module, shape: tuple[int, ...]) -> Table | str:
    """One line a layer: output shape, window, parameters, multiply-adds, receptive field (`sees`); totals below.

    Args:
        model: ours is read from its layers; any other linen module from flax's `tabulate`.
        shape: (height, width, channels) of an image.
    """
    if not isinstance(model, ConvNet):
        images = np.zeros((1, *shape), np.float32)
        return model.tabulate(jax.random.key(0), images, train=False, compute_flops=False, depth=1)
    rows = trace(model.layers(), shape)
    table = _table(f"{type(model).__name__} on {'x'.join(map(str, shape))}", show_footer=True)
    total = {name: sum(getattr(r.facts, name) for r in rows) for name in ("parameters", "multiply_adds")}
    for heading, footer in (
        ("layer", "total"),
        ("kind", ""),
        ("output", ""),
        ("window", ""),
        ("parameters", f"{total['parameters']:,}"),
        ("multiply-adds", f"{total['multiply_adds']:,}"),
        ("sees", ""),
    ):
        table.add_column(heading, footer=footer, justify="left" if heading in ("layer", "kind") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _table(title: str, **options: bool) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, **options)


def _cells(row: Row) -> tuple[str, ...]:
    facts, layer = row.facts, row.layer
    return (
        layer.name,
        type(layer).__name__,
        "x".join(map(str, facts.shape)),
        _window(layer, row),
        f"{facts.parameters:,}" if facts.parameters else "",
        f"{facts.multiply_adds:,}" if facts.multiply_adds else "",
        f"{row.receptive_field}x{row.receptive_field}",
    )


def _window(layer: Layer, row: Row) -> str:
    if not isinstance(layer, Conv | MaxPool | AveragePool):
        return ""
    text = f"{row.facts.kernel}x{row.facts.kernel}" + (f"/{row.facts.stride}" if row.facts.stride > 1 else "")
    return text + (f" pad {layer.padding}" if getattr(layer, "padding", 0) else "")


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
