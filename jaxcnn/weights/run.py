"""Conversion of foreign weights to a run, and of a run to foreign weights."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.config import code_of, run_id, to_json
from jaxcnn.layers import Layer, least_size, trace
from jaxcnn.models import ConvNet
from jaxcnn.runs.checkpoint import Checkpoints, SaveError
from jaxcnn.runs.selection import Choice
from jaxcnn.runs.workdir import load_saved, restore
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.provenance import provenance
from jaxcnn.training.state import create_state
from jaxcnn.weights.conversion import Conversion
from jaxcnn.weights.file import TORCH_EPSILON, Preprocessing, WeightFile
from jaxcnn.weights.match import Pair
from jaxcnn.weights.slot import Slot, slots
from jaxcnn.weights.variance import fold_epsilon


def write_run(conversion: Conversion, workdir: str | Path) -> None:
    """Write a run folder: config.json, provenance.json and a checkpoint of step 0, without optimizer state.

    `jaxcnn.restore`, `--init_from` and `python -m jaxcnn evaluate` accept it like a trained run.

    Raises:
        InputError: as in `Conversion.check`, or the folder is not empty or cannot be written; nothing of it is left.
    """
    workdir = Path(workdir).absolute()
    if workdir.exists() and not (workdir.is_dir() and not any(workdir.iterdir())):
        raise InputError(f"workdir {workdir} is not empty; give another workdir.")
    variables, experiment = conversion.variables(), conversion.experiment
    with conversion.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = provenance() | {
        "seed": experiment.seed,
        "run_id": run_id(experiment),
        "code": code_of(experiment),
        "init_from": None,
        "weights": {
            "file": str(conversion.file.absolute()),
            "sha256": digest,
            "layout": conversion.weights.layout,
            "left_out": [pair.source for pair in conversion.pairs if pair.fate == "left out"],
            "drawn_anew": [pair.path for pair in conversion.pairs if pair.fate == "re-initialized"],
        },
    }
    there = next(parent for parent in workdir.parents if parent.exists())
    made = workdir if workdir.parent == there else there / workdir.relative_to(there).parts[0]
    state = create_state(variables, optax.identity())
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            checkpoints.save(state, loop_state={}, accuracies={})
        write_json(workdir / "provenance.json", record)
        write_json(workdir / "config.json", to_json(experiment, folder=workdir))
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError | SaveError):
            raise InputError(f"workdir {workdir} cannot be written: {error}. Give another workdir.") from error
        raise


def export(
    run: str | Path, layout: Literal["torchvision", "jaxcnn"], *, checkpoint: Choice = "last"
) -> tuple[WeightFile, tuple[Pair, ...]]:
    """Return the weights of a run, to be written with `jaxcnn.weights.write`; nothing is written here.

    Args:
        run: folder of the run.
        layout: jaxcnn, for any network; torchvision, for a network of convolutions, batch norms and dense layers.
        checkpoint: which of its checkpoints to export, as in `jaxcnn.restore`.

    Returns:
        The arrays with the preprocessing of the run's data, and their pairs with the arrays of the network. For
        torchvision, a running variance includes the difference between the network's epsilon and PyTorch's.

    Raises:
        InputError: the folder is not a run folder or no such checkpoint, or the layout has no place for a layer of its
            network.
    """
    settings = load_saved(run).data
    model, variables = restore(run, checkpoint=checkpoint)
    flat = flatten_dict(variables, sep="/")
    preprocessing = Preprocessing(settings.channel_order, settings.mean, settings.std)
    if layout == "jaxcnn":
        pairs = tuple(Pair("used", path, array.shape, path, array.shape) for path, array in flat.items())
        return WeightFile(flat, layout, preprocessing), pairs
    places = _places(model, flat)
    arrays = {f"{slot.module}.{slot.array}": slot.to_torch(flat[slot.path]) for slot in places}
    for slot in places:
        if slot.epsilon is not None:
            name = f"{slot.module}.{slot.array}"
            arrays[name] = fold_epsilon(arrays[name], slot.epsilon, TORCH_EPSILON)
    pairs = tuple(
        Pair("used", name, arrays[name].shape, slot.path, slot.shape) for name, slot in zip(arrays, places, strict=True)
    )
    return WeightFile(arrays, layout, preprocessing), pairs


def _places(model: nn.Module, flat: dict[str, np.ndarray]) -> tuple[Slot, ...]:
    """Return the slots of a network with these arrays, for the smallest square images that the arrays allow."""
    layers = model.layers() if isinstance(model, ConvNet) else ()
    first = next(_convolutions(layers), None)
    if first is None:
        raise InputError(f"{type(model).__name__} has no convolution among its layers; use --layout=jaxcnn.")
    path, layer = first
    channels = (layer.window().groups or 1) * flat[f"params/{path}/kernel"].shape[2]
    for side in range(least_size(layers, channels), 1024):
        found = slots(trace(layers, (side, side, channels)))
        if all(flat[slot.path].shape == slot.shape for slot in found):
            return found
    raise InputError(f"{type(model).__name__}: the weights fit no square image; use --layout=jaxcnn.")


def _convolutions(layers: tuple[Layer, ...], inside: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the paths and records of convolutions, including those inside other layers."""
    for layer in layers:
        path = inside + layer.name
        if layer.role == "conv":
            yield path, layer
        for branch in layer.branches():
            yield from _convolutions(branch, f"{path}/")
