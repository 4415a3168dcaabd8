"""Evaluation of a run: its network is tested by the papers' protocols, with a choice of population statistics."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich import box
from rich.table import Table

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.describe.tables import print_table
from jaxcnn.evaluation.exact import evaluate_model, protocol_network
from jaxcnn.evaluation.test_time_augmentation import Protocol, check_name, make_protocol, mirrors, views
from jaxcnn.norms.population import EstimatedKind, batch_norm_paths, estimate_statistics, parse_batch_stats
from jaxcnn.runs.running_statistics import running_statistics_hint
from jaxcnn.runs.selection import Choice, Selection, select
from jaxcnn.runs.workdir import load_saved, other_code
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.jax_settings import fixed_settings
from jaxcnn.runtime.progress import counted


@dataclass(frozen=True)
class Evaluation:
    """The result of one protocol.

    Attributes:
        protocol: name of the protocol.
        batch_stats: population statistics, as requested.
        part: split of the data.
        checkpoint: step of the weights.
        selected_by: split on which that step had the best accuracy, if the best checkpoint was requested; if it is also
            the tested split, errors are biased low.
        crop: height and width of a window, which is the network's input.
        scales: lengths to which the short side of the images was resized.
        flip: whether every view was also shown mirrored.
        views: number of views of each image.
        top1_error, top5_error, nll, ece, n: as in `scores.score`.
        seconds: time of the views, including compilation, without the estimation of statistics.
    """

    protocol: str
    batch_stats: str
    part: str
    checkpoint: int
    selected_by: str | None
    crop: tuple[int, int]
    scales: tuple[int, ...]
    flip: bool
    views: int
    top1_error: float
    top5_error: float | None
    nll: float
    ece: float
    n: int
    seconds: float


@fixed_settings()
def evaluate_run(
    run: str | Path,
    *,
    protocol: str | Sequence[str] = "center",
    batch_stats: str | Sequence[str] = "ema",
    checkpoint: Choice = "last",
    part: str = "test",
    crop: int | None = None,
    scales: tuple[int, ...] | None = None,
    flip: bool | None = None,
    data_dir: str | None = None,
    batch_size: int | None = None,
    stats_batches: int = 100,
    arrays: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> tuple[Evaluation, ...]:
    """Test a run's weights with every protocol and every choice of population statistics; write nothing.

    Args:
        run: folder of a run with a checkpoint.
        protocol: center, ten_crop, multi_crop, dense, multi_scale, or several; see `Protocol`.
        batch_stats: ema, algorithm2, pooled, full_pass, batch, blend:N, or several; see `parse_batch_stats`. Statistics
            from training images are estimated on the run's training split, on the centre of images without
            augmentation, in batches of the run's `data.batch_size`.
        checkpoint: `last`, `best` or a step. Without a validation split the best checkpoint is selected on the test
            split, so its test error is biased low; `show` says so.
        part: split to test on: test, validation or train.
        crop: side of the network's input; None: the run's `augment.crop`, otherwise the image.
        scales, flip: see `make_protocol`; if flip is None and the run was trained without mirroring (`augment.flip`),
            no view is mirrored.
        data_dir: folder of prepared data sets, instead of the run's.
        batch_size: images per batch; None: the run's `data.eval_batch_size`, except for batch and blend, whose result
            depends on it: the run's `data.batch_size`.
        stats_batches: number of batches for algorithm2 and pooled, selected by the run's seed, at most as many as the
            training split has; about 10^4 images are enough (Wu and Johnson 2021, arXiv:2105.07576).
        arrays: images and labels, if the run had them in memory; the test arrays are sufficient if neither `part` nor
            `batch_stats` needs others.
        verbose: show progress on stderr.

    Returns:
        One evaluation per pair, ordered by statistics and then by protocol.

    Raises:
        InputError: an argument is unknown or does not fit, the run has no checkpoint, or its data are missing; nothing
            has been computed.
        NonFinite: the network gives a score that is NaN or infinite.
    """
    for name, value in (("batch_size", batch_size), ("stats_batches", stats_batches)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be 1 or more.")
    kinds = {text: parse_batch_stats(text) for text in _listed(batch_stats)}
    names = _listed(protocol)
    for name in names:
        check_name(name)
    experiment = load_saved(run)
    selection = select(run, checkpoint)
    model, variables = experiment.model, selection.variables
    skipped = f"{run}: the weights are those of {selection}" if selection.damaged else None
    for text in filter(None, (other_code(run, experiment), skipped)):
        _note(text) if verbose else warnings.warn(text, stacklevel=3)
    # The target was scored at the end of the run, and need not be there any more.
    settings = replace(experiment.data, data_dir=data_dir or experiment.data.data_dir, target="")
    augment = experiment.augment
    estimated = any(kind in get_args(EstimatedKind) for kind, _ in kinds.values())
    dataset = data.load(settings, experiment.seed, arrays, need_train=estimated or part != "test")
    split = _part(dataset, part)
    size, side = split.images.shape[1:3], augment.crop if crop is None else crop
    chosen = [
        make_protocol(
            name, size, crop=side, scales=scales, flip=flip, jitter=augment.scale_jitter, mirroring=augment.flip
        )
        for name in names
    ]
    if verbose and not augment.flip:
        _note_mirroring(names, chosen)
    _check(model, variables, dataset, chosen, normalized=any(kind != "ema" for kind, _ in kinds.values()))
    shape = (*chosen[0].crop, split.images.shape[-1])
    if verbose and "ema" in kinds and (text := running_statistics_hint(run, model, variables, shape, selection.step)):
        _note(text)

    preprocess = data.make_preprocess(settings)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    variables = jax.device_put(variables, replicated)
    found = []
    for text, (kind, prior) in kinds.items():
        used = variables
        if kind in get_args(EstimatedKind):
            limit = None if kind == "full_pass" else stats_batches
            total = _batches_read(kind, variables, dataset.train, settings.batch_size, limit)
            with counted(f"statistics, {text}", total, "batches", show=verbose) as advance:
                batches = partial(_training_images, experiment, dataset.train, preprocess, sharding, limit, advance)
                # Statistics with another sharding would compile another program.
                used = jax.device_put(estimate_statistics(kind, model, variables, batches), replicated)
        images = batch_size or (settings.eval_batch_size if prior is None else settings.batch_size)
        for each in chosen:
            view_count = len(views(each, size))
            total, begun = view_count * -(-len(split) // images), time.perf_counter()
            with counted(f"{each.name}, {text}", total, "views of a batch", show=verbose) as advance:
                scores = evaluate_model(
                    model,
                    used,
                    split,
                    each,
                    preprocess=preprocess,
                    prior=prior,
                    batch_size=images,
                    seed=experiment.seed,
                    sharding=sharding,
                    poll=advance,
                )
            seconds = time.perf_counter() - begun
            shown = (each.crop, each.scales, each.flip, view_count)
            of = (each.name, text, part, selection.step, selection.selected_by)
            found.append(Evaluation(*of, *shown, **scores, seconds=seconds))
    return tuple(found)


def _note_mirroring(names: Sequence[str], protocols: Sequence[Protocol]) -> None:
    """Print a line on stderr about the mirrored views of a run that was trained without mirroring."""
    shown = [protocol.name for protocol in protocols if protocol.flip]
    left_out = [name for name in names if mirrors(name) and name not in shown]
    if left_out:
        _note(f"{' and '.join(left_out)} without mirrored views, as the run was trained; --flip=True adds them")
    if shown:
        _note(
            f"{' and '.join(shown)} with mirrored views, although the run was trained without; --flip=False omits them"
        )


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def parse_scales(text: str | None) -> tuple[int, ...] | None:
    """Parse lengths in pixels, as in "224,256,288".

    Raises:
        InputError: one of them is not an integer.
    """
    try:
        return text and tuple(map(int, text.split(",")))
    except ValueError:
        raise InputError(f"scales is {text!r}; it must be integers (pixels), for example 224,256,288.") from None


def show(
    evaluations: Sequence[Evaluation], format: Literal["text", "json"] = "text", output: str | None = None
) -> None:
    """Print evaluations as a table or as JSON; if `output` is a file, also write the JSON to it.

    Raises:
        InputError: the file cannot be written; the evaluations have been printed.
    """
    records = [asdict(evaluation) for evaluation in evaluations]
    if format == "json":
        print(json.dumps(records, indent=2, allow_nan=False))
    else:
        print_table(_table(evaluations))
        for step, part in sorted({(e.checkpoint, e.selected_by) for e in evaluations if e.selected_by}):
            print(f"checkpoint: {Selection(step, {}, part)}")
    if output is not None:
        try:
            write_json(Path(output), records)
        except OSError as error:
            raise InputError(f"output {output} cannot be written: {error.strerror}. Give another file.") from None


def _table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with one row per evaluation; a top-5 error of None is left blank."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("protocol", "scales", "batch_stats", "views", "top-1 error", "top-5 error", "NLL", "ECE", "n", "s"):
        table.add_column(heading, justify="left" if heading in ("protocol", "scales", "batch_stats") else "right")
    for e in evaluations:
        table.add_row(
            e.protocol + (" + flips" if e.flip else ""),
            ",".join(map(str, e.scales)),
            e.batch_stats,
            str(e.views),
            f"{e.top1_error:.2%}",
            "" if e.top5_error is None else f"{e.top5_error:.2%}",
            f"{e.nll:.4f}",
            f"{e.ece:.4f}",
            f"{e.n:,}",
            f"{e.seconds:.1f}",
        )
    return table


def _listed(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _part(dataset: data.Dataset, part: str) -> data.Split:
    if part not in ("test", "validation", "train"):
        raise InputError(f"part is {part!r}; it must be test, validation or train.")
    split = getattr(dataset, part)
    if split is None:
        raise InputError(
            "part is 'validation', but this run has no validation split (data.validation is 0); give test or train."
        )
    return split


def _check(
    model: nn.Module,
    variables: dict[str, Any],
    dataset: data.Dataset,
    protocols: Sequence[Protocol],
    *,
    normalized: bool,
) -> None:
    """Check, before anything is computed, that the network, the data and the protocols fit together."""
    shape = dataset.test.images.shape[1:]
    for protocol in protocols:
        protocol_network(model, variables, protocol, shape)
    image = jax.ShapeDtypeStruct((1, *protocols[0].crop, shape[2]), np.float32)
    data.check_labels(dataset, jax.eval_shape(partial(model.apply, train=False), variables, image).shape[-1])
    if normalized:
        batch_norm_paths(model, variables, image)


def _batches_read(kind: str, variables: dict[str, Any], train: data.Split, batch_size: int, limit: int | None) -> int:
    """Return the number of batches that `estimate_statistics` reads over all its passes."""
    size = min(batch_size, len(train))
    each = -(-len(train) // size) if limit is None else min(limit, len(train) // size)
    passes = sum(path[-1] == "mean" for path in flatten_dict(variables["batch_stats"])) if kind == "full_pass" else 1
    return passes * each


def _training_images(
    experiment: Experiment,
    train: data.Split,
    preprocess: Callable[[jax.Array], jax.Array],
    sharding: NamedSharding,
    limit: int | None,
    advance: Callable[[], None],
) -> Iterator[jax.Array]:
    """Yield batches of training images, preprocessed as at test time: `limit` random ones, or all images in order."""
    size, order = min(experiment.data.batch_size, len(train)), np.arange(len(train))
    even = len(train) // size * size
    if limit is not None:
        even = min(even, limit * size)
        order = shuffled(len(train), experiment.seed, Stream.STATISTICS)[:even]
    for rows in filter(len, (order[:even], order[even:])):
        some, together = data.Split(data.Rows(train.images, rows), train.labels[rows]), min(size, len(rows))
        # A batch that cannot be split evenly over the devices would be padded with zeros, which would be measured too.
        spread = None if together % sharding.mesh.size else sharding
        for batch in data.eval_batches(some, together, sharding=spread):
            yield preprocess(data.center_crop(batch["image"], experiment.augment.crop))
            advance()
