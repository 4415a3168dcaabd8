"""The pictures of a run: learning curves, confusion matrix, confident errors, first-layer filters."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.data import Dataset
from jaxcnn.runs import checkpoint as checkpoints
from jaxcnn.runs.metrics import damage, read_rows
from jaxcnn.runs.selection import Choice, Selection, select
from jaxcnn.runs.workdir import load_saved, other_code
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings


@fixed_settings()
def draw_pictures(
    run: str | Path,
    *,
    checkpoint: Choice = "last",
    arrays: Mapping[str, Any] | None = None,
    report: Callable[[str], Any] = warnings.warn,
) -> list[Path]:
    """Draw the pictures of a run again, or for the first time if it was trained with `keep="last"`.

    They are `learning_curves.png`, `confusion_matrix.png`, `confident_errors.png` and, if a convolution reads the
    images, `first_layer_filters.png`. Without a checkpoint (`keep="results"`, or none saved yet) only the learning
    curves are drawn. A run that is not finished is drawn as it is at its newest checkpoint.

    Args:
        run: folder of the run, into which the PNG files are written.
        checkpoint: `last`, `best` or a step; learning curves are the same for each.
        arrays: images and labels, if the run had them in memory; the test arrays are sufficient.
        report: called with a line about pictures that are not drawn, or not from the last step.

    Returns:
        The files that were drawn.

    Raises:
        InputError: the folder is not that of a run, or has no metrics yet; the checkpoint does not exist, or the data
            are missing; nothing has been drawn.
        OSError: a file cannot be written.
    """
    run, experiment = Path(run), load_saved(run)
    torn = damage(run / "metrics.jsonl") if (run / "results.json").is_file() else None
    if not read_rows(run / "metrics.jsonl"):
        if torn:
            raise InputError(f"{run / 'metrics.jsonl'} is damaged at its first line, so there is nothing to draw.")
        raise InputError(f"{run} has no metrics yet, so there is nothing to draw; draw it when it has trained a while.")
    if checkpoint == "last" and not checkpoints.steps(run / "checkpoints"):
        report(f"{run} has no checkpoint; only its learning curves are drawn")
        if torn:
            report(torn)
        return [draw_curves(run)]
    selection = select(run, checkpoint)
    dataset = data.load(experiment.data, experiment.seed, arrays, need_train=False)
    unfinished = f"{run} is not finished; its pictures are those of step {selection.step}"
    lines = (
        torn,
        other_code(run, experiment),
        f"{run}: the weights are those of {selection}" if selection.damaged else None,
        None if (run / "results.json").is_file() else unfinished,
    )
    for line in filter(None, lines):
        report(line)
    logits = _logits(experiment, selection, dataset)
    return [draw_curves(run), *draw_network(run, experiment, dataset, logits, selection.variables["params"])]


def _logits(experiment: Experiment, selection: Selection, dataset: Dataset) -> np.ndarray:
    """Return the logits [n, classes] of the test images."""
    preprocess = data.make_preprocess(experiment.data)

    @jax.jit
    def forward(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        images = preprocess(data.center_crop(images, experiment.augment.crop))
        return experiment.model.apply(variables, images, train=False)

    batches = data.eval_batches(dataset.test, experiment.data.eval_batch_size)
    logits = [np.asarray(forward(selection.variables, b["image"]))[np.asarray(b["mask"])] for b in batches]
    return np.concatenate(logits)


def draw_curves(run: Path) -> Path:
    """Draw the learning curves of a run in its folder, and return the file."""
    from jaxcnn import plots

    return plots.learning_curves(read_rows(run / "metrics.jsonl"), run / "learning_curves.png")


def draw_network(
    run: Path, experiment: Experiment, dataset: Dataset, logits: np.ndarray, params: Mapping[str, Any]
) -> list[Path]:
    """Draw what a network does with the test images, and its first filters.

    Args:
        run: folder for the pictures.
        experiment: the experiment.
        dataset: its data; only the test split and the names of the classes are read.
        logits: outputs of the network for the test images, [n, classes].
        params: parameters of the network.

    Returns:
        The files that were drawn.
    """
    from jaxcnn import plots

    test, known = dataset.test, dataset.class_names
    names = (*known, *map(str, range(len(known), logits.shape[-1])))
    probabilities = np.asarray(jax.nn.softmax(logits))
    drawn = [
        plots.confusion_matrix(test.labels, probabilities.argmax(-1), names, run / "confusion_matrix.png"),
        plots.confident_errors(test.images, test.labels, probabilities, names, run / "confident_errors.png"),
    ]
    channels = test.images.shape[-1]
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 4 and x.shape[2] == channels]
    if kernels:
        order, path = experiment.data.channel_order, run / "first_layer_filters.png"
        drawn.append(plots.first_layer_filters(np.asarray(kernels[0]), path, channel_order=order))
    return drawn
