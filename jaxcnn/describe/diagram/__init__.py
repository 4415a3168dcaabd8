"""Diagrams of networks in the style of the papers' figures, drawn from their layers alone."""

from pathlib import Path

from flax import linen as nn

from jaxcnn.describe.diagram.canvas import png, svg
from jaxcnn.describe.diagram.figure import figure
from jaxcnn.describe.diagram.palette import DAY, NIGHT
from jaxcnn.layers import Shape, trace
from jaxcnn.models import ConvNet
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError

__all__ = ["draw"]


def draw(model: nn.Module, shape: Shape, path: str | Path, *, title: str | None = None, dark: bool = False) -> Path:
    """Draw the feature maps of a network as cuboids, with the windows that read them.

    Height, width and depth of a block follow the shape of its maps; a window and the unit computed from it are drawn on
    the blocks; groups are drawn as towers; norms, activations and dropout are strips at the end of the block they apply
    to; convolutions of one stage stand close together, above one bracket. Long networks take several rows. Below are
    the connection table and the codes of an RBF output, if any (LeCun et al. 1998, table I and figure 3).

    Args:
        model: a ConvNet, whose `layers()` are drawn.
        shape: (height, width, channels) of an image.
        path: file to write, SVG or PNG by its suffix; an existing file is replaced only when the new one is complete.
            The SVG is 1000 pixels wide, keeps its words as text, and switches to the dark scheme where the viewer
            prefers it; the PNG is 2000 pixels wide. Equal arguments give equal bytes.
        title: text above the drawing. None: the name of the model's class.
        dark: whether to use the dark scheme, light words on a dark page, whatever the viewer prefers.

    Returns:
        `path`.

    Raises:
        InputError: the suffix is another, the model is not a ConvNet, or the shape does not fit its layers.
    """
    path = Path(path)
    if path.suffix.lower() not in (".svg", ".png"):
        raise InputError(f"path is {str(path)!r}; a diagram is an .svg or .png file, so use one of these suffixes.")
    if not isinstance(model, ConvNet):
        raise InputError(
            f"model is a {type(model).__name__}; only a jaxcnn.models.ConvNet has a diagram. Derive the model from "
            "ConvNet, or use jaxcnn.describe.tables.network_table, which takes any linen module."
        )
    title, paints = " ".join((title or "").split()) or type(model).__name__, NIGHT if dark else DAY
    canvas, height = figure(trace(model.layers(), shape), shape, title)
    if path.suffix.lower() == ".png":
        picture = png(canvas, height, paints)
    else:
        picture = svg(canvas, height, title, paints, at_night=None if dark else NIGHT)
    with replacing(path) as draft:
        draft.write_bytes(picture)
    return path
