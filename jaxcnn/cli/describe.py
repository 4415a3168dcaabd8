"""The command `python -m jaxcnn describe`."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flax import linen as nn
from rich.table import Table

from jaxcnn.config import Experiment, load_config
from jaxcnn.describe.tables import (
    Grid,
    comparison,
    csv_text,
    network,
    network_grid,
    network_table,
    print_table,
    shape_text,
)
from jaxcnn.layers import Shape
from jaxcnn.models import ZOO, ConvNet, named
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.jax_settings import fixed_settings

Format = Literal["text", "markdown", "json", "csv"]
TOPICS = ("batch_norm", "local_response_norm", "vanishing_gradients", "covariate_shift")
"""What `describe` explains step by step."""

_KNOWN = f"Networks are {', '.join(ZOO)}, a config file (.py) or a run folder; topics are {', '.join(TOPICS)}."


@fixed_settings()
def describe(
    targets: Sequence[str],
    *,
    shape: str | None = None,
    format: Format = "text",
    compare: bool = False,
    explain: bool = False,
    diagram: str | None = None,
) -> None:
    """Print a description of networks or the explanation of a topic, and draw a picture if requested.

    Args:
        targets: names in the zoo, config files, run folders, or one of `TOPICS`.
        shape: image shape, "height,width,channels"; None: as in the zoo, or as in the data of the experiment.
        format: output format.
        compare: show several networks side by side.
        explain: explain the architecture in words and by stage, instead of showing the table of its layers.
        diagram: picture to draw, .svg or .png.

    Raises:
        InputError: a target is unknown, options do not fit together, the network does not accept the image shape, or
            the picture cannot be written; nothing has been printed.
    """
    _check(targets, shape, format, compare, explain, diagram)
    if targets[0] in TOPICS:
        explain_topic, draw_topic = _topic(targets[0])
        parts = explain_topic()
        if diagram is not None:
            with _drawing(diagram):
                draw_topic(diagram)
    else:
        found = {target: _find(target, shape) for target in targets}
        for target, (model, _) in found.items():
            if not isinstance(model, ConvNet) and (compare or explain or diagram or format != "text"):
                raise InputError(
                    f"{target} has a {type(model).__name__}, which is not a jaxcnn.models.ConvNet; leave out "
                    "--compare, --explain, --diagram and --format, since only a text table is available."
                )
        parts = _compared(found, format) if compare else _described(targets[0], *found[targets[0]], format, explain)
        if diagram is not None:
            from jaxcnn.describe.diagram import draw

            with _drawing(diagram):
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
    """Check that the options fit together and that the folder of the picture exists."""
    if not targets:
        raise InputError(f"describe needs a target. {_KNOWN}")
    if (len(targets) > 1) != compare:
        counted = f"{len(targets)} target{'s' * (len(targets) > 1)} {'with' if compare else 'without'} --compare"
        raise InputError(f"{counted}; describe takes one target, or several with --compare.")
    if len(set(targets)) < len(targets):
        raise InputError("--compare has a duplicate target; give each target once.")
    topics = [target for target in targets if target in TOPICS]
    clashes = {
        "--compare": compare and (topics or explain or diagram is not None),
        "--explain": explain and format in ("json", "csv"),
        f"--format={format}": topics and format in ("json", "csv"),
        f"--shape={shape}": topics and shape is not None,
    }
    if wrong := [option for option, clash in clashes.items() if clash]:
        others = {"--compare": "a topic, --explain or --diagram", "--explain": f"--format={format}"}
        raise InputError(
            f"{wrong[0]} cannot be combined with {others.get(wrong[0], topics and topics[0])}; leave out one."
        )
    if diagram is not None:
        if Path(diagram).suffix not in (".svg", ".png"):
            raise InputError(f"--diagram is {diagram!r}; the file must end in .svg or .png.")
        if not os.path.isdir(Path(diagram).parent):
            raise InputError(f"--diagram is {diagram!r}; its folder does not exist. Create it or choose another.")


def _topic(name: str) -> tuple[Callable[[], list[str | Grid]], Callable[[str], Path]]:
    """Return the functions that explain a topic and draw it."""
    if name == "covariate_shift":
        from jaxcnn.shift.explanation import draw_covariate_shift, explain_covariate_shift

        return explain_covariate_shift, draw_covariate_shift
    from jaxcnn.describe.explanation import draw_topic, explain_topic

    return partial(explain_topic, name), partial(draw_topic, name)


@contextlib.contextmanager
def _drawing(diagram: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = error.strerror or error
        raise InputError(f"--diagram is {diagram!r}, which cannot be written: {cause}. Choose another.") from error


def _find(target: str, shape: str | None) -> tuple[nn.Module, Shape]:
    """Return a network and the shape of its images."""
    if target in ZOO:
        entry = named(target)
        return entry.model, entry.shape if shape is None else _parsed(shape)
    if target.endswith(".py"):
        experiment = load_config(target)
    elif Path(target).is_dir():
        from jaxcnn.runs.workdir import load_saved

        experiment = load_saved(target)
    else:
        raise InputError(f"{target!r} is unknown. {_KNOWN}{did_you_mean(target, (*ZOO, *TOPICS))}")
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
        from jaxcnn.describe.explanation import explain_network

        return explain_network(model, shape)
    if format == "json":
        return [_json(network(model, shape))]
    if format == "csv":
        layers = network(model, shape)["layers"]
        return [
            csv_text(
                [[*layers[0]], *([shape_text(v) if isinstance(v, list) else v for v in x.values()] for x in layers)]
            )
        ]
    return [network_grid(f"{name}: {type(model).__name__} on {shape_text(shape)}", model, shape)]


def _compared(networks: Mapping[str, tuple[ConvNet, Shape]], format: Format) -> list[Grid | Table | str]:
    if format == "json":
        return [_json({name: network(*value) for name, value in networks.items()})]
    return [comparison(networks)]


def _print(part: Grid | Table | str, format: Format) -> None:
    if isinstance(part, Grid):
        part = {"text": part.table, "markdown": part.markdown, "csv": part.csv}[format]()
    if isinstance(part, str):
        print(part)
    else:
        print_table(part)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)
