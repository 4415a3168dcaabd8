"""Diagrams of networks in the style of the papers, drawn from their layers."""

import os
import uuid
from pathlib import Path
from typing import Any

from jaxcnn.diagram.canvas import png, svg
from jaxcnn.diagram.figure import figure
from jaxcnn.diagram.palette import DAY, NIGHT
from jaxcnn.errors import InputError
from jaxcnn.layers import Shape, trace
from jaxcnn.models import ConvNet

__all__ = ["draw"]


def draw(model: Any, shape: Shape, path: str | Path, *, title: str | None = None, dark: bool = False) -> Path:
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise InputError(f"path is {str(path)!r}; a diagram is written as .svg or .png.")
    if not isinstance(model, ConvNet):
        raise InputError(f"model is a {type(model).__name__}; diagrams are drawn of a jaxcnn.models.ConvNet.")
    title = title or type(model).__name__
    canvas, height = figure(trace(model.layers(), shape), shape, title)
    if path.suffix == ".png":
        picture = png(canvas, height, NIGHT if dark else DAY)
    else:
        picture = svg(canvas, height, title, NIGHT if dark else DAY, None if dark else NIGHT)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        draft.write_bytes(picture)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path
